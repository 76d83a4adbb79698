"""Large answers: sent in pieces, and counted until they are out."""

import asyncio
import logging
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .errors import ApiError

logger = logging.getLogger("cnnzoo.serve")

PIECE = 2**16  # bytes, after which the server waits until the client has read enough


class Outgoing:
    """Bytes of the large answers that are being sent. A client that does not read would hold any number of them.

    Args:
        limit: bytes, at most.
        seconds: for a client to read a piece; then the connection is closed.
    """

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit = limit
        self.seconds = seconds
        self.bytes = 0


class LargeResponse(Response):
    """A response whose bytes count until the client has read all but the last of them.

    Raises ApiError 503 when it is to be sent while others take all bytes.
    """

    def __init__(self, content: bytes, outgoing: Outgoing, **kwargs: Any) -> None:
        super().__init__(content, **kwargs)
        self.outgoing = outgoing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        size = len(self.body)
        if self.outgoing.bytes and self.outgoing.bytes + size > self.outgoing.limit:
            raise ApiError(503, "overloaded", "the service has as many answers to send as it can hold: try again")
        self.outgoing.bytes += size
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            for start in range(0, max(size, 1), PIECE):
                piece = self.body[start : start + PIECE]
                async with asyncio.timeout(self.outgoing.seconds):
                    await send({"type": "http.response.body", "body": piece, "more_body": start + PIECE < size})
        except TimeoutError:
            logger.info("A client did not read its answer: the connection is closed.")  # as uvicorn does at this return
        finally:
            self.outgoing.bytes -= size
