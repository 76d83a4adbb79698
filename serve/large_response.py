"""Large answers: sent in pieces, and counted until they are out."""

import asyncio
import logging
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .held import Held

logger = logging.getLogger("cnnzoo.serve")

PIECE = 2**16  # bytes, after which the server waits until the client has read enough


class LargeResponse(Response):
    """A response whose bytes are held until the client has read all but the last of them.

    Raises ApiError 503 when it is to be sent while others take all bytes.

    Args:
        held: the bytes of all such answers. A client that does not read would hold any number of them.
        seconds: for a client to read a piece; then the connection is closed.
    """

    def __init__(self, content: bytes, held: Held, seconds: float, **kwargs: Any) -> None:
        super().__init__(content, **kwargs)
        self.held = held
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        size = len(self.body)
        with self.held.add(size):
            try:
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                for start in range(0, max(size, 1), PIECE):
                    piece = self.body[start : start + PIECE]
                    async with asyncio.timeout(self.seconds):
                        await send({"type": "http.response.body", "body": piece, "more_body": start + PIECE < size})
            except TimeoutError:  # at this return uvicorn closes the connection
                logger.info("A client did not read its answer: the connection is closed.")
