"""The time in which an answer must begin, and in which a client must read each part of it."""

import asyncio
import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import CLOSE, ApiError

logger = logging.getLogger("cnnzoo.serve")


class Deadline:
    """ASGI middleware that answers 504 if no answer has begun within `seconds`, or 408 if the body has not arrived.

    An answer that has begun may take longer, if each of its messages is made and read within `seconds`. Else it stays
    incomplete, and the server closes the connection.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self.app = app
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        reading = begun = False
        limit = asyncio.timeout(self.seconds)

        async def watched_receive() -> Message:
            nonlocal reading
            reading = True
            try:
                message = await receive()
            except asyncio.CancelledError:  # also of a question whether the client is still there
                reading = limit.expired()
                raise
            reading = bool(message.get("more_body"))
            return message

        async def watched_send(message: Message) -> None:
            nonlocal begun
            if not limit.expired():
                begun = True
                limit.reschedule(asyncio.get_running_loop().time() + self.seconds)
            await send(message)

        try:
            async with limit:
                await self.app(scope, watched_receive, watched_send)
        except TimeoutError:
            if not limit.expired():
                raise
            if begun:
                return logger.info("An answer was not made and read in time: the connection is closed.")
            late = f"within {self.seconds:g} seconds: try again, or send fewer images in a request that has many"
            if reading:
                raise ApiError(408, "slow_body", f"the body did not arrive {late}", CLOSE) from None
            raise ApiError(504, "deadline", f"no answer {late}", CLOSE) from None
