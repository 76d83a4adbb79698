"""GET /: the web page. GET /page/…: its scripts, styles and images. All files are kept in memory."""

import hashlib
from pathlib import Path
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..errors import ApiError
from .download import matches

FOLDER = Path(__file__).parent.parent / "page"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
HEADERS = {
    # A cache asks each time, so that the page and its modules always belong to the same release.
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class File(NamedTuple):
    """A file of the page."""

    content: bytes
    media_type: str
    etag: str


def _read(path: Path) -> File:
    content = path.read_bytes()
    return File(content, TYPES[path.suffix], f'"{hashlib.sha256(content).hexdigest()}"')


# A requested path is looked up here. It is never joined to a folder's path.
FILES = {p.relative_to(FOLDER).as_posix(): _read(p) for p in FOLDER.rglob("*") if p.suffix in TYPES}


async def page(request: Request) -> Response:
    """Return a file of the page, index.html by default, or 304 if the client has it."""
    name = request.path_params.get("file", "index.html")
    file = FILES.get(name)
    if file is None:
        raise ApiError(404, "not_found", f"the page has no file {name[:64]!r}; the page is at /")
    headers = {**HEADERS, "ETag": file.etag}
    if matches(request.headers.get("if-none-match"), file.etag):
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=file.media_type, headers=headers)


routes = [Route("/", page), Route("/page/{file:path}", page)]
