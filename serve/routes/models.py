"""GET /models: what there is; GET /models/{m}: all that one says of itself."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from ..model import Model
from ..session import provider
from .lookup import model_of

MORE = (
    "temperature", "confusion_matrix", "reliability", "robustness", "training", "command", "config", "seed", "commit",
    "libraries",
)  # fmt: skip


async def list_models(request: Request) -> JSONResponse:
    zoo = request.app.state.zoo
    return JSONResponse({"models": [describe(model) for model in zoo.models], "refused": zoo.refused})


async def show_card(request: Request) -> JSONResponse:
    model = model_of(request.scope)
    rest = {name: getattr(model.card, name) for name in MORE}
    return JSONResponse(describe(model) | rest)


def describe(model: Model) -> dict[str, Any]:
    """A model for people and programs that choose one."""
    card = model.card
    address = f"{card.name}/versions/{card.version}"
    return {
        "name": card.name,
        "version": card.version,
        "summary": card.summary,
        "intended_use": card.intended_use,
        "limitations": card.limitations,
        "classes": card.classes,
        "input": {"shape": card.input_shape, "dtype": "uint8", "mode": card.mode, "prepare": card.prepare},
        "dataset": card.dataset,
        "metrics": card.metrics,
        "precision": card.precision,
        "parameters": card.parameters,
        "multiply_adds": card.multiply_adds,
        "license": card.license,
        "date": card.date,
        "size": model.size,
        "sha256": model.sha256,
        "provider": provider(),
        "links": {
            "card": f"/models/{address}",
            "download": f"/models/{address}.onnx",
            "predict": f"/v1/models/{address}/predict",
            "infer": f"/v2/models/{address}/infer",
        },
    }


routes = [
    Route("/models", list_models),
    Route("/models/{model}", show_card),
    Route("/models/{model}/versions/{version}", show_card),
]
