"""Pictures of numbers: feature maps as a sheet of small images, and a map of drops over a picture."""

import base64
import io
import math

import numpy as np
from PIL import Image

from .occlusion import Cover

GAP = 1  # pixels between two maps
FAINT = 0.1  # change of a probability; if all are weaker, no color is full
RED, BLUE = (214, 39, 40), (31, 119, 180)  # a drop, a rise


def sheet(maps: np.ndarray) -> Image.Image:
    """Return maps [depth, height, width] side by side on one scale: black is the lowest value, white the highest.

    The gaps between them are transparent.
    """
    depth, height, width = maps.shape
    columns = sheet_columns(depth)
    rows = -(-depth // columns)
    low, high = float(maps.min()), float(maps.max())
    grey = ((maps - low) * (255 / (high - low) if high > low else 0)).round().astype(np.uint8)
    page = np.zeros((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 2), np.uint8)  # grey and opacity
    for number, part in enumerate(grey):
        top, left = number // columns * (height + GAP), number % columns * (width + GAP)
        page[top : top + height, left : left + width] = np.stack([part, np.full_like(part, 255)], -1)
    return Image.fromarray(page)


def full_color(drops: np.ndarray) -> float:
    """Return the change of the probability that is drawn in full color."""
    return max(float(np.abs(drops).max()), FAINT)


def sheet_columns(depth: int) -> int:
    """Return the number of maps in a row of a sheet."""
    return math.ceil(math.sqrt(depth))


def to_image(pixels: np.ndarray) -> Image.Image:
    """Return a network's input, uint8 [C, H, W], as an image."""
    return Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))


def data_url(image: Image.Image) -> str:
    """Return an image as the URL of a PNG that contains it."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def over(picture: np.ndarray, drops: np.ndarray, cover: Cover, size: int = 256) -> Image.Image:
    """Return a picture uint8 [C, H, W] in grey, with drops [rows, columns] in red and rises in blue over it.

    The strongest change has the full color, or one of FAINT if all are weaker. The longer side has `size` pixels.
    """
    _, height, width = picture.shape
    scale = size / max(height, width)
    shape = max(1, round(width * scale)), max(1, round(height * scale))
    grey = Image.fromarray(picture.mean(0).round().astype(np.uint8)).resize(shape, Image.Resampling.NEAREST)
    # Each drop stands for the `stride` pixels around the square's center. The last ones may reach past the border.
    grid = Image.fromarray(np.pad(drops / full_color(drops), ((0, 1), (0, 1)), "edge").astype(np.float32))
    box = (0, 0, width / cover.stride, height / cover.stride)
    strength = np.asarray(grid.resize(shape, Image.Resampling.BILINEAR, box))
    color = np.where((strength > 0)[..., None], RED, BLUE)
    alpha = np.abs(strength)[..., None] * 0.8
    pixels = np.asarray(grey, float)[..., None] * (1 - alpha) + color * alpha
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))
