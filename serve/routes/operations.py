"""Health probes, and GET /metrics for Prometheus."""

import asyncio

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from ..errors import ApiError


async def live(request: Request) -> Response:
    """Answer 200: the process runs."""
    return PlainTextResponse("\n")


async def ready(request: Request) -> Response:
    """Answer 200 if there is a model to serve, else 503."""
    check_models(request)
    return PlainTextResponse("\n")


def check_models(request: Request) -> None:
    """Raise ApiError 503 if there is no model to serve."""
    if not request.app.state.zoo.models:
        raise ApiError(503, "empty_zoo", "there is no model to serve: see /models for the files that were refused")


async def metrics(request: Request) -> Response:
    """Answer with all metrics in Prometheus's text format."""
    content = await asyncio.to_thread(request.app.state.metrics.exposition)  # not behind images that are decoded
    return Response(content, headers={"Content-Type": CONTENT_TYPE_LATEST})


routes = [
    Route("/livez", live),
    Route("/readyz", ready),
    Route("/healthz", live, include_in_schema=False),
    Route("/metrics", metrics),
]
