"""POST /v2/models/{m}/infer: tensors in, tensors out."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ...contract.names import HEADER_LENGTH
from ..tensors import read, write
from ..threads import in_thread
from .compute import compute
from .lookup import model_of

SMALL = 2**16  # bytes of a body that is parsed on the event loop: a thread would take longer


async def infer(request: Request) -> Response:
    """Answer with the outputs that were asked for, as JSON, or as JSON with binary tensors after it."""
    model = model_of(request.scope)
    body, header_length = await request.body(), request.headers.get(HEADER_LENGTH)
    if len(body) <= SMALL:
        call = read(body, header_length, model.card)
    else:
        call = await in_thread(read, body, header_length, model.card)
    logits, probabilities = await compute(model, call.images)
    content, length = write(call, model.card, logits, probabilities)
    if length is None:
        return Response(content, media_type="application/json")
    return Response(content, headers={HEADER_LENGTH: str(length)}, media_type="application/octet-stream")


routes = [
    Route("/v2/models/{model}/infer", infer, methods=["POST"]),
    Route("/v2/models/{model}/versions/{version}/infer", infer, methods=["POST"]),
]
