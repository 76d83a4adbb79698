"""GET /models: list the models. GET /models/{m}: show the whole card of one."""

from dataclasses import fields
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from ...contract.card import RENAMED
from ...contract.facts import class_accuracies, facts, worst_confusions
from ..errors import AsciiJSONResponse
from ..model import Model
from ..session import provider
from .lookup import model_of, versioned
from .query import read_query

# Fields that only the whole card has. All other fields are in the list, too.
CARD_ONLY = frozenset({
    "temperature", "confusion_matrix", "reliability", "robustness", "training", "command", "config", "seed", "commit",
    "libraries", "familiarity",
})  # fmt: skip
INPUT_FIELDS = frozenset({"input_shape", "prepare"})  # list and card have them within `input`


async def list_models(request: Request) -> JSONResponse:
    """Return every model and version, and the reason of each refusal by path."""
    read_query(request, {})
    zoo = request.app.state.zoo
    return AsciiJSONResponse({"models": [describe(model) for model in zoo.models], "refused": zoo.refused})


async def show_card(request: Request) -> JSONResponse:
    """Return one model with all fields of its card."""
    read_query(request, {})
    model = model_of(request.scope)
    rest = {
        **{name: getattr(model.card, name) for name in CARD_ONLY},
        "class_accuracies": class_accuracies(model.card),
        "worst_confusions": worst_confusions(model.card),
    }
    return JSONResponse(describe(model) | rest)


def describe(model: Model) -> dict[str, Any]:
    """Return a model's entry in the list."""
    card = model.card
    path = f"{card.name}/versions/{card.version}"
    return {
        **{f.name: getattr(card, f.name) for f in fields(card) if f.name not in CARD_ONLY | INPUT_FIELDS},
        **{old: getattr(card, new) for old, new in RENAMED.items()},  # deprecated names
        "input": {"shape": card.input_shape, "dtype": "uint8", "mode": card.mode, "prepare": card.prepare},
        "dataset": {**card.dataset, **{old: card.dataset[new] for old, new in RENAMED.items() if new in card.dataset}},
        "dataset_title": card.dataset_title,
        "facts": list(facts(card, model.size).items()),
        "size": model.size,
        "sha256": model.sha256,
        "provider": provider(),
        "links": {
            "card": f"/models/{path}",
            "download": f"/models/{path}.onnx",
            "layers": f"/models/{path}/layers",
            "predict": f"/v1/models/{path}/predict",
            "inspect": f"/v1/models/{path}/inspect",
            "explain": f"/v1/models/{path}/explain",
            "infer": f"/v2/models/{path}/infer",
        },
    }


routes = [
    Route("/models", list_models),
    *versioned("/models", "", show_card),
]
