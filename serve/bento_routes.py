"""The few paths that BentoML's app answers. The rest of it cannot be reached: its start page loads a tracker."""

from typing import Any

import numpy as np
from starlette.datastructures import Headers
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import ApiError
from .image_arrays import check_shape, to_uint8
from .observe import MODEL
from .routes.compute import compute
from .routes.lookup import find
from .routes.predict import top_classes

SCHEMA = "/schema.json"  # BentoML's clients read it
CLASSIFY = "/classify"
OUTER = "cnnzoo.outer"  # key of BentoML's ASGI scope: the scope around it
REFUSED = "cnnzoo.refused"  # key of an ASGI scope: a list for the error of /classify
FILES = ("/static_content/swagger-ui.css", "/static_content/swagger-ui-bundle.js")  # of Swagger UI, for /docs


def bento_routes(bento: ASGIApp) -> list[Route]:
    """Return the routes that pass a request on to BentoML's app."""
    files = [Route(path, _Forward(bento), methods=["GET"]) for path in (SCHEMA, *FILES)]
    return [Route(CLASSIFY, _Forward(bento, json_only=True), methods=["POST"]), *files]


class _Forward:
    """ASGI app that passes a request on to BentoML's.

    Args:
        json_only: answer 415 to other bodies. BentoML answers 500 to those that it cannot read, and reads pickles.
    """

    def __init__(self, bento: ASGIApp, json_only: bool = False) -> None:
        self.bento = bento
        self.json_only = json_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        media_type = Headers(scope=scope).get("content-type", "application/json")
        if self.json_only and media_type.split(";")[0].strip().lower() != "application/json":
            raise ApiError(415, "media_type", f"the body's type is {media_type[:64]}: send application/json")
        refused: list[ApiError] = []

        async def send_unless_refused(message: Message) -> None:
            if not refused:
                await send(message)

        # A copy: BentoML's router writes another route into the scope.
        await self.bento({**scope, OUTER: scope, REFUSED: refused}, receive, send_unless_refused)
        if refused:
            raise refused[0]


async def classify(scope: Scope, name: str, images: np.ndarray, version: int | None, top_k: int) -> list[Any]:
    """Return the top-k classes of each image, for BentoML's API.

    Hands an ApiError to `_Forward` in the scope: BentoML would log a traceback, and answer with a code of its own.
    """
    try:
        model = find(scope["app"].state.zoo, name, None if version is None else str(version))
        scope[OUTER][MODEL] = model.card.name
        check_shape(list(images.shape), model.card.input_shape)
        _, probabilities, *_ = await compute(model, to_uint8(images))
    except ApiError as error:
        scope[REFUSED].append(error)
        return []
    return top_classes(model.card, probabilities, top_k)
