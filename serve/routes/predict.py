"""POST /v1/models/{m}/predict: classify images."""

import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response

from ...contract.card import ModelCard, Preparation
from ...contract.names import UNFAMILIAR
from .. import timing
from ..batcher import Outputs
from ..drawing import data_url, to_image
from ..errors import ApiError, AsciiJSONResponse
from ..large_response import LargeResponse
from ..limits import MAX_FILES
from ..threads import in_thread
from .compute import compute
from .lookup import model_of, versioned
from .one_image import IMAGE_TYPES, PREPARE, read_input
from .query import Parameter, one_of, read_query, share, whole_number

PNG_START = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
SMALL_FILE, SMALL_SIDE = 2**14, 128  # bytes of a PNG that is decoded on the event loop, and pixels along its sides
COMPRESSED = (b"zTXt", b"iTXt", b"iCCP")  # chunks of a PNG that may be a thousand times as large when they are read
AT_ONCE = 0.05  # seconds to decode images between two checks for cancellation
MAX_NAME = 255  # characters of a file's name in an answer
PARAMETERS = {
    "top_k": Parameter(whole_number, 3),
    "min_familiarity": Parameter(share, UNFAMILIAR),
    "prepare": PREPARE,
    "show_input": Parameter(one_of("false", "true"), "false"),
}


async def predict(request: Request) -> Response:
    """Answer with the top-k classes of every image: one as the raw body, or several as multipart `file` parts.

    If the file has the output `familiarity`, each image gets it too, and `unfamiliar` if it is below `min_familiarity`.
    In a form, an image that fails to decode gets `error` and `code` instead of `classes`.
    """
    start = time.perf_counter()
    model = model_of(request.scope)
    query = read_query(request, PARAMETERS)
    prepare = model.card.prepare if query["prepare"] == "auto" else "photo"
    state = request.app.state
    files = await _files(request, state.settings.max_body)
    received = time.perf_counter()
    with state.prepared.add(2 * len(files) * math.prod(model.card.input_shape)):  # each alone, and in the batch
        inputs: list[np.ndarray | ApiError] = []
        arguments = model.card.input_shape, prepare, state.settings.max_pixels
        if len(files) == 1 and is_small(files[0][1]):
            inputs = _inputs([files[0][1]], *arguments)
        while len(inputs) < len(files):
            inputs += await in_thread(_inputs, [content for _, content in files[len(inputs) :]], *arguments)
        decoded = time.perf_counter()
        timing.add("decode", received, decoded)
        images = [pixels for pixels in inputs if isinstance(pixels, np.ndarray)]
        if not images and isinstance(inputs[0], ApiError):
            raise inputs[0].about(files[0][0])
        outputs = await compute(model, np.array(images))
        end = time.perf_counter()
        milliseconds = {
            "receive": _milliseconds(received - start),
            "decode": _milliseconds(decoded - received),
            "inference": _milliseconds(end - decoded),
            "total": _milliseconds(end - start),
        }
        names = [name for name, _ in files]
        if len(files) == 1 and query["show_input"] == "false":
            return AsciiJSONResponse(_content(model.card, names, inputs, outputs, query, milliseconds))
        body = await in_thread(_body, model.card, names, inputs, outputs, query, milliseconds)
        return LargeResponse(body, state.answers, media_type="application/json")


def _body(*content: Any) -> bytes:
    return bytes(AsciiJSONResponse(_content(*content)).body)


def _content(
    card: ModelCard,
    names: list[str],
    inputs: list[np.ndarray | ApiError],
    outputs: Outputs,
    query: dict[str, Any],
    milliseconds: dict[str, float],
) -> dict[str, Any]:
    """Return the answer: for each input its classes, or why there are none."""
    _, probabilities, *familiarity = outputs
    classes = top_classes(card, probabilities, query["top_k"])
    threshold = query["min_familiarity"]
    judged = [_familiar(value, threshold) for value in familiarity[0]] if familiarity else [{}] * len(classes)
    answers = iter([{"classes": best, **more} for best, more in zip(classes, judged, strict=True)])
    predictions = [
        _prediction(i, name, pixels, answers, query["show_input"] == "true")
        for i, (name, pixels) in enumerate(zip(names, inputs, strict=True))
    ]
    return {"model": card.name, "version": card.version, "predictions": predictions, "milliseconds": milliseconds}


def top_classes(card: ModelCard, probabilities: np.ndarray, top_k: int) -> list[list[dict[str, Any]]]:
    """Return the `top_k` likeliest classes of each row of probabilities [N, classes], likeliest first."""
    order = (-probabilities).argsort(axis=1, kind="stable")[:, :top_k]
    return [
        [{"label": card.classes[c], "class": c, "probability": row.item(c)} for c in best]
        for row, best in zip(probabilities, order.tolist(), strict=True)
    ]


def is_small(data: bytes) -> bool:
    """Return whether `data` is a small PNG without compressed texts: a thread would take longer to decode it."""
    if len(data) > SMALL_FILE or len(data) < 24 or not data.startswith(PNG_START):
        return False
    if data.count(b"IHDR") > 1 or any(chunk in data for chunk in COMPRESSED):  # Pillow takes the last IHDR's size
        return False
    return max(int.from_bytes(data[16:20]), int.from_bytes(data[20:24])) <= SMALL_SIDE


def _inputs(
    files: list[bytes], shape: tuple[int, int, int], prepare: Preparation, max_pixels: int
) -> list[np.ndarray | ApiError]:
    """Return the model's input for each file, uint8 [C, H, W], or the reason why there is none.

    Returns after AT_ONCE seconds, with the inputs for the first files: at least one.
    """
    inputs: list[np.ndarray | ApiError] = []
    end = time.perf_counter() + AT_ONCE
    for data in files:
        try:
            inputs.append(read_input(data, shape, prepare, max_pixels))
        except ApiError as error:
            inputs.append(error)
        if time.perf_counter() > end:
            break
    return inputs


def _prediction(
    index: int, name: str, pixels: np.ndarray | ApiError, answers: Iterator[Any], show_input: bool
) -> dict[str, Any]:
    if isinstance(pixels, ApiError):
        return {"index": index, "file": name, "error": str(pixels), "code": pixels.code}
    shown = {"input": data_url(to_image(pixels))} if show_input else {}
    return {"index": index, "file": name, **next(answers), **shown}


async def _files(request: Request, max_bytes: int) -> list[tuple[str, bytes]]:
    """Return name and content of every image in the body. Raises ApiError 400 or 415."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind in IMAGE_TYPES:
        return [("body", await request.body())]
    if kind != "multipart/form-data":
        expected = "send image/png or image/jpeg, or multipart/form-data with parts named 'file'"
        raise ApiError(415, "media_type", f"the body's type is {kind or 'not stated'}: {expected}")
    # Starlette raises HTTPException 400 for a broken form and for too many parts.
    async with request.form(max_files=MAX_FILES, max_fields=16, max_part_size=max_bytes) as form:
        uploads = [part for name, part in form.multi_items() if name == "file" and isinstance(part, UploadFile)]
        if not uploads:
            raise ApiError(400, "no_file", "the form has no part named 'file' that holds a file, with a filename")
        return [((part.filename or f"file {n}")[:MAX_NAME], await part.read()) for n, part in enumerate(uploads, 1)]


def _familiar(value: np.float32, threshold: float) -> dict[str, Any]:
    return {"familiarity": float(value), "unfamiliar": bool(value < threshold)}


def _milliseconds(seconds: float) -> float:
    return round(1000 * seconds, 2)


routes = versioned("/v1/models", "/predict", predict, ["POST"])
