"""Send OpenTelemetry traces of requests, if OTEL_EXPORTER_OTLP_ENDPOINT is set. Needs the extra `traces`.

The stock ASGI instrumentation makes the span of a request, continues the client's `traceparent`, and answers with
`traceresponse`. The variables OTEL_… of the OpenTelemetry specification configure the rest.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.instrumentation.propagators import TraceResponsePropagator, set_global_response_propagator
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import get_current_span
from starlette.middleware import Middleware
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from . import timing
from .observe import route_of

PROBES = r"^\w+://[^/]+/(livez|readyz|healthz|metrics|v2/health/\w+)$"  # pattern of URLs without a span


def tracing(routes: Iterable[BaseRoute]) -> tuple[list[Middleware], Callable[[], None]]:
    """Return the middleware that makes spans, the outermost first, and a function that sends the last ones.

    Args:
        routes: of the app. Spans are named after them, never by a path that a client chose.
    """
    resource = Resource({SERVICE_NAME: "cnnzoo"}).merge(OTELResourceDetector().detect())  # of OTEL_…, if it has a name
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    set_global_response_propagator(TraceResponsePropagator())  # type: ignore[no-untyped-call]

    def details(scope: Scope) -> tuple[str, dict[str, str]]:
        route = route_of(scope, routes)
        return f"{scope['method']} {route}", {"http.route": route}

    request = Middleware(
        OpenTelemetryMiddleware,
        default_span_details=details,
        tracer_provider=provider,
        excluded_urls=PROBES,
        exclude_spans=["receive", "send"],
    )
    return [request, Middleware(PartSpans, provider.get_tracer("cnnzoo"))], provider.shutdown


class PartSpans:
    """ASGI middleware that makes a span of each part of a request: decode, queue, compute."""

    def __init__(self, app: ASGIApp, tracer: Any) -> None:
        self.app = app
        self.tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        recorded = get_current_span().is_recording()
        try:
            await self.app(scope, receive, send)
        finally:
            parts = timing.parts() if recorded else []
            epoch = time.time() - time.perf_counter()
            for name, start, end in parts:
                self.tracer.start_span(name, start_time=_nanoseconds(epoch + start)).end(_nanoseconds(epoch + end))


def _nanoseconds(seconds: float) -> int:
    return int(1e9 * seconds)
