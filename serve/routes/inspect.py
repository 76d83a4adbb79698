"""Look inside a model: its layers, and their values for an image."""

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ...contract.layers import arithmetic
from ...contract.names import HEADER_LENGTH, ContractError
from ..batcher import QueueFull
from ..drawing import data_url, sheet, sheet_columns
from ..errors import ApiError
from ..inspector import Inspector, Window, position_of
from ..inspectors import Inspectors
from ..large_response import LargeResponse
from ..model import FileGone, Model
from .compute import not_loaded
from .lookup import model_of, versioned
from .one_image import PREPARE, one_image
from .query import Parameter, one_of, read_query

T = TypeVar("T")


async def show_layers(request: Request) -> JSONResponse:
    """Return the layers of a file, from the pixels to the probabilities, and the filters of the first convolution."""
    model = model_of(request.scope)
    read_query(request, {})
    entries = await _ask(request, model, _entries)
    return JSONResponse({"model": model.card.name, "version": model.card.version, "layers": entries})


async def inspect(request: Request) -> Response:
    """Answer with the values of layers for the image in the body, or with the arithmetic of one value."""
    model = model_of(request.scope)
    query = read_query(request, INSPECT)
    image = await one_image(request, model, query["prepare"])
    names = query["layers"]
    if query["pixel"] is not None:
        if names is None or len(names) != 1:
            raise ApiError(400, "layers", "a pixel is one of a layer: name that layer alone, such as layers=conv1")
        if query["format"] != "png":
            raise ApiError(400, "format", "the arithmetic of a pixel is always JSON: leave out format")
        window = await _ask(request, model, lambda inspector: inspector.window(image, names[0], query["pixel"]))
        return JSONResponse({"model": model.card.name, "version": model.card.version, **_arithmetic(names[0], window)})
    write = _binary if query["format"] == "binary" else _pictures
    content, headers = await _ask(
        request, model, lambda inspector: write(model, inspector.values(image, names or list(inspector.layers)))
    )
    return LargeResponse(content, request.app.state.answers, headers=headers)


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if not all(names) or len(set(names)) < len(names):
        raise ValueError("give names of layers, separated by commas, each once")
    return names


INSPECT = {
    "layers": Parameter(_names, None),
    "format": Parameter(one_of("png", "binary"), "png"),
    "pixel": Parameter(position_of, None),
    "prepare": PREPARE,
}


async def _ask(request: Request, model: Model, question: Callable[[Inspector], T]) -> T:
    """Ask a model's inspector.

    Raises ApiError 400 for what it does not have, 422 for a file without known layers, 503 for one that is gone.
    """
    inspectors: Inspectors = request.app.state.inspectors
    try:
        return await inspectors.ask(model, question)
    except QueueFull:
        raise ApiError(429, "busy", "too many inspections wait already: try again in a second") from None
    except (KeyError, IndexError) as error:
        raise ApiError(400, "layer", str(error.args[0])) from None
    except FileGone as error:
        raise not_loaded(model, error) from None
    except ContractError as error:
        raise ApiError(422, "not_inspectable", f"{model.card.name} cannot be looked into: {error}") from None


def _entries(inspector: Inspector) -> list[dict[str, Any]]:
    """Return the entry of each layer. The graph's own names stay inside."""
    layers, entries = inspector.layers, []
    for layer in layers.values():
        entry = {key: value for key, value in asdict(layer).items() if key not in ("tensor", "inputs", "weight")}
        entry["arithmetic"] = arithmetic(layer, layers[layer.sources[0]]) if layer.sources else ""
        entries.append(entry)
    if first := next((entry for entry in entries if entry["operator"] == "Conv"), None):
        first["filters"] = inspector.kernel(first["name"])[0].tolist()
    return entries


def _arithmetic(name: str, window: Window) -> dict[str, Any]:
    kernel = window.kernel
    patch = window.patch.astype(object)
    patch[~np.isfinite(window.patch)] = None  # past the border
    return {
        "layer": name,
        "pixel": window.position,
        "value": window.value,
        "bias": window.bias,
        "patch": patch.tolist(),
        "kernel": None if kernel is None else kernel.tolist(),
        "field": window.field,
    }


def _picture(name: str, maps: np.ndarray) -> dict[str, Any]:
    return {
        "name": name,
        "volume": maps.shape,
        "low": float(maps.min()),
        "high": float(maps.max()),
        "columns": sheet_columns(len(maps)),
        "png": data_url(sheet(maps)),
    }


def _pictures(model: Model, values: dict[str, np.ndarray]) -> tuple[bytes, dict[str, str]]:
    """Return JSON with a picture of each layer, and the headers."""
    layers = [_picture(name, maps) for name, maps in values.items()]
    answer = JSONResponse({"model": model.card.name, "version": model.card.version, "layers": layers})
    return bytes(answer.body), {"Content-Type": "application/json"}


def _binary(model: Model, values: dict[str, np.ndarray]) -> tuple[bytes, dict[str, str]]:
    """Return JSON with names and volumes, then the values of each layer as little-endian float32; and the headers."""
    head = {
        "model": model.card.name,
        "version": model.card.version,
        "layers": [{"name": name, "volume": maps.shape} for name, maps in values.items()],
    }
    text = json.dumps(head).encode()
    content = b"".join([text, *(np.ascontiguousarray(maps, "<f4").tobytes() for maps in values.values())])
    return content, {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(text))}


routes = [
    *versioned("/models", "/layers", show_layers),
    *versioned("/v1/models", "/inspect", inspect, ["POST"]),
]
