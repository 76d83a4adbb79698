"""Large answers: sent in pieces, and counted until they are out."""

from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .held import Held

PIECE = 2**16  # bytes, after which the server waits until the client has read enough


class LargeResponse(Response):
    """A response whose bytes are held until the client has read all but the last of them.

    Raises ApiError 503 when it is to be sent while others take all bytes.

    Args:
        held: the bytes of all such answers. A client that does not read would hold any number of them.
    """

    def __init__(self, content: bytes, held: Held, **kwargs: Any) -> None:
        super().__init__(content, **kwargs)
        self.held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        size = len(self.body)
        with self.held.add(size):
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            for start in range(0, max(size, 1), PIECE):
                piece = self.body[start : start + PIECE]
                await send({"type": "http.response.body", "body": piece, "more_body": start + PIECE < size})
