"""Handwriting in a picture, framed as the digit datasets were made.

MNIST (LeCun, Cortes & Burges, 1998): the digit is scaled into a 20×20 box, proportions kept, and its
centre of mass is put at the centre of 28×28. Digits (UCI 80, Alpaydin & Kaynak, 1998): NIST's
preprocessing (Garris et al., NISTIR 5469, 1994) normalises the digit's slant, size and stroke width
into a 32×32 bitmap, whose 4×4 blocks are counted to 8×8 values of 0–16.
"""

import numpy as np
from PIL import Image, ImageFilter

DIGITS_INK = 0.305  # of the bitmap, the digits' mean: 312.6 of 1,024 (sum of a digit's 64 values)
NOISE = 0.25  # of the strongest ink; paper grain and shading below it is not ink


def dark_on_light(grey: np.ndarray) -> bool:
    """Whether the border of a grey picture, uint8 [H, W], is light."""
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    return bool(np.median(border) > 127)


def strokes(grey: np.ndarray) -> np.ndarray:
    """The ink of a grey picture, uint8 [h, w]: light on black, cropped to its extent.

    The paper is taken to be the border's median grey; ink is what differs from it towards the
    other end of the scale. An empty picture gives a single black pixel.
    """
    values = grey.astype(np.float32)
    if dark_on_light(grey):
        values = 255 - values
    paper = np.median(np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]]))
    ink = np.clip(values - paper, 0, None)
    strongest = ink.max()
    if strongest < 8:  # of 255: nothing that could be told from noise
        return np.zeros((1, 1), np.uint8)
    ink /= strongest
    ink[ink < NOISE] = 0
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    cropped = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.rint(cropped * 255).astype(np.uint8)


def frame_mnist(ink: np.ndarray) -> np.ndarray:
    """Cropped ink, uint8 [h, w], framed as MNIST's digits are: uint8 [28, 28]."""
    height, width = ink.shape
    scale = 20 / max(height, width)
    small = _resize(ink, max(1, round(height * scale)), max(1, round(width * scale)))
    small = _stretch(small)
    mass = max(1, small.sum(dtype=np.int64))
    centre_y = (small.sum(1, dtype=np.int64) * np.arange(small.shape[0])).sum() / mass
    centre_x = (small.sum(0, dtype=np.int64) * np.arange(small.shape[1])).sum() / mass
    # MNIST's centres of mass lie at pixel 14 of 0-27, give or take half a pixel.
    top = int(np.clip(round(14 - centre_y), 0, 28 - small.shape[0]))
    left = int(np.clip(round(14 - centre_x), 0, 28 - small.shape[1]))
    out = np.zeros((28, 28), np.uint8)
    out[top : top + small.shape[0], left : left + small.shape[1]] = small
    return out


def frame_digits(ink: np.ndarray) -> np.ndarray:
    """Cropped ink, uint8 [h, w], framed as the 8×8 digits are: uint8 [8, 8], 17 grey levels.

    Set upright, stretched to 20×32, and thinned or thickened until as much of the 32×32 bitmap is
    ink as in the dataset; then its 4×4 blocks are counted.
    """
    canvas = np.zeros((32, 32), np.uint8)
    canvas[:, 6:26] = _resize(_upright(ink), 32, 20)
    blurred = np.asarray(Image.fromarray(canvas).filter(ImageFilter.GaussianBlur(1)))
    threshold = np.quantile(blurred, 1 - DIGITS_INK)
    bitmap = blurred > max(0, threshold - 1)
    counts = bitmap.reshape(8, 4, 8, 4).sum((1, 3))
    return np.rint(counts * (255 / 16)).astype(np.uint8)


def _upright(ink: np.ndarray) -> np.ndarray:
    """The ink sheared until its rows' centres no longer lean to one side, cropped again."""
    height, width = ink.shape
    values = ink.astype(np.float64)
    y, x = np.mgrid[:height, :width]
    mass = max(1.0, values.sum())
    centre_y, centre_x = (values * y).sum() / mass, (values * x).sum() / mass
    spread = max(1.0, (values * (y - centre_y) ** 2).sum())
    slant = float(np.clip((values * (x - centre_x) * (y - centre_y)).sum() / spread, -1, 1))
    padded = Image.fromarray(np.pad(ink, ((0, 0), (height, height))))
    shear = (1, slant, -slant * centre_y, 0, 1, 0)
    sheared = np.asarray(padded.transform(padded.size, Image.Transform.AFFINE, shear, Image.Resampling.BICUBIC))
    columns = np.flatnonzero((sheared > 255 * NOISE).any(0))
    return sheared[:, columns[0] : columns[-1] + 1] if len(columns) else ink


def _resize(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))


def _stretch(pixels: np.ndarray) -> np.ndarray:
    """Thin strokes fade when they are shrunk: bring the strongest back to 255."""
    strongest = pixels.max()
    return (pixels * (255 / strongest)).astype(np.uint8) if strongest else pixels
