"""Check arrays of pixels that a client sent."""

from typing import Any

import numpy as np

from .errors import ApiError
from .limits import MAX_IMAGES


def check_shape(shape: Any, image: tuple[int, int, int]) -> list[int]:
    """Return `shape` if it is a list that describes N images of the shape `image`. Raises ApiError 400 otherwise."""
    is_list = isinstance(shape, list) and all(type(n) is int for n in shape)
    if not is_list or shape[1:] != list(image) or not 1 <= shape[0] <= MAX_IMAGES:
        expected = f"[N, {', '.join(map(str, image))}] with N from 1 to {MAX_IMAGES}"
        raise ApiError(400, "shape", f"the shape is {shape!r:.64}: expected {expected}")
    return list(shape)


def to_uint8(values: np.ndarray) -> np.ndarray:
    """Return `values` as uint8. Raises ApiError 400 for anything but whole numbers from 0 to 255."""
    if values.dtype.kind not in "iu" or values.size == 0 or values.min() < 0 or values.max() > 255:
        raise ApiError(400, "dtype", "the data holds something other than whole numbers from 0 to 255")
    return values.astype(np.uint8, copy=False)
