"""GET /models: what there is."""

from contextlib import suppress
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from ..model import Model
from ..scope import ZOO
from ..session import provider
from ..work import in_thread
from ..zoo import Zoo


async def list_models(request: Request) -> JSONResponse:
    zoo: Zoo = request.scope[ZOO]
    return JSONResponse({"models": await in_thread(_describe_all, zoo.models), "refused": zoo.refused})


def _describe_all(models: list[Model]) -> list[dict[str, Any]]:
    """On a thread, since a file that was not loaded yet is read for its SHA-256."""
    described = []
    for model in models:
        with suppress(OSError):  # just removed from the folder
            described.append(describe(model))
    return described


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
        "provider": provider(),
        "links": {
            "download": f"/models/{address}.onnx",
            "predict": f"/v1/models/{address}/predict",
            "infer": f"/v2/models/{address}/infer",
        },
    }


routes = [Route("/models", list_models)]
