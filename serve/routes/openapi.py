"""GET /openapi.json: openapi.yaml with the version and the security scheme."""

from pathlib import Path
from typing import Any

import yaml
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from ...contract import __version__
from ..settings import ServeSettings

FILE = Path(__file__).parent.parent / "openapi.yaml"


def load_openapi(settings: ServeSettings) -> dict[str, Any]:
    """Return the OpenAPI 3.1 description. It has a security scheme if an API key is set."""
    document: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    del document["x-shared"]
    document["info"]["version"] = __version__
    if settings.api_key:
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"key": []}]
    return document


async def openapi(request: Request) -> JSONResponse:
    """Return the description. It is parsed once, since that takes 90 ms."""
    state = request.app.state
    if not hasattr(state, "openapi"):
        state.openapi = load_openapi(state.settings)
    return JSONResponse(state.openapi)


routes = [Route("/openapi.json", openapi)]
