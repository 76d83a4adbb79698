"""Limits on what a client can send."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import CLOSE, ApiError

MAX_IMAGES = 1024  # images in one request
MAX_FILES = 256  # image files in one form


class BodyLimit:
    """ASGI middleware that limits one body, all bodies in memory, and the requests that have a body.

    A body of more than `limit` bytes is refused with 413: before it is read if its length is declared, else as soon
    as the bytes received exceed the limit. A request that is one too many, or whose bytes do not fit into the `held`
    bytes for all bodies when they arrive, is refused with 503. So requests in flight have bounded memory and time.

    Starlette's RequestBodyLimitMiddleware has no limit for all requests together. It raises its exception inside the
    app, where BentoML catches it and answers 500.
    """

    def __init__(self, app: ASGIApp, limit: int, held: int, requests: int) -> None:
        self.app = app
        self.limit = limit
        self.held = max(held, limit)
        self.requests = requests
        self._bytes = 0
        self._requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            return await self.app(scope, receive, send)
        if _declared_length(scope) > self.limit:
            raise self._too_large()
        if self._requests >= self.requests:
            raise self._overloaded()
        received = 0
        refusal: ApiError | None = None

        async def counted() -> Message:
            nonlocal received, refusal
            message = await receive()
            size = len(message.get("body", b""))
            received += size
            self._bytes += size
            if received > self.limit:
                refusal = self._too_large()
            elif self._bytes > self.held:
                refusal = self._overloaded()
            if refusal:
                raise refusal
            return message

        async def guarded(message: Message) -> None:
            if not refusal:  # drop the answer of an app that caught the exception, such as BentoML
                await send(message)

        self._requests += 1
        try:
            await self.app(scope, counted, guarded)
        finally:
            self._requests -= 1
            self._bytes -= received
        if refusal:
            raise refusal

    def _too_large(self) -> ApiError:
        message = f"the body is larger than {self.limit:,} bytes: send fewer or smaller images in one request"
        return ApiError(413, "body_too_large", message, CLOSE)

    def _overloaded(self) -> ApiError:
        message = "the service has as many requests in flight as it can hold: try again in a second"
        return ApiError(503, "overloaded", message, CLOSE)


def _declared_length(scope: Scope) -> int:
    """Return the body's declared length, or 0.

    Raises ApiError 415 for a compressed body, which may grow unbounded, and 400 for a body with an upgrade to another
    protocol: uvicorn's parser drops it.
    """
    length, chunked, protocol = 0, False, ""
    for key, value in scope["headers"]:
        if key == b"content-length" and value.isdigit():
            length = int(value)
        elif key == b"transfer-encoding":
            chunked = True
        elif key == b"content-encoding" and value.lower() != b"identity":
            encoding = value.decode("latin-1")[:32]
            raise ApiError(415, "compressed", f"the body is compressed ({encoding}): send it as it is")
        elif key == b"upgrade":
            protocol = value.decode("latin-1")[:32]
    if protocol and (length or chunked):
        message = f"the request has a body and asks for {protocol}: send it as HTTP/1.1, without Upgrade"
        raise ApiError(400, "upgrade", message, CLOSE)
    return length
