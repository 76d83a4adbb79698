"""GET and HEAD /models/{m}.onnx: the file, as it is served from."""

import base64
import re

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from ..errors import ApiError
from .lookup import model_of

RANGE = re.compile(r"bytes=(\d{1,18}-\d{0,18}|-\d{1,18})")


async def download(request: Request) -> Response:
    """The whole file or the ranges asked for; 304 where the client has it already (RFC 9110).

    The ETag is the file's SHA-256 in hex; Repr-Digest (RFC 9530) is the same in base64.
    """
    model = model_of(request.scope)
    if not model.unchanged():
        message = f"{model.card.name} has just changed on disk: try again in a second"
        raise ApiError(503, "changed_on_disk", message)
    sha256 = model.sha256
    etag = f'"{sha256}"'
    headers = {
        "ETag": etag,
        "Repr-Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:",
        "Cache-Control": _caching(request),
        "X-Content-Type-Options": "nosniff",
    }
    if matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    _keep_one_range(request, etag)
    file_name = f"{model.card.name}-{model.card.version}.onnx"
    return FileResponse(model.path, headers=headers, media_type="application/octet-stream", filename=file_name)


def matches(if_none_match: str | None, etag: str) -> bool:
    """Whether a client that sends this If-None-Match has the file already."""
    if if_none_match is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or etag in tags


def _caching(request: Request) -> str:
    """A version never changes; the newest one does. What a key was asked for is not for a cache that others ask too."""
    if "version" not in request.path_params:
        return "no-cache"
    return f"{'private' if request.app.state.settings.api_key else 'public'}, max-age=31536000, immutable"


def _keep_one_range(request: Request, etag: str) -> None:
    """Drops a Range header that is to be ignored: of another unit, malformed, or of another file (If-Range).

    ApiError 416 for more than one range.
    """
    value = request.headers.get("range")
    if value is None:
        return
    right = request.headers.get("if-range", etag) == etag
    if right and re.fullmatch(r"bytes=[\d\s-]+(,[\d\s-]+)+", value):
        raise ApiError(416, "ranges", "more than one range is asked for: ask for one")
    start, _, end = value.removeprefix("bytes=").partition("-")
    if not right or not RANGE.fullmatch(value) or (start and end and int(start) > int(end)):
        request.scope["headers"] = [(key, v) for key, v in request.scope["headers"] if key != b"range"]


routes = [
    Route("/models/{model}.onnx", download),
    Route("/models/{model}/versions/{version}.onnx", download),
]
