"""Show which parts of an image an answer depends on."""

import numpy as np
from anyio import CapacityLimiter
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse

from ...contract.card import class_number
from ..drawing import data_url, over
from ..errors import ApiError, AsciiJSONResponse
from ..model import Model
from ..occlusion import Cover, covered, drops, fill_of
from ..threads import in_thread
from .compute import compute
from .lookup import model_of, versioned
from .one_image import PREPARE, one_image
from .query import Parameter, one_of, read_query

STEP = 8  # covered images that are computed at once; requests that predict are answered in between
MAX_WAITING = 8  # explanations that wait; beyond: 429


async def explain(request: Request) -> JSONResponse:
    """Answer with the map of how much the probability of a class drops where a square covers the image in the body."""
    model = model_of(request.scope)
    query = read_query(request, EXPLAIN)
    wanted = None if query["class"] is None else _class(model, query["class"])
    image = await one_image(request, model, query["prepare"])
    cover = Cover.of(max(image.shape[1:]))
    one_at_a_time: CapacityLimiter = request.app.state.explanations
    if one_at_a_time.statistics().tasks_waiting >= MAX_WAITING:
        raise ApiError(429, "busy", "too many explanations wait already: try again in a few seconds")
    async with one_at_a_time:
        images = await in_thread(lambda: covered(image, cover, fill_of(image, model.card.prepare)))
        probabilities = await _probabilities(request, model, np.concatenate([image[None], images]))
    chosen = int(probabilities[0].argmax()) if wanted is None else wanted
    base = float(probabilities[0, chosen])
    found = drops(image, cover, probabilities[1:, chosen], base)
    overlay = await in_thread(lambda: data_url(over(image, found, cover)))
    return AsciiJSONResponse(
        {
            "model": model.card.name,
            "version": model.card.version,
            "method": query["method"],
            "class": {"label": model.card.classes[chosen], "class": chosen, "probability": base},
            "square": cover.square,
            "stride": cover.stride,
            "drops": found.tolist(),
            "png": overlay,
        }
    )


EXPLAIN = {
    "method": Parameter(one_of("occlusion"), "occlusion"),
    "class": Parameter(str, None),
    "prepare": PREPARE,
}


def _class(model: Model, wanted: str) -> int:
    try:
        return class_number(model.card.classes, wanted)
    except ValueError as error:
        raise ApiError(400, "class", str(error)) from None


async def _probabilities(request: Request, model: Model, images: np.ndarray) -> np.ndarray:
    """Return the probabilities [N, classes] of images, a few at a time. Stops when the client has hung up."""
    found = []
    for start in range(0, len(images), STEP):
        if await request.is_disconnected():
            raise ClientDisconnect
        found.append((await compute(model, images[start : start + STEP]))[1])
    return np.concatenate(found)


routes = versioned("/v1/models", "/explain", explain, ["POST"])
