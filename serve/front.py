"""Which application answers: this project's, or BentoML's behind it."""

from collections.abc import Callable

from starlette.routing import Router
from starlette.types import ASGIApp, Receive, Scope, Send

from .routes.docs import SWAGGER
from .scope import ROUTE, ZOO
from .zoo import Zoo

BENTOML = ("/classify", "/schema.json", "/livez", "/readyz", "/healthz")  # its clients read the schema
SWAGGER_FILES = (f"{SWAGGER}.css", f"{SWAGGER}-bundle.js")


class Front:
    """Middleware that answers all addresses from `routes`, but for the few that are BentoML's.

    Mounted inside BentoML's application the same routes would be looked up twice, behind more layers. And whatever
    else BentoML has, among it a start page that loads a tracker, cannot be reached.
    """

    def __init__(self, app: ASGIApp, routes: Router, zoo: Callable[[], Zoo]) -> None:
        self.app = app
        self.routes = routes
        self.zoo = zoo

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        if scope["path"] in BENTOML or scope["path"] in SWAGGER_FILES:
            scope[ROUTE] = scope["path"]
            return await self.app(scope, receive, send)
        scope[ZOO] = self.zoo()
        try:
            await self.routes(scope, receive, send)
        finally:
            if route := scope.get("route"):
                scope[ROUTE] = route.path
