"""Arrays of pixels from strangers: what is accepted as images."""

from typing import Any

import numpy as np

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


def check_shape(shape: Any, image: tuple[int, int, int]) -> list[int]:
    """`shape`, if it is a list that describes N images of the shape `image`; else raises PixelError."""
    right = isinstance(shape, list) and all(type(n) is int for n in shape)
    if not right or shape[1:] != list(image) or not 1 <= shape[0] <= MAX_IMAGES:
        expected = f"[N, {', '.join(map(str, image))}] with N from 1 to {MAX_IMAGES}"
        raise PixelError("shape", f"the shape is {shape!r:.64}: expected {expected}")
    return shape


def to_uint8(values: np.ndarray) -> np.ndarray:
    """`values` as uint8; raises PixelError for anything but whole numbers from 0 to 255."""
    if values.dtype.kind not in "iu" or values.size == 0 or values.min() < 0 or values.max() > 255:
        raise PixelError("dtype", "the data holds something other than whole numbers from 0 to 255")
    return values.astype(np.uint8, copy=False)
