"""One form for every error: {"error": message for people, "code": for programs, "request_id": for the log}."""

import json
import logging
import random
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger("cnnzoo.serve")

REQUEST_ID = "cnnzoo.request_id"  # key of an ASGI scope
CLOSE = {"Connection": "close"}  # for a refused body, the rest of which is not read

_ID_HEADER = b"x-request-id"
_ID = re.compile(rb"[A-Za-z0-9_-]{1,64}")


class AsciiJSONResponse(JSONResponse):
    """JSON response that can hold any text from a client, also lone surrogates."""

    def render(self, content: object) -> bytes:
        return json.dumps(content).encode("ascii")


class ApiError(Exception):
    """An error response, raised by a route or a middleware.

    Args:
        status: HTTP status, 4xx or 5xx.
        code: a word for programs, such as "shape".
        message: what was wrong and what was expected.
        headers: of the response. 429 and 503 have Retry-After: 1 unless it is here.
    """

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers or {}

    def about(self, name: str) -> "ApiError":
        """Return the same error, with `name` before its message."""
        return ApiError(self.status, self.code, f"{name}: {self}", self.headers)


class ErrorFormat:
    """ASGI middleware that gives every request an id, and every error the one form.

    The id is the client's X-Request-ID if that is 1 to 64 of [A-Za-z0-9_-]. It is in the response's X-Request-ID and
    in the log.
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
                start = {**message, "headers": [*message.get("headers", []), (_ID_HEADER, request_id.encode())]}
                if start["status"] < 400:
                    await send(start)
            elif start["status"] < 400:
                await send(message)
            else:  # an error that BentoML made
                body += message.get("body", b"")
                if not message.get("more_body"):
                    await _send_error(scope, send, start, _parse_error(start["status"], body))

        try:
            await self.app(scope, receive, formatted)
        except Exception as exception:
            error = _to_api_error(exception)
            if error.status == 500:  # the path may hold line breaks, which would forge lines of the log
                path = ascii(scope["path"][:256])
                logger.exception("request %s: %s %s failed", request_id, scope["method"], path)
            if start:
                raise  # the response has begun: only closing the connection can tell the client
            headers = [(key.lower().encode(), value.encode("latin-1")) for key, value in error.headers.items()]
            start = {"status": error.status, "headers": [*headers, (_ID_HEADER, request_id.encode())]}
            await _send_error(scope, send, start, {"error": str(error), "code": error.code})


def _to_api_error(exception: Exception) -> ApiError:
    if isinstance(exception, ApiError):
        return exception
    if isinstance(exception, HTTPException):  # Starlette's
        status, headers = exception.status_code, exception.headers or {}
        detail = exception.detail.rstrip(".")
        if status == 405:
            detail = f"this path does not take the method: use {headers.get('Allow', 'another')}"
        elif "boundary" in detail:  # of a form; too many files or fields have words of their own
            detail += ": send a whole multipart/form-data body, as `curl -F file=@picture.png` does"
        return ApiError(status, _code(status), detail, headers)
    if isinstance(exception, ClientDisconnect):
        return ApiError(400, "client_gone", "the client closed the connection before the body had arrived")
    return ApiError(500, _code(500), "the server failed on this request; its log says why under this request_id")


async def _send_error(scope: Scope, send: Send, start: Message, content: dict[str, Any]) -> None:
    request_id = scope[REQUEST_ID]
    payload = json.dumps({**content, "request_id": request_id}).encode("ascii")
    headers = [(key, value) for key, value in start["headers"] if key not in (b"content-length", b"content-type")]
    if start["status"] in (429, 503) and b"retry-after" not in dict(headers):
        headers.append((b"retry-after", b"1"))
    headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(payload))]
    await send({"type": "http.response.start", "status": start["status"], "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else payload})


def _parse_error(status: int, body: bytes) -> dict[str, str]:
    """Return message and code of an error response of BentoML, which is JSON or text."""
    if status >= 500 and status not in (503, 504):  # no detail of a failure leaves the server
        error = _to_api_error(RuntimeError())
        return {"error": str(error), "code": _code(status)}
    try:
        found = json.loads(body)
    except ValueError:
        found = body.decode("utf-8", "replace")
    if isinstance(found, list) and found:  # BentoML's exceptions
        found = found[0]
    if not isinstance(found, dict):
        return {"error": str(found or HTTPStatus(status).phrase), "code": _code(status)}
    message = str(found.get("error") or HTTPStatus(status).phrase)
    if details := found.get("detail"):  # pydantic's, through BentoML
        message += ": " + "; ".join(f"{'.'.join(map(str, d.get('loc', ())))}: {d.get('msg', '')}" for d in details)
    return {"error": message, "code": _code(status)}


def _code(status: int) -> str:
    return re.sub(r"[ -]", "_", HTTPStatus(status).phrase.lower())


def _request_id(scope: Scope) -> str:
    given = next((value for key, value in scope["headers"] if key == _ID_HEADER), b"")
    return given.decode() if _ID.fullmatch(given) else f"{random.getrandbits(64):016x}"
