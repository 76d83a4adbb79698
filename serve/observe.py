"""Count and time every request, tell the client the times, and log it if asked."""

import json
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime

from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import timing
from .errors import REQUEST_ID
from .metrics import Metrics

MODEL = "cnnzoo.model"  # key of an ASGI scope: the name of the model that a request is about
NO_SNIFFING = (b"x-content-type-options", b"nosniff")  # a browser takes no answer for another type
OTHER = "other"  # the route of all paths that have none


class Observe:
    """ASGI middleware around all others, which counts requests and writes a log line for each.

    Args:
        metrics: counts the requests, and knows those in flight.
        routes: of the app. A request that a middleware refused counts under the route that it asked for.
        log: write a line of JSON for each request to standard output.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, routes: Iterable[BaseRoute], log: bool = False) -> None:
        self.app = app
        self.metrics = metrics
        self.routes = routes
        self.log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        start = time.perf_counter()
        timing.begin()
        status = 500
        sent = 0

        async def watched(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                value = timing.server_timing(time.perf_counter() - start)
                message = {**message, "headers": [*message.get("headers", ()), (b"server-timing", value), NO_SNIFFING]}
            else:
                sent += len(message.get("body", b""))
            await send(message)

        self.metrics.in_flight += 1
        try:
            await self.app(scope, receive, watched)
        finally:
            self.metrics.in_flight -= 1
            seconds = time.perf_counter() - start
            route, model = route_of(scope, self.routes), scope.get(MODEL, "")
            self.metrics.count_request(route, model, status, seconds)
            if self.log:
                _write_line(scope, route, model, status, seconds, sent)


def route_of(scope: Scope, routes: Iterable[BaseRoute]) -> str:
    """Return the template of the request's route, such as /models/{model}.onnx, also before routing."""
    if "route" in scope:
        return str(scope["route"].path)
    asked = (route.path for route in routes if isinstance(route, Route) and _matches(route, scope))
    return next(asked, OTHER)


def _matches(route: Route, scope: Scope) -> bool:
    return route.matches(scope)[0] is not Match.NONE


def _write_line(scope: Scope, route: str, model: str, status: int, seconds: float, sent: int) -> None:
    client = scope.get("client")
    line = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "request_id": scope.get(REQUEST_ID),
        "client": client[0] if client else None,
        "method": scope["method"],
        "path": scope["path"][:256],
        "route": route,
        "model": model,
        "status": status,
        "milliseconds": round(1000 * seconds, 2),
        "bytes": sent,
    }
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
