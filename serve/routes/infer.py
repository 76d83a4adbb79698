"""POST /v2/models/{m}/infer: tensors in, tensors out."""

import time

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from ...contract.names import HEADER_LENGTH
from .. import timing
from ..large_response import PIECE, LargeResponse
from ..tensors import read, write
from ..threads import in_thread
from .compute import compute
from .lookup import model_of, versioned

HEADER = HEADER_LENGTH.lower().encode()
FEW = 2**12  # logits of an answer that is written on the event loop
SMALL = 2**16  # bytes of a body that is parsed on the event loop: a thread would take longer


class Infer:
    """ASGI app that answers with the outputs asked for, as JSON, or as JSON with binary tensors after it.

    Starlette's Request and Response would take a tenth of the CPU time of a small model's request.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        model = model_of(scope)
        header_length = next((value.decode("latin-1") for key, value in scope["headers"] if key == HEADER), None)
        body = await _body(receive)
        received = time.perf_counter()
        if len(body) <= SMALL:
            call = read(body, header_length, model.card)
        else:
            call = await in_thread(read, body, header_length, model.card)
        timing.add("decode", received, time.perf_counter())
        outputs = await compute(model, call.images)
        if outputs[0].size <= FEW:
            content, length = write(call, model.card, outputs)
        else:
            content, length = await in_thread(write, call, model.card, outputs)
        headers = [(b"content-length", b"%d" % len(content))]
        if length is None:
            headers.append((b"content-type", b"application/json"))
        else:
            headers.append((b"content-type", b"application/octet-stream"))
            headers.append((HEADER, b"%d" % length))
        if len(content) > PIECE:
            answer = LargeResponse(content, scope["app"].state.answers)
            answer.raw_headers = headers
            return await answer(scope, receive, send)
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})


async def _body(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return parts[0] if len(parts) == 1 else b"".join(parts)


routes = versioned("/v2/models", "/infer", Infer(), ["POST"])
