"""Check arrays of pixels that a client sent."""

from itertools import chain
from typing import Any

import numpy as np

from .errors import ApiError
from .limits import MAX_IMAGES

MAX_DEPTH = 4  # of lists: images, channels, rows, pixels
NESTED = "give one flat list, or lists nested as the shape says"
OTHER = "the data holds something other than whole numbers from 0 to 255"


def check_shape(shape: Any, image: tuple[int, int, int]) -> list[int]:
    """Return `shape` if it is a list that describes N images of the shape `image`. Raises ApiError 400 otherwise."""
    is_list = isinstance(shape, list) and all(type(n) is int for n in shape)
    if not is_list or shape[1:] != list(image) or not 1 <= shape[0] <= MAX_IMAGES:
        expected = f"[N, {', '.join(map(str, image))}] with N from 1 to {MAX_IMAGES}"
        raise ApiError(400, "shape", f"the shape is {shape!r:.64}: expected {expected}")
    return list(shape)


def check_numbers(data: Any) -> Any:
    """Return `data` if it is a list of numbers, nested evenly. Raises ApiError 400 otherwise.

    For the one long text in a list, NumPy would give every number as many bytes.
    """
    level, depth = data, 0
    while isinstance(level, list) and level and isinstance(level[0], list) and depth < MAX_DEPTH:
        if set(map(type, level)) != {list}:
            raise ApiError(400, "shape", f"'data' is ragged: {NESTED}")
        level, depth = list(chain.from_iterable(level)), depth + 1
    if not isinstance(level, list):
        raise ApiError(400, "shape", f"'data' is no list: {NESTED}")
    if not set(map(type, level)) <= {int, float, bool}:
        raise ApiError(400, "dtype", OTHER)
    return data


def to_uint8(values: np.ndarray) -> np.ndarray:
    """Return `values` as uint8. Raises ApiError 400 for anything but whole numbers from 0 to 255."""
    if values.dtype.kind not in "iu" or values.size == 0 or values.min() < 0 or values.max() > 255:
        raise ApiError(400, "dtype", OTHER)
    return values.astype(np.uint8, copy=False)
