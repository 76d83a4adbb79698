"""/v2: the Open Inference Protocol (github.com/kserve/open-inference-protocol), REST, JSON tensors."""

import json
from typing import Any

import anyio.to_thread
import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from .. import __version__
from ..contract import INPUT, LOGITS, PROBABILITIES, ModelCard
from ..errors import ApiError
from ..limits import MAX_IMAGES
from ..zoo import Model, Zoo
from .find import model_of

OUTPUTS = (LOGITS, PROBABILITIES)


async def server(request: Request) -> JSONResponse:
    return JSONResponse({"name": "cnnzoo", "version": __version__, "extensions": []})


async def live(request: Request) -> JSONResponse:
    return JSONResponse({"live": True})


async def ready(request: Request) -> JSONResponse:
    zoo: Zoo = request.app.state.zoo
    if not zoo.models:
        raise ApiError(503, "empty_zoo", f"no model could be loaded from {zoo.folder}")
    return JSONResponse({"ready": True})


async def model_ready(request: Request) -> JSONResponse:
    card = model_of(request).card
    return JSONResponse({"name": card.name, "ready": True})


async def metadata(request: Request) -> JSONResponse:
    card = model_of(request).card
    zoo: Zoo = request.app.state.zoo
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
    zoo: Zoo = request.app.state.zoo
    return JSONResponse(
        [{"name": m.card.name, "version": str(m.card.version), "state": "READY", "reason": ""} for m in zoo.models]
    )


async def infer(request: Request) -> JSONResponse:
    model = model_of(request)
    body = await request.body()
    return JSONResponse(await anyio.to_thread.run_sync(_infer, model, body))


def _infer(model: Model, body: bytes) -> dict[str, Any]:
    try:
        call = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "json", f"the body is not JSON ({error}): send an inference request object") from None
    images = _images(call, model.card)
    wanted = _outputs(call)
    results = dict(zip(OUTPUTS, model.session.run(images), strict=True))
    answer = {
        "model_name": model.card.name,
        "model_version": str(model.card.version),
        "outputs": [
            {
                "name": name,
                "datatype": "FP32",
                "shape": list(results[name].shape),
                "data": results[name].ravel().tolist(),
            }
            for name in wanted
        ],
    }
    if isinstance(call.get("id"), str):
        answer["id"] = call["id"]
    return answer


def _images(call: Any, card: ModelCard) -> np.ndarray:
    """The request's tensor, uint8 [N, C, H, W]."""
    tensors = call.get("inputs") if isinstance(call, dict) else None
    if not isinstance(tensors, list) or len(tensors) != 1 or not isinstance(tensors[0], dict):
        raise ApiError(400, "inputs", f"'inputs' is a list of one tensor, named {INPUT!r}")
    tensor = tensors[0]
    if tensor.get("name") != INPUT:
        raise ApiError(400, "inputs", f"the input is named {str(tensor.get('name'))[:64]!r}: it is called {INPUT!r}")
    if tensor.get("datatype") != "UINT8":
        raise ApiError(
            400,
            "dtype",
            f"the datatype is {str(tensor.get('datatype'))[:32]!r}: it is UINT8, raw pixels 0-255",
        )
    shape = tensor.get("shape")
    expected = f"[N, {', '.join(map(str, card.input_shape))}] with N from 1 to {MAX_IMAGES}"
    if (
        not isinstance(shape, list)
        or not all(type(n) is int for n in shape)
        or shape[1:] != list(card.input_shape)
        or not 1 <= shape[0] <= MAX_IMAGES
    ):
        raise ApiError(400, "shape", f"the shape is {str(shape)[:64]}: expected {expected}")
    try:
        values = np.asarray(tensor.get("data"))
    except ValueError:
        raise ApiError(
            400, "shape", "'data' is ragged: give one flat list, or lists nested as the shape says"
        ) from None
    if values.ndim not in (1, 4) or values.size != np.prod(shape) or (values.ndim == 4 and list(values.shape) != shape):
        raise ApiError(
            400, "shape", f"'data' holds {values.size} values in shape {list(values.shape)}: expected {shape}"
        )
    if values.dtype.kind not in "iu" or values.min() < 0 or values.max() > 255:
        raise ApiError(400, "dtype", "'data' holds something other than whole numbers from 0 to 255")
    return values.astype(np.uint8).reshape(shape)


def _outputs(call: dict[str, Any]) -> list[str]:
    asked = call.get("outputs")
    if not asked:
        return list(OUTPUTS)
    names = [o.get("name") if isinstance(o, dict) else None for o in asked] if isinstance(asked, list) else [None]
    for name in names:
        if name not in OUTPUTS:
            raise ApiError(400, "outputs", f"there is no output {str(name)[:64]!r}: ask for {' or '.join(OUTPUTS)}")
    return [str(name) for name in names]


def _for_each_version(suffix: str, endpoint: Any, method: str = "GET") -> list[Route]:
    return [
        Route(f"/v2/models/{{model}}{version}{suffix}", endpoint, methods=[method])
        for version in ("", "/versions/{version}")
    ]


routes = [
    Route("/v2", server),
    Route("/v2/health/live", live),
    Route("/v2/health/ready", ready),
    Route("/v2/repository/index", index, methods=["POST"]),
    *_for_each_version("/ready", model_ready),
    *_for_each_version("/infer", infer, "POST"),
    *_for_each_version("", metadata),
]
