"""GET and HEAD /models/{m}.onnx: the file, as it is served from."""

import base64

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from ..errors import ApiError
from ..work import in_thread
from .find import model_of


async def download(request: Request) -> Response:
    """The whole file or the ranges asked for; 304 where the client has it already (RFC 9110).

    The ETag is the file's SHA-256 in hex; Repr-Digest (RFC 9530) is the same in base64.
    """
    model = model_of(request.scope)
    if not model.unchanged():
        message = f"{model.card.name} has just changed on disk: try again in a second"
        raise ApiError(503, "changed_on_disk", message, retry_after=1)
    if "," in request.headers.get("range", ""):
        raise ApiError(416, "ranges", "more than one range is asked for: ask for one")
    sha256 = await in_thread(lambda: model.sha256)
    etag = f'"{sha256}"'
    headers = {
        "ETag": etag,
        "Repr-Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:",
        # A version never changes; the newest one does.
        "Cache-Control": "public, max-age=31536000, immutable" if "version" in request.path_params else "no-cache",
        "X-Content-Type-Options": "nosniff",
    }
    if matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    file_name = f"{model.card.name}-{model.card.version}.onnx"
    return FileResponse(model.path, headers=headers, media_type="application/octet-stream", filename=file_name)


def matches(if_none_match: str | None, etag: str) -> bool:
    """Whether a client that sends this If-None-Match has the file already."""
    if if_none_match is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or etag in tags


routes = [
    Route("/models/{model}.onnx", download),
    Route("/models/{model}/versions/{version}.onnx", download),
]
