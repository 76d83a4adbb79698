"""Occlusion: which parts of a picture an answer depends on (Zeiler & Fergus, arXiv 1311.2901).

A square is moved over the picture. Where it hides what mattered, the probability of the class drops. That needs no
gradients, so it works for every file.
"""

from typing import NamedTuple

import numpy as np

from ..contract.card import HANDWRITING, Preparation

GREY = 127  # of the square over a photo


class Cover(NamedTuple):
    """Side of the square that covers a picture, and the pixels between two of its positions."""

    square: int
    stride: int

    @classmethod
    def of(cls, side: int) -> "Cover":
        """Return a square of about a quarter of the picture's longer side, at about 12 × 12 positions.

        Both are odd, or both even: then the square's center is the middle of the pixels that a position stands for.
        """
        stride = max(1, round(side / 12))
        square = max(2, round(side / 4))
        return cls(square + (square - stride) % 2, stride)


def covered(image: np.ndarray, cover: Cover, fill: int) -> np.ndarray:
    """Return the picture once for each position of the square, uint8 [rows · columns, C, H, W], row by row.

    The square's center is at every `stride`-th pixel, from half a stride on; it may reach past the border.
    """
    _, height, width = image.shape
    rows, columns = positions(height, cover.stride), positions(width, cover.stride)
    images = np.repeat(image[None], len(rows) * len(columns), 0)
    before, after = cover.square // 2, cover.square - cover.square // 2
    for number, copy in enumerate(images):
        y, x = rows[number // len(columns)], columns[number % len(columns)]
        copy[:, max(0, y - before) : y + after, max(0, x - before) : x + after] = fill
    return images


def positions(side: int, stride: int) -> np.ndarray:
    """Return the centers of the square along one side of the picture."""
    return np.arange(min(stride // 2, side // 2), side, stride)


def fill_of(image: np.ndarray, prepare: Preparation) -> int:
    """Return the value of the square: grey for photos; for handwriting the paper, the median of the border."""
    if prepare not in HANDWRITING:
        return GREY
    border = np.concatenate([image[:, 0], image[:, -1], image[:, :, 0], image[:, :, -1]], axis=1)
    return int(np.median(border))


def drops(image: np.ndarray, cover: Cover, probabilities: np.ndarray, base: float) -> np.ndarray:
    """Return how much the probability of a class drops at each position, float32 [rows, columns].

    Args:
        image: the picture, uint8 [C, H, W].
        probabilities: of the class, one for each picture of `covered`.
        base: of the class, for the picture itself.
    """
    rows = positions(image.shape[1], cover.stride)
    return (base - probabilities).reshape(len(rows), -1).astype(np.float32)
