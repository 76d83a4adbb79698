"""GET /models: what there is."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from .. import __version__
from ..zoo import Model, Zoo


async def index(request: Request) -> JSONResponse:
    links = {"models": "/models", "health": "/v2/health/ready", "protocol": "/v2"}
    return JSONResponse({"name": "cnnzoo", "version": __version__, "links": links})


async def list_models(request: Request) -> JSONResponse:
    zoo: Zoo = request.app.state.zoo
    return JSONResponse({"models": [describe(model) for model in zoo.models], "refused": zoo.refused})


def describe(model: Model) -> dict[str, Any]:
    """A model for people and programs that choose one."""
    card = model.card
    address = f"{card.name}/versions/{card.version}"
    return {
        "name": card.name,
        "version": card.version,
        "summary": card.summary,
        "classes": card.classes,
        "input": {"shape": card.input_shape, "dtype": "uint8", "mode": card.mode, "prepare": card.prepare},
        "dataset": card.dataset,
        "metrics": card.metrics,
        "parameters": card.parameters,
        "multiply_adds": card.multiply_adds,
        "licence": card.licence,
        "date": card.date,
        "size": model.size,
        "sha256": model.sha256,
        "provider": model.session.provider,
        "links": {
            "download": f"/models/{address}.onnx",
            "predict": f"/v1/models/{address}/predict",
            "infer": f"/v2/models/{address}/infer",
        },
    }


routes = [Route("/", index), Route("/models", list_models)]
