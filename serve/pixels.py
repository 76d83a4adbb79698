"""Arrays of pixels from strangers: what is accepted as images."""

from typing import Any

import numpy as np

from .contract import ModelCard
from .limits import MAX_IMAGES


class PixelError(ValueError):
    """Not images for this network.

    Args:
        code: "shape" or "dtype".
        message: what was wrong and what would be right.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def expected_shape(card: ModelCard) -> str:
    """For people: the shapes that the network of `card` takes."""
    return f"[N, {', '.join(map(str, card.input_shape))}] with N from 1 to {MAX_IMAGES}"


def check_shape(shape: Any, card: ModelCard) -> list[int]:
    """`shape`, if it is a list that describes N images for the network of `card`; else raises PixelError."""
    right = isinstance(shape, list) and all(type(n) is int for n in shape)
    if not right or shape[1:] != list(card.input_shape) or not 1 <= shape[0] <= MAX_IMAGES:
        raise PixelError("shape", f"the shape is {shape!r:.64}: expected {expected_shape(card)}")
    return shape


def to_uint8(values: np.ndarray) -> np.ndarray:
    """`values` as uint8; raises PixelError for anything but whole numbers from 0 to 255."""
    if values.dtype.kind not in "iu" or values.size == 0 or values.min() < 0 or values.max() > 255:
        raise PixelError("dtype", "the data holds something other than whole numbers from 0 to 255")
    return values.astype(np.uint8, copy=False)
