"""The HTTP routes, one file for each thing a client comes for."""

from starlette.routing import Router
from starlette.types import Receive, Scope, Send

from ..errors import ApiError
from . import docs, download, infer, models, operations, page, predict, protocol

# The busiest first, and a file before the card of a model whose name would end in .onnx.
ROOMS = (infer, predict, page, download, models, protocol, operations, docs)


def create_router() -> Router:
    """All routes. They find the models in the scope, under scope.ZOO, and leave errors to ErrorFormat."""
    routes = [route for room in ROOMS for route in room.routes]
    return Router(routes, redirect_slashes=False, default=_nothing)


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    path = scope["path"][:128]
    raise ApiError(404, "not_found", f"there is nothing at {path!r}: /docs lists what there is")
