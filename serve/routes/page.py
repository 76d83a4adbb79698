"""GET /: the web page. GET /page/…: its scripts, styles and images. GET /docs: the API in Swagger UI."""

import mimetypes
import os
from pathlib import Path
from typing import Any

from starlette.responses import Response
from starlette.routing import Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

mimetypes.add_type("text/javascript", ".js")  # as of Python 3.12

FOLDER = Path(__file__).parent.parent / "page"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    # A cache asks each time, so that the page and its modules always belong to the same release.
    "Cache-Control": "no-cache",
    "Content-Security-Policy": f"{POLICY}; require-trusted-types-for 'script'; trusted-types 'none'",
    "Referrer-Policy": "no-referrer",
}
DOCS_POLICY = POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")  # Swagger UI writes both


class PageFiles(StaticFiles):
    """The files of the page, by the path parameter `file`, with strict security headers."""

    def get_path(self, scope: Scope) -> str:
        pages = {"/": "index.html", "/docs": "docs.html"}
        return str(scope["path_params"].get("file") or pages.get(scope["path"], ""))

    def file_response(self, full_path: str | os.PathLike[str], *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(full_path, *args, **kwargs)
        response.headers.update(HEADERS)
        if Path(full_path).name == "docs.html":
            response.headers["Content-Security-Policy"] = DOCS_POLICY
        return response


routes = [Route(path, PageFiles(directory=FOLDER), methods=["GET"]) for path in ("/", "/page/{file:path}", "/docs")]
