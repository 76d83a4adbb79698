"""/v2: the server and its models, by the Open Inference Protocol (github.com/kserve/open-inference-protocol)."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from ...contract import __version__
from ...contract.card import ModelCard
from ...contract.names import FAMILIARITY, INPUT
from ..zoo import Zoo
from .lookup import model_of, versioned
from .operations import check_models

SERVER = {"name": "cnnzoo", "version": __version__, "extensions": ["binary_tensor_data", "classification"]}


async def server(request: Request) -> JSONResponse:
    """Answer with the server's name, version and protocol extensions."""
    return JSONResponse(SERVER)


async def live(request: Request) -> JSONResponse:
    """Answer 200: the process runs."""
    return JSONResponse({"live": True})


async def ready(request: Request) -> JSONResponse:
    """Answer 200 if there is a model to serve, else 503."""
    check_models(request)
    return JSONResponse({"ready": True})


async def model_ready(request: Request) -> JSONResponse:
    """Answer 200 if the model exists, else 404."""
    card = model_of(request.scope).card
    return JSONResponse({"name": card.name, "ready": True})


async def metadata(request: Request) -> JSONResponse:
    """Answer with a model's versions, inputs and outputs."""
    return JSONResponse(describe(request.app.state.zoo, model_of(request.scope).card))


def describe(zoo: Zoo, card: ModelCard) -> dict[str, Any]:
    """Return a model's versions, inputs and outputs."""
    outputs = {name: [-1] if name == FAMILIARITY else [-1, len(card.classes)] for name in card.outputs}
    return {
        "name": card.name,
        "versions": [str(version) for version in sorted(zoo.versions(card.name))],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": INPUT, "datatype": "UINT8", "shape": [-1, *card.input_shape]}],
        "outputs": [{"name": name, "datatype": "FP32", "shape": shape} for name, shape in outputs.items()],
    }


async def index(request: Request) -> JSONResponse:
    """Answer with all models, as Triton lists them."""
    cards = [model.card for model in request.app.state.zoo.models]
    return JSONResponse(
        [{"name": card.name, "version": str(card.version), "state": "READY", "reason": ""} for card in cards]
    )


routes = [
    Route("/v2", server),
    Route("/v2/health/live", live),
    Route("/v2/health/ready", ready),
    Route("/v2/repository/index", index, methods=["POST"]),
    *versioned("/v2/models", "/ready", model_ready),
    *versioned("/v2/models", "", metadata),
]
