"""The HTTP routes, one file for each kind of client."""

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ..errors import ApiError
from . import download, explain, infer, inspect, models, openapi, operations, page, predict, protocol


def create_routes() -> list[Route]:
    """Return all routes. They find the models in `app.state.zoo`, and raise ApiError for `ErrorFormat`.

    `download` comes before `models`: /models/{model} also matches the path of a file.
    """
    modules = (infer, predict, inspect, explain, page, download, models, protocol, operations, openapi)
    return [route for module in modules for route in module.routes]


async def not_found(scope: Scope, receive: Receive, send: Send) -> None:
    """ASGI app for all other paths."""
    raise ApiError(404, "not_found", f"there is nothing at {scope['path'][:128]!r}: /docs lists all routes")
