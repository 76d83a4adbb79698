"""/v2: the Open Inference Protocol (github.com/kserve/open-inference-protocol): the server and its models."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from ...contract import __version__
from ...contract.names import INPUT
from ..errors import ApiError
from ..scope import ZOO
from ..tensors import OUTPUTS
from ..zoo import Zoo
from .find import model_of

EXTENSIONS = ["binary_tensor_data", "classification"]


async def server(request: Request) -> JSONResponse:
    return JSONResponse({"name": "cnnzoo", "version": __version__, "extensions": EXTENSIONS})


async def live(request: Request) -> JSONResponse:
    return JSONResponse({"live": True})


async def ready(request: Request) -> JSONResponse:
    zoo: Zoo = request.scope[ZOO]
    if not zoo.models:
        raise ApiError(503, "empty_zoo", f"no model could be loaded from {zoo.folder}")
    return JSONResponse({"ready": True})


async def model_ready(request: Request) -> JSONResponse:
    card = model_of(request.scope).card
    return JSONResponse({"name": card.name, "ready": True})


async def metadata(request: Request) -> JSONResponse:
    card = model_of(request.scope).card
    zoo: Zoo = request.scope[ZOO]
    classes = len(card.classes)
    return JSONResponse(
        {
            "name": card.name,
            "versions": [str(v) for v in sorted(zoo.versions(card.name))],
            "platform": "onnxruntime_onnx",
            "inputs": [{"name": INPUT, "datatype": "UINT8", "shape": [-1, *card.input_shape]}],
            "outputs": [{"name": name, "datatype": "FP32", "shape": [-1, classes]} for name in OUTPUTS],
        }
    )


async def index(request: Request) -> JSONResponse:
    zoo: Zoo = request.scope[ZOO]
    return JSONResponse(
        [{"name": m.card.name, "version": str(m.card.version), "state": "READY", "reason": ""} for m in zoo.models]
    )


def _for_each_version(suffix: str, endpoint: Any) -> list[Route]:
    return [Route(f"/v2/models/{{model}}{version}{suffix}", endpoint) for version in ("", "/versions/{version}")]


routes = [
    Route("/v2", server),
    Route("/v2/health/live", live),
    Route("/v2/health/ready", ready),
    Route("/v2/repository/index", index, methods=["POST"]),
    *_for_each_version("/ready", model_ready),
    *_for_each_version("", metadata),
]
