"""Limits on what a stranger can send."""

import asyncio
from contextlib import suppress

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import ApiError

MAX_IMAGES = 1024  # images in one request
MAX_FILES = 256  # picture files in one request


class _Refused(Exception):
    pass


class BodyLimit:
    """Middleware that bounds what bodies take up: one at a time, and all that are in hand.

    A body of more than `limit` bytes is refused with 413: unread if its length is declared, else as soon as the bytes
    received exceed it. A request that would be one too many, or whose body would make all bodies in hand larger than
    `held`, is refused with 503 at once: what has been accepted is answered in bounded time and memory.
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
        declared = _declared(scope)
        self._requests += 1
        try:
            if self._requests > self.requests:
                await self._overloaded(scope, receive, send)
            elif declared is None:
                await self._count(scope, receive, send)
            elif declared > self.limit:
                await self._too_large(scope, receive, send)
            elif self._bytes + declared > self.held:
                await self._overloaded(scope, receive, send)
            else:  # the HTTP server lets no more through than is declared
                self._bytes += declared
                try:
                    await self.app(scope, receive, send)
                finally:
                    self._bytes -= declared
        finally:
            self._requests -= 1

    async def _count(self, scope: Scope, receive: Receive, send: Send) -> None:
        """For a body of unknown length."""
        received = 0
        refused = answered = False

        async def counted() -> Message:
            nonlocal received, refused
            message = await receive()
            size = len(message.get("body", b""))
            received += size
            self._bytes += size
            if received > self.limit or self._bytes > self.held:
                refused = True
                raise _Refused
            return message

        async def guarded(message: Message) -> None:
            nonlocal answered
            if not refused:  # after that, whatever the app made of the broken body is not the answer
                answered = True
                await send(message)

        try:
            with suppress(_Refused):
                await self.app(scope, counted, guarded)
            if refused and not answered:
                refuse = self._too_large if received > self.limit else self._overloaded
                await refuse(scope, receive, send)
        finally:
            self._bytes -= received

    async def _too_large(self, scope: Scope, receive: Receive, send: Send) -> None:
        message = f"the body is larger than {self.limit:,} bytes: send fewer or smaller images in one request"
        await _refuse(413, "body_too_large", message, scope, receive, send)

    async def _overloaded(self, scope: Scope, receive: Receive, send: Send) -> None:
        message = "the service has as much in hand as it can hold: try again in a second"
        await _refuse(503, "overloaded", message, scope, receive, send)


def _declared(scope: Scope) -> int | None:
    """The body's length; None if it is not said. ApiError 415 for one that is compressed: it may grow without end."""
    length, chunked = 0, False
    for key, value in scope["headers"]:
        if key == b"content-length":
            length = int(value)
        elif key == b"transfer-encoding":
            chunked = True
        elif key == b"content-encoding" and value.lower() != b"identity":
            way = value.decode("latin-1")[:32]
            raise ApiError(415, "compressed", f"the body is compressed ({way}): send it as it is")
    return None if chunked else length


async def _refuse(status: int, code: str, message: str, scope: Scope, receive: Receive, send: Send) -> None:
    # What is left of the body is not read, so the connection cannot go on.
    headers = {"Connection": "close", **({"Retry-After": "1"} if status == 503 else {})}
    await JSONResponse({"error": message, "code": code}, status, headers)(scope, receive, send)


class OnlyJSON:
    """Middleware that lets `path` have JSON bodies alone: BentoML answers 500 to other kinds it cannot read."""

    def __init__(self, app: ASGIApp, path: str) -> None:
        self.app = app
        self.path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == self.path and scope["method"] == "POST":
            kind = dict(scope["headers"]).get(b"content-type", b"application/json")
            if kind.split(b";")[0].strip().lower() != b"application/json":
                message = f"the body's type is {kind.decode('latin-1')[:64]}: send application/json"
                return await JSONResponse({"error": message, "code": "media_type"}, 415)(scope, receive, send)
        await self.app(scope, receive, send)


class Deadline:
    """Middleware that answers 504 where nothing has been answered within `seconds`, 408 where the body is not there.

    In place of BentoML's own, whose answer would not have the one form of errors. A download that
    has begun may take as long as it takes.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self.app = app
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        begun = reading = expired = False
        task = asyncio.current_task()

        def expire() -> None:
            nonlocal expired
            expired = True
            if task:
                task.cancel()

        timer = asyncio.get_running_loop().call_later(self.seconds, expire)

        async def watched_receive() -> Message:
            nonlocal reading
            reading = True
            message = await receive()
            reading = bool(message.get("more_body"))
            return message

        async def watched_send(message: Message) -> None:
            nonlocal begun
            if not begun:
                begun = True
                timer.cancel()
            await send(message)

        try:
            await self.app(scope, watched_receive, watched_send)
        except asyncio.CancelledError:
            if not expired or begun:
                raise
            if task:
                task.uncancel()
            if reading:
                status, code, message = 408, "slow_body", f"the body did not arrive within {self.seconds:g} seconds"
            else:
                status, code, message = 504, "deadline", f"no answer within {self.seconds:g} seconds"
            message += ": send fewer images in one request, or try again"
            await JSONResponse({"error": message, "code": code}, status, {"Connection": "close"})(scope, receive, send)
        finally:
            timer.cancel()
