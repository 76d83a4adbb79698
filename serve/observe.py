"""Every request is counted and timed, and written to the log where that is wished."""

import json
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import metrics
from .scope import MODEL, REQUEST_ID, ROUTE

OTHER = "other"  # the route of all addresses that are none


@dataclass
class Load:
    """What the worker has in hand."""

    requests: int = 0
    last: float = 0.0  # when the last one was answered, on time.perf_counter's clock

    def idle(self) -> bool:
        """Whether nobody has asked anything for a second."""
        return self.requests == 0 and time.perf_counter() - self.last > 1


class Observe:
    """Middleware around all others.

    Args:
        load: is kept up to date.
        log: a line of JSON for each request, on standard output.
    """

    def __init__(self, app: ASGIApp, load: Load, log: bool = False) -> None:
        self.app = app
        self.load = load
        self.log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        start = time.perf_counter()
        status = 500
        sent = 0

        async def watched(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                sent += len(message.get("body", b""))
            await send(message)

        scope[ROUTE] = OTHER
        self.load.requests += 1
        try:
            await self.app(scope, receive, watched)
        finally:
            self.load.requests -= 1
            self.load.last = time.perf_counter()
            seconds = self.load.last - start
            route, model = scope[ROUTE], scope.get(MODEL, "")
            metrics.count(route, model, status).inc()
            metrics.seconds(route, model).observe(seconds)
            if self.log:
                _write_line(scope, route, model, status, seconds, sent)


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
