"""Limits on what a stranger can send."""

import math
import os

import anyio
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 32 * 2**20  # bytes of a request's body; CNNZOO_MAX_BODY sets another number
if _set := os.environ.get("CNNZOO_MAX_BODY"):
    if not _set.isdecimal():
        raise SystemExit(f"CNNZOO_MAX_BODY is {_set!r}: give a number of bytes")
    MAX_BODY = int(_set)
MAX_IMAGES = 1024  # images in one request
MAX_FILES = 256  # picture files in one request
DEADLINE = 60.0  # seconds until an answer must have begun


class _BodyTooLarge(Exception):
    pass


class BodyLimit:
    """Middleware that refuses a body of more than `limit` bytes with 413.

    A declared length is refused unread; an undeclared one as soon as the bytes received exceed the limit.
    """

    def __init__(self, app: ASGIApp, limit: int = MAX_BODY) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.limit:
                raise _BodyTooLarge
            return message

        async def guarded(message: Message) -> None:
            if received <= self.limit:  # past it, whatever the app made of the broken body is not the answer
                await send(message)

        declared = dict(scope["headers"]).get(b"content-length", b"0")
        try:
            if declared.isdigit() and int(declared) > self.limit:
                raise _BodyTooLarge
            await self.app(scope, counted, guarded)
        except _BodyTooLarge:
            received = self.limit + 1
        if received > self.limit:
            await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        message = f"the body is larger than {self.limit:,} bytes: send fewer or smaller images in one request"
        response = JSONResponse({"error": message, "code": "body_too_large"}, 413, {"Connection": "close"})
        await response(scope, receive, send)


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
    """Middleware that answers 504 where nothing has been answered within `seconds`.

    In place of BentoML's own, whose answer would not have the one form of errors. A download that
    has begun may take as long as it takes.
    """

    def __init__(self, app: ASGIApp, seconds: float = DEADLINE) -> None:
        self.app = app
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        with anyio.move_on_after(self.seconds) as timer:

            async def begun(message: Message) -> None:
                timer.deadline = math.inf
                await send(message)

            await self.app(scope, receive, begun)
        if timer.cancelled_caught:
            message = f"no answer within {self.seconds:g} seconds: send fewer images in one request, or try again"
            await JSONResponse({"error": message, "code": "deadline"}, 504)(scope, receive, send)
