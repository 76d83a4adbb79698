"""The HTTP routes, one file for each thing a client comes for."""

from starlette.applications import Starlette

from ..errors import ApiError, api_error
from . import download, models, predict, protocol


def create_app() -> Starlette:
    """The application; whoever serves it sets `app.state.zoo` to a Zoo first."""
    routes = [*models.routes, *download.routes, *predict.routes, *protocol.routes]
    return Starlette(routes=routes, exception_handlers={ApiError: api_error})
