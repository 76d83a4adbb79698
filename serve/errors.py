"""One form for every error: {"error": what to do, "code": for programs, "request_id": for the log}."""

import json
import logging
import random
from collections.abc import Mapping
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .scope import REQUEST_ID

logger = logging.getLogger("cnnzoo.serve")

_ID_HEADER = b"x-request-id"


class AsciiJSONResponse(JSONResponse):
    """JSON that can hold whatever a client sent, lone surrogates included."""

    def render(self, content: object) -> bytes:
        return json.dumps(content).encode("ascii")


class ApiError(Exception):
    """An answer other than success, raised by a route.

    Args:
        status: HTTP status, 4xx or 5xx.
        code: a word for programs, such as "shape".
        message: what was wrong and what would be right.
        retry_after: seconds after which to try again, for 429 and 503.
    """

    def __init__(self, status: int, code: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after = retry_after

    def about(self, name: str) -> "ApiError":
        """The same error, of the thing called `name`."""
        return ApiError(self.status, self.code, f"{name}: {self}", self.retry_after)


class ErrorFormat:
    """Middleware that gives every request an id and every error, whoever made it, the one form.

    The id comes from the client's X-Request-ID where that is 1 to 64 of [A-Za-z0-9_-], goes into
    the answer's X-Request-ID and, with whatever raised, into the log.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        request_id = scope[REQUEST_ID] = _request_id(scope)
        start: Message = {}
        body = b""

        async def formatted(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), (_ID_HEADER, request_id.encode())]
                start = message
                if message["status"] < 400:
                    await send(message)
            elif message["type"] == "http.response.body" and start.get("status", 200) >= 400:
                body += message.get("body", b"")
                if not message.get("more_body", False):
                    await _send_error(scope, send, start, body, request_id)
            else:
                await send(message)

        try:
            await self.app(scope, receive, formatted)
        except Exception as error:
            status, headers, body = _raised(error)
            if status == 500:
                logger.exception("request %s: %s %s failed", request_id, scope["method"], scope["path"])
            if start:
                raise  # the answer is under way: all that is left is to break it off
            start = {"status": status, "headers": [*headers, (_ID_HEADER, request_id.encode())]}
            await _send_error(scope, send, start, body, request_id)


def _raised(error: Exception) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body of the answer to a request that raised `error`."""
    if isinstance(error, ApiError):
        headers = {} if error.retry_after is None else {"retry-after": str(error.retry_after)}
        return error.status, _encoded(headers), json.dumps({"error": str(error), "code": error.code}).encode("ascii")
    if isinstance(error, HTTPException):  # Starlette's, of a wrong method or a broken form
        return error.status_code, _encoded(error.headers or {}), json.dumps({"error": error.detail}).encode("ascii")
    return 500, [], b""


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(key.lower().encode("latin-1"), value.encode("latin-1")) for key, value in headers.items()]


async def _send_error(scope: Scope, send: Send, start: Message, body: bytes, request_id: str) -> None:
    status = start["status"]
    content = {**_read_error(status, body), "request_id": request_id}
    kept = [(k, v) for k, v in start["headers"] if k not in (b"content-length", b"content-type")]
    if status in (429, 503) and b"retry-after" not in dict(kept):
        kept.append((b"retry-after", b"1"))
    payload = json.dumps(content).encode("ascii")
    headers = [*kept, (b"content-type", b"application/json"), (b"content-length", b"%d" % len(payload))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else payload})


def _read_error(status: int, body: bytes) -> dict[str, str]:
    """The message and code of an error in whatever form it was made: ours, BentoML's, Starlette's."""
    phrase = HTTPStatus(status).phrase
    code = phrase.lower().replace(" ", "_").replace("-", "_")
    if status >= 500 and status not in (503, 504):
        return {
            "error": "the server failed on this request; its log says why under this request_id",
            "code": code,
        }
    try:
        found = json.loads(body)
    except ValueError:
        found = body.decode("utf-8", "replace")
    if isinstance(found, list) and found:
        found = found[0]
    if isinstance(found, dict):
        message = str(found.get("error") or phrase)
        if details := found.get("detail"):
            message += ": " + "; ".join(
                f"{'.'.join(map(str, d.get('loc', ())))}: {d.get('msg', '')}" for d in details if isinstance(d, dict)
            )
        return {"error": message, "code": str(found.get("code") or code)}
    return {"error": found or phrase, "code": code}


def _request_id(scope: Scope) -> str:
    for key, value in scope["headers"]:
        if key == _ID_HEADER and 0 < len(value) <= 64:
            text = value.decode("latin-1")
            if all(c.isascii() and (c.isalnum() or c in "_-") for c in text):
                return text
    return f"{random.getrandbits(64):016x}"
