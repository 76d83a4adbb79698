"""The ASGI app: `create_app(settings)`. All state is in `app.state`; importing this module reads no settings."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from anyio import CapacityLimiter
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route
from starlette.types import ASGIApp

from ..contract.names import HEADER_LENGTH
from .api_key import ApiKey
from .bento_routes import bento_routes
from .deadline import Deadline
from .errors import ErrorFormat
from .held import Held
from .inspectors import Inspectors
from .limits import BodyLimit
from .metrics import Metrics
from .model import Sessions
from .observe import Observe
from .routes import create_routes, not_found
from .settings import ServeSettings
from .zoo import Zoo

logger = logging.getLogger("cnnzoo.serve")

PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")  # the first that is set holds
SPOKEN = "http/protobuf"
TRACES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")  # the collector's URL
EXPOSED = (  # headers that a page of another origin may read
    "Content-Disposition", "Content-Range", "ETag", HEADER_LENGTH, "Repr-Digest", "Retry-After", "Server-Timing",
    "WWW-Authenticate", "X-Request-ID",
)  # fmt: skip
SAMPLE_SECONDS = 0.5  # between two samples of the gauges


class App(Starlette):
    """Starlette without its two middlewares for exceptions: `ErrorFormat` handles them all.

    With them a request of a small model takes 8% longer (benchmarks/serving.py, tensor, 64 connections).
    """

    def build_middleware_stack(self) -> ASGIApp:
        app: ASGIApp = self.router
        for cls, args, kwargs in reversed(self.user_middleware):
            app = cls(app, *args, **kwargs)
        return app


def create_app(settings: ServeSettings, fallback: ASGIApp | None = None) -> Starlette:
    """Return the service as an ASGI app, after a first scan of the zoo folder.

    `app.state` has `settings`, `zoo` and `metrics`. The app's lifespan follows the folder and samples the gauges.

    Args:
        fallback: BentoML's app. It answers the paths in `bento_routes` and nothing else.
    """
    metrics = Metrics()
    routes = [*create_routes(), *(bento_routes(fallback) if fallback else ())]
    spans, send_spans = _tracing(routes)
    app = App(routes=routes, middleware=[*spans, *_middleware(settings, metrics, routes)], lifespan=_lifespan)
    app.state.send_spans = send_spans
    app.router.redirect_slashes = False
    app.router.default = not_found
    app.state.settings = settings
    app.state.metrics = metrics
    app.state.inspectors = Inspectors()
    app.state.explanations = CapacityLimiter(1)
    app.state.prepared = Held(settings.max_held, "prepared images")
    app.state.answers = Held(settings.max_held, "answers to send")
    app.state.zoo = Zoo(
        settings.zoo,
        Sessions(
            settings.max_loaded, settings.threads_a_worker, settings.max_batch, settings.max_queue, metrics.count_batch
        ),
    )
    return app


def _tracing(routes: list[Route]) -> tuple[list[Middleware], Callable[[], None]]:
    """Return the middleware that makes traces, and the function that sends the last ones; none unless asked for."""
    off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or os.environ.get("OTEL_TRACES_EXPORTER") == "none"
    if off or not any(os.environ.get(name) for name in TRACES):
        return [], lambda: None
    protocol = next((name for name in PROTOCOLS if os.environ.get(name)), None)
    if protocol and os.environ[protocol] != SPOKEN:
        logger.warning("No traces are sent, since %s is %s: set it to %s", protocol, os.environ[protocol], SPOKEN)
        return [], lambda: None
    try:
        from .tracing import tracing
    except ModuleNotFoundError as error:
        logger.warning("No traces are sent, since %s is missing: docs/service.md says what to install", error.name)
        return [], lambda: None
    return tracing(routes)


def _middleware(settings: ServeSettings, metrics: Metrics, routes: list[Route]) -> list[Middleware]:
    """Return the middleware, the outermost first."""
    stack = [Middleware(Observe, metrics, routes, log=settings.log == "json")]
    if settings.origins:
        stack.append(
            Middleware(
                CORSMiddleware, allow_origins=settings.origins, allow_methods=["GET", "HEAD", "POST"],
                allow_headers=["*"],
                expose_headers=EXPOSED,
            )
        )  # fmt: skip
    stack.append(Middleware(ErrorFormat))  # inside CORS, so that a page can read errors
    if settings.api_key:
        stack.append(Middleware(ApiKey, settings.api_key.get_secret_value()))
    stack.append(Middleware(Deadline, settings.timeout))
    stack.append(Middleware(BodyLimit, settings.max_body, settings.max_held, settings.max_requests))
    return stack


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(task) for task in (_follow_folder(app), _sample_gauges(app))]
    try:
        if app.state.settings.grpc_port:
            from .grpc_server import grpc_server  # needs the extra grpc

            async with grpc_server(app):
                yield
        else:
            yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.to_thread(app.state.send_spans)


async def _follow_folder(app: Starlette) -> None:
    while app.state.settings.rescan:
        await asyncio.sleep(app.state.settings.rescan)
        try:
            await asyncio.to_thread(app.state.zoo.rescan)
        except Exception:
            logger.exception("The scan of the zoo folder failed; its models are served as before.")


async def _sample_gauges(app: Starlette) -> None:
    queued: dict[str, int] = {}
    while True:
        try:
            queued = dict.fromkeys(queued, 0)  # also for the models that were removed
            for model in app.state.zoo.models:
                queued[model.card.name] = queued.get(model.card.name, 0) + model.batcher.queued
            app.state.metrics.sample(queued)
        except Exception:
            logger.exception("The gauges of /metrics were not updated.")
        await asyncio.sleep(SAMPLE_SECONDS)
