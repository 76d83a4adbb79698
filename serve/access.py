"""Who may ask: the optional API key."""

import hmac

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from .routes.docs import SWAGGER

HEALTH = ("/livez", "/readyz", "/healthz", "/v2/health/live", "/v2/health/ready")
PAGES = ("/", "/docs", "/docs.js", "/openapi.json")


class ApiKey:
    """Middleware that answers 401 unless the request has `Authorization: Bearer <key>`.

    Compared in constant time. Health and the pages, which ask for the key, are open.
    """

    def __init__(self, app: ASGIApp, key: str) -> None:
        self.app = app
        self._expected = b"bearer " + key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._allowed(scope):
            return await self.app(scope, receive, send)
        error = {"error": "an API key is needed: send it as 'Authorization: Bearer <key>'", "code": "unauthorized"}
        await JSONResponse(error, 401, {"WWW-Authenticate": "Bearer"})(scope, receive, send)

    def _allowed(self, scope: Scope) -> bool:
        path = scope["path"]
        if path in HEALTH or path in PAGES or path.startswith(("/page/", SWAGGER)):
            return True
        given = dict(scope["headers"]).get(b"authorization", b"")
        scheme, _, key = given.partition(b" ")
        return hmac.compare_digest(scheme.lower() + b" " + key.strip(), self._expected)
