"""POST /v2/models/{m}/infer: tensors in, tensors out."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..tensors import HEADER_LENGTH, read, write
from ..work import in_thread
from .compute import compute
from .find import model_of

SMALL = 2**16  # bytes of a body that is read on the event loop: going to a thread would take longer


async def infer(request: Request) -> Response:
    """The outputs asked for, as JSON, or as JSON with binary tensors after it."""
    model = model_of(request)
    body = await request.body()
    header_length = request.headers.get(HEADER_LENGTH)
    if len(body) <= SMALL:
        call = read(body, header_length, model.card)
    else:
        call = await in_thread(read, body, header_length, model.card)
    logits, probabilities = await compute(request, model, call.images)
    content, length = write(call, model.card, logits, probabilities)
    if length is None:
        return Response(content, media_type="application/json")
    return Response(content, media_type="application/octet-stream", headers={HEADER_LENGTH: str(length)})


routes = [
    Route("/v2/models/{model}/infer", infer, methods=["POST"]),
    Route("/v2/models/{model}/versions/{version}/infer", infer, methods=["POST"]),
]
