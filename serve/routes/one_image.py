"""The image in the body of a request about one image."""

import time

import numpy as np
from starlette.requests import Request

from ...contract.card import Preparation
from ...contract.images import ImageTooLarge, UndecodableImage, decode, to_input
from .. import timing
from ..errors import ApiError
from ..model import Model
from ..threads import in_thread
from .query import Parameter, one_of

IMAGE_TYPES = ("image/png", "image/jpeg")
PREPARE = Parameter(one_of("auto", "none"), "auto")


async def one_image(request: Request, model: Model, prepare: str) -> np.ndarray:
    """Return the network's input for the image in the body, uint8 [C, H, W]. Raises ApiError 413, 415 or 422."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind not in IMAGE_TYPES:
        raise ApiError(415, "media_type", f"the body's type is {kind or 'not stated'}: send image/png or image/jpeg")
    body, limit = await request.body(), request.app.state.settings.max_pixels
    way = model.card.prepare if prepare == "auto" else "photo"
    received = time.perf_counter()
    image = await in_thread(read_input, body, model.card.input_shape, way, limit)
    timing.add("decode", received, time.perf_counter())
    return image


def read_input(data: bytes, shape: tuple[int, int, int], prepare: Preparation, max_pixels: int) -> np.ndarray:
    """Return a network's input for a PNG or JPEG, uint8 [C, H, W]. Raises ApiError 413 or 422."""
    try:
        return to_input(decode(data, max_pixels), shape, prepare)
    except ImageTooLarge as error:
        raise ApiError(413, "picture_too_large", str(error)) from None
    except UndecodableImage as error:
        raise ApiError(422, "undecodable_image", f"{error}; send a PNG or a JPEG") from None
