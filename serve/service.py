"""The BentoML adapter: `bentoml serve cnnzoo.serve.service:ZooService`, or `cnnzoo serve`.

The service is `create_app(settings)`. BentoML starts its workers, and adds /classify for its own clients. The settings
are read when this module is imported, since BentoML's decorator takes the number of workers and the address.

What BentoML has of its own is switched off where it gets in the way:

- metrics: they have a series for every path that a client asked for.
- tracing: nobody reads the traces, and one takes as long as a small model.
- access log: `Observe` writes one, with the route and the model.
- timeout: BentoML's 504 has another form than ours, and cannot be switched off. `Deadline` answers a second earlier.
- its effect on the garbage collector: `_calm_garbage_collector`.
- pages and content types: bento_routes.py.
"""

import gc
import logging
import os
import shutil
import sys
import tempfile
from atexit import register
from contextlib import AsyncExitStack
from typing import Annotated, Any

import bentoml
import numpy as np
from pydantic import BeforeValidator, Field
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import ApiError
from .image_arrays import check_numbers
from .settings import ServeSettings, read_settings

METRICS = "CNNZOO_METRICS_FOLDER"  # set by the supervisor for its workers
PROMETHEUS = "PROMETHEUS_MULTIPROC_DIR"  # set by BentoML, read when prometheus_client is imported

try:
    settings = read_settings()
except ValueError as error:
    sys.exit(f"error: {error}")
logging.getLogger("uvicorn.access").propagate = False  # it would format lines that nobody prints


def _set_metrics_folder(workers: int) -> None:
    """Give the workers of this service a folder of their own for metrics. A single worker needs none.

    BentoML's folder is one for all services of a user, and each service empties it when it starts.
    """
    is_worker = os.environ.pop(PROMETHEUS, None) is not None
    if workers == 1:
        return
    if METRICS not in os.environ:
        os.environ[METRICS] = tempfile.mkdtemp(prefix="cnnzoo-metrics-")
        register(shutil.rmtree, os.environ[METRICS], ignore_errors=True)
    if is_worker:
        os.environ[PROMETHEUS] = os.environ[METRICS]


_set_metrics_folder(settings.workers)


def _calm_garbage_collector() -> None:
    """Let Python look for garbage cycles seldom, and not in what is loaded now.

    BentoML's timeout keeps a timer for each request of the last seconds, and a collection looks at all of them while
    nobody is answered. At 64 connections that took a fifth of the CPU time, and doubled the 99th percentile.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 10, 1_000)


class Adapter:
    """ASGI middleware around BentoML's app, which answers in its place and runs the lifespan of both.

    There are no WebSockets: a handshake is refused.
    """

    def __init__(self, app: ASGIApp, settings: ServeSettings) -> None:
        from .app import create_app  # in the worker alone, and after PROMETHEUS is set

        self.bento = app
        self.app = create_app(settings, fallback=app)
        _calm_garbage_collector()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            return await self.app(scope, receive, send)
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close"})
        kept: list[Message] = []

        async def keep_last(message: Message) -> None:
            """Pass BentoML's messages on, but not its last one: at that uvicorn ends the process."""
            if message["type"] == "lifespan.shutdown.complete":
                kept.append(message)
            else:
                await send(message)

        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(self.app.router.lifespan_context(self.app))
            except Exception as error:  # without this message uvicorn would serve all the same
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                raise
            await self.bento(scope, receive, keep_last)
        for message in kept:
            await send(message)


def _numbers(images: Any) -> Any:
    """Check a JSON list before NumPy sees it. Raises ValueError, which BentoML answers with 400."""
    try:
        return check_numbers(images) if isinstance(images, list) else images
    except ApiError as error:
        raise ValueError(str(error)) from None


@bentoml.service(
    name="cnnzoo",
    workers=settings.workers,
    http={"host": settings.host, "port": settings.port},
    traffic={"timeout": settings.timeout + 1},
    metrics={"enabled": False},
    tracing={"excluded_urls": [".*"]},
    logging={"access": {"enabled": False}},
)
class ZooService:
    """Image classifiers of a zoo folder."""

    @bentoml.api  # type: ignore[untyped-decorator]
    async def classify(
        self,
        ctx: bentoml.Context,
        model: Annotated[str, Field(max_length=64)],
        images: Annotated[np.ndarray, BeforeValidator(_numbers)],
        version: int | None = None,
        top_k: Annotated[int, Field(ge=1, le=99999)] = 3,
    ) -> list[list[dict[str, Any]]]:
        """Return the top-k classes of images [N, C, H, W], raw pixels 0-255, of the model's input size."""
        from .bento_routes import classify

        return await classify(dict(ctx.request.scope), model, images, version, top_k)


service: Any = ZooService  # the decorator returns a bentoml.Service, which its types do not say
service.add_asgi_middleware(Adapter, settings=settings)
