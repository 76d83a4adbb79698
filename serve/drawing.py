"""Pictures of numbers: feature maps as a sheet of small images, and a map of drops over a picture."""

import math

import numpy as np
from PIL import Image

GAP = 1  # pixels between two maps
RED, BLUE = (214, 39, 40), (31, 119, 180)  # a drop, a rise


def sheet(maps: np.ndarray) -> Image.Image:
    """Return maps [depth, height, width] side by side on one scale: black is the lowest value, white the highest."""
    depth, height, width = maps.shape
    columns = sheet_columns(depth)
    rows = -(-depth // columns)
    low, high = float(maps.min()), float(maps.max())
    grey = ((maps - low) * (255 / (high - low) if high > low else 0)).round().astype(np.uint8)
    page = np.zeros((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP), np.uint8)
    for number, part in enumerate(grey):
        top, left = number // columns * (height + GAP), number % columns * (width + GAP)
        page[top : top + height, left : left + width] = part
    return Image.fromarray(page)


def sheet_columns(depth: int) -> int:
    """Return the number of maps in a row of a sheet."""
    return math.ceil(math.sqrt(depth))


def over(picture: np.ndarray, drops: np.ndarray, size: int = 256) -> Image.Image:
    """Return a picture uint8 [C, H, W] in grey, with drops [rows, columns] in red and rises in blue over it.

    The strongest drop or rise is opaque. The longer side has `size` pixels.
    """
    _, height, width = picture.shape
    scale = size / max(height, width)
    shape = max(1, round(width * scale)), max(1, round(height * scale))
    grey = Image.fromarray(picture.mean(0).round().astype(np.uint8)).resize(shape, Image.Resampling.NEAREST)
    strongest = max(float(np.abs(drops).max()), 1e-6)
    strength = np.asarray(
        Image.fromarray((drops / strongest).astype(np.float32)).resize(shape, Image.Resampling.BILINEAR)
    )
    color = np.where((strength > 0)[..., None], RED, BLUE)
    alpha = np.abs(strength)[..., None] * 0.8
    pixels = np.asarray(grey, float)[..., None] * (1 - alpha) + color * alpha
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))
