"""GET and HEAD /models/{m}.onnx: download a model's file."""

import asyncio
import base64
import re

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from ...contract.card import ModelCard
from ...contract.zoo_folder import ModelId
from ..errors import ApiError
from ..zoo import Zoo
from .lookup import model_of, versioned

RANGE = re.compile(r"bytes=(\d{1,18}-\d{0,18}|-\d{1,18})")
RANGES = re.compile(r"bytes=[\d\s-]+(,[\d\s-]+)+")


async def download(request: Request) -> Response:
    """Return the whole file or the requested range, or 304 if the client has the file (RFC 9110).

    The ETag is the file's SHA-256 in hex. Repr-Digest (RFC 9530) is the same in base64.
    """
    model = model_of(request.scope)
    if not await asyncio.to_thread(model.unchanged):  # a network's file system may hang
        raise _changed_on_disk(model.card, request.app.state.zoo, request.app.state.settings.rescan)
    etag = f'"{model.sha256}"'
    headers = {
        "ETag": etag,
        "Repr-Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(model.sha256)).decode()}:",
        # A version's file can be replaced, so a cache must ask each time. It gets a 304 if its copy is current.
        "Cache-Control": "private, no-cache" if request.app.state.settings.api_key else "no-cache",
    }
    if matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    _drop_ignored_range(request, etag)
    file_name = f"{model.card.name}-{model.card.version}.onnx"
    return FileResponse(model.path, headers=headers, media_type="application/octet-stream", filename=file_name)


def _changed_on_disk(card: ModelCard, zoo: Zoo, rescan: float) -> ApiError:
    """Return the error for a file that is not the one in memory: a scan has refused it, or has not seen it yet."""
    refused = zoo.refused.get(ModelId(card.name, card.version).path)
    if not rescan:
        message = f"{card.name} {card.version} has changed on disk, and CNNZOO_RESCAN is 0: restart the service"
        return ApiError(503, "changed_on_disk", message, {"Retry-After": "60"})
    if refused is None:
        return ApiError(503, "changed_on_disk", f"{card.name} has just changed on disk: try again in a second")
    message = f"{card.name} {card.version} cannot be downloaded, its file on the server was refused: {refused}"
    return ApiError(503, "refused", message, {"Retry-After": "60"})


def matches(if_none_match: str | None, etag: str) -> bool:
    """Return whether the client has the file already, by its If-None-Match header."""
    if if_none_match is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or etag in tags


def _drop_ignored_range(request: Request, etag: str) -> None:
    """Remove a Range header that must be ignored: of HEAD, another unit, malformed, or of another file (If-Range).

    Raises ApiError 416 for more than one range.
    """
    value = request.headers.get("range")
    if value is None:
        return
    is_get = request.method == "GET"
    same_file = request.headers.get("if-range", etag) == etag
    if is_get and same_file and RANGES.fullmatch(value):
        raise ApiError(416, "ranges", "the request has more than one range: ask for one")
    start, _, end = value.removeprefix("bytes=").partition("-")
    if not is_get or not same_file or not RANGE.fullmatch(value) or (start and end and int(start) > int(end)):
        request.scope["headers"] = [(key, v) for key, v in request.scope["headers"] if key != b"range"]


routes = versioned("/models", ".onnx", download)
