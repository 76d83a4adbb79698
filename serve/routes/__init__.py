"""The HTTP routes, one file for each thing a client comes for."""

from starlette.applications import Starlette

from ..errors import ApiError, api_error, not_found
from . import docs, download, infer, models, operations, page, predict, protocol


def create_app() -> Starlette:
    """The application; whoever serves it sets `app.state.zoo` to a Zoo first."""
    rooms = (infer, predict, page, models, download, protocol, operations, docs)  # the busiest first
    routes = [route for room in rooms for route in room.routes]
    app = Starlette(routes=routes, exception_handlers={ApiError: api_error, 404: not_found})
    app.router.redirect_slashes = False
    return app
