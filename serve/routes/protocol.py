"""/v2: the Open Inference Protocol (github.com/kserve/open-inference-protocol), REST, JSON tensors."""

import json
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from .. import __version__
from ..contract import INPUT, LOGITS, PROBABILITIES, ModelCard
from ..errors import ApiError, AsciiJSONResponse
from ..pixels import PixelError, check_shape, to_uint8
from ..work import in_thread
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
    return AsciiJSONResponse(await in_thread(_infer, model, body))


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
    try:
        shape = check_shape(tensor.get("shape"), card)
        values = np.asarray(tensor.get("data"))
        if (
            values.ndim not in (1, 4)
            or values.size != np.prod(shape)
            or (values.ndim == 4 and list(values.shape) != shape)
        ):
            held = f"'data' holds {values.size} values in shape {list(values.shape)}"
            raise PixelError("shape", f"{held}: expected {shape}, flat or nested")
        return to_uint8(values).reshape(shape)
    except PixelError as error:
        raise ApiError(400, error.code, str(error)) from None
    except ValueError:
        raise ApiError(
            400, "shape", "'data' is ragged: give one flat list, or lists nested as the shape says"
        ) from None


def _outputs(call: dict[str, Any]) -> list[str]:
    asked = call.get("outputs")
    if not asked:
        return list(OUTPUTS)
    names = [o.get("name") if isinstance(o, dict) else None for o in asked] if isinstance(asked, list) else [None]
    for name in names:
        if name not in OUTPUTS:
            raise ApiError(400, "outputs", f"there is no output {str(name)[:64]!r}: ask for {' or '.join(OUTPUTS)}")
    if len(set(names)) < len(names):
        raise ApiError(400, "outputs", "an output is asked for more than once")
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
