"""Find handwriting in an image and frame it as the digit datasets do.

MNIST (LeCun, Cortes & Burges, 1998) scales the digit into a 20×20 box, keeps its proportions, and puts its
center of mass at the center of 28×28. Digits (UCI 80, Alpaydin & Kaynak, 1998): NIST's
preprocessing (Garris et al., NISTIR 5469, 1994) normalizes the digit's slant, size and stroke width
into a 32×32 bitmap, whose 4×4 blocks are counted to 8×8 values of 0–16.
"""

import numpy as np
from PIL import Image, ImageFilter

DIGITS_INK = 0.305  # mean share of ink in the digits' 32×32 bitmaps: 312.6 of 1,024
NOISE = 0.25  # share of the strongest ink; weaker values are paper grain and shading
GRAIN = 3  # times the unevenness of the paper; weaker values are paper, too. So a picture of noise has no ink


def dark_on_light(grey: np.ndarray) -> bool:
    """Return whether the border of a grey image, uint8 [H, W], is light: its median is above 127."""
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    border.sort()  # np.median takes six times as long, and every image of a digit comes here
    half = len(border) // 2
    return int(border[half - 1]) + int(border[half]) > 2 * 127


def strokes(grey: np.ndarray) -> np.ndarray:
    """Return the ink of a grey image [H, W] as uint8 [h, w]: light on black, cropped to its extent.

    The border's median is the paper's grey, and the median distance from it the paper's unevenness. Ink is what is
    clearly darker than light paper, or lighter than dark paper. An image without ink gives a single black pixel.
    """
    values = grey.astype(np.float32)
    if dark_on_light(grey):
        values = 255 - values
    border = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
    paper = np.median(border)
    unevenness = np.median(np.abs(border - paper))
    ink = np.clip(values - paper, 0, None)
    strongest = ink.max()
    if strongest < max(8, GRAIN * unevenness):  # 8 of 255: too weak to tell from noise
        return np.zeros((1, 1), np.uint8)
    ink[ink < max(NOISE * strongest, GRAIN * unevenness)] = 0
    ink /= strongest
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    cropped = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    pixels: np.ndarray = np.rint(cropped * 255).astype(np.uint8)
    return pixels


def frame_mnist(ink: np.ndarray) -> np.ndarray:
    """Frame cropped ink, uint8 [h, w], as MNIST does: uint8 [28, 28]."""
    height, width = ink.shape
    scale = 20 / max(height, width)
    small = _resize(ink, max(1, round(height * scale)), max(1, round(width * scale)))
    small = _stretch(small)
    mass = max(1, small.sum(dtype=np.int64))
    center_y = (small.sum(1, dtype=np.int64) * np.arange(small.shape[0])).sum() / mass
    center_x = (small.sum(0, dtype=np.int64) * np.arange(small.shape[1])).sum() / mass
    # MNIST's centers of mass are within half a pixel of pixel 14.
    top = int(np.clip(round(14 - center_y), 0, 28 - small.shape[0]))
    left = int(np.clip(round(14 - center_x), 0, 28 - small.shape[1]))
    out = np.zeros((28, 28), np.uint8)
    out[top : top + small.shape[0], left : left + small.shape[1]] = small
    return out


def frame_digits(ink: np.ndarray) -> np.ndarray:
    """Frame cropped ink, uint8 [h, w], as scikit-learn's digits: uint8 [8, 8] with 17 grey levels.

    Removes the slant, stretches to 20×32, adjusts the stroke width until the 32×32 bitmap has the dataset's share of
    ink, and counts the ink in 4×4 blocks.
    """
    canvas = np.zeros((32, 32), np.uint8)
    canvas[:, 6:26] = _resize(_upright(ink), 32, 20)
    blurred = np.asarray(Image.fromarray(canvas).filter(ImageFilter.GaussianBlur(1)))
    threshold = np.quantile(blurred, 1 - DIGITS_INK)
    bitmap = blurred > max(0, threshold - 1)
    counts = bitmap.reshape(8, 4, 8, 4).sum((1, 3))
    pixels: np.ndarray = np.rint(counts * (255 / 16)).astype(np.uint8)
    return pixels


def _upright(ink: np.ndarray) -> np.ndarray:
    """Shear ink until the centers of its rows are above each other, and crop it again."""
    height, width = ink.shape
    values = ink.astype(np.float64)
    y, x = np.mgrid[:height, :width]
    mass = max(1.0, values.sum())
    center_y, center_x = (values * y).sum() / mass, (values * x).sum() / mass
    spread = max(1.0, (values * (y - center_y) ** 2).sum())
    slant = float(np.clip((values * (x - center_x) * (y - center_y)).sum() / spread, -1, 1))
    padded = Image.fromarray(np.pad(ink, ((0, 0), (height, height))))
    shear = (1, slant, -slant * center_y, 0, 1, 0)
    sheared = np.asarray(padded.transform(padded.size, Image.Transform.AFFINE, shear, Image.Resampling.BICUBIC))
    columns = np.flatnonzero((sheared > 255 * NOISE).any(0))
    return sheared[:, columns[0] : columns[-1] + 1] if len(columns) else ink


def _resize(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))


def _stretch(pixels: np.ndarray) -> np.ndarray:
    """Scale the strongest value to 255, since thin strokes fade when they are shrunk."""
    strongest = pixels.max()
    return (pixels * (255 / strongest)).astype(np.uint8) if strongest else pixels
