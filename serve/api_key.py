"""The optional API key."""

import hmac

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from .errors import ApiError

OPEN = (
    "/livez", "/readyz", "/healthz", "/v2/health/live", "/v2/health/ready",  # health probes have no key
    "/", "/docs", "/openapi.json",  # pages without data, which ask for the key
)  # fmt: skip
OPEN_FOLDERS = ("/page/", "/static_content/swagger-ui")


class ApiKey:
    """ASGI middleware that answers 401 unless a request has `Authorization: Bearer <key>`.

    The comparison takes constant time. Health probes and the pages are open.
    """

    def __init__(self, app: ASGIApp, key: str) -> None:
        self.app = app
        self._key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._is_allowed(scope):
            message = "an API key is needed: send it as 'Authorization: Bearer <key>'"
            raise ApiError(401, "unauthorized", message, {"WWW-Authenticate": "Bearer"})
        await self.app(scope, receive, send)

    def _is_allowed(self, scope: Scope) -> bool:
        if scope["path"] in OPEN or scope["path"].startswith(OPEN_FOLDERS):
            return True
        return is_authorized(Headers(scope=scope).get("authorization", ""), self._key)


def is_authorized(authorization: str, key: str) -> bool:
    """Return whether a header or metadata `authorization` is `Bearer <key>`."""
    scheme, _, given = authorization.encode("latin-1", "replace").partition(b" ")
    return hmac.compare_digest(scheme.lower() + b" " + given.strip(), b"bearer " + key.encode())
