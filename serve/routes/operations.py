"""GET /metrics: what Prometheus collects."""

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..metrics import exposition
from ..work import in_thread


async def metrics(request: Request) -> Response:
    return Response(await in_thread(exposition), headers={"Content-Type": CONTENT_TYPE_LATEST})


routes = [Route("/metrics", metrics)]
