"""Health probes, and GET /metrics for Prometheus."""

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from ..errors import ApiError
from ..threads import in_thread


async def live(request: Request) -> Response:
    """Answer 200: the process runs."""
    return PlainTextResponse("\n")


async def ready(request: Request) -> Response:
    """Answer 200 if there is a model to serve, else 503."""
    if not request.app.state.zoo.models:
        message = "there is no model to serve: see /models for the files that were refused"
        raise ApiError(503, "service_unavailable", message)
    return PlainTextResponse("\n")


async def metrics(request: Request) -> Response:
    """Answer with all metrics in Prometheus's text format."""
    content = await in_thread(request.app.state.metrics.exposition)
    return Response(content, headers={"Content-Type": CONTENT_TYPE_LATEST})


routes = [
    Route("/livez", live),
    Route("/readyz", ready),
    Route("/healthz", live, include_in_schema=False),
    Route("/metrics", metrics),
]
