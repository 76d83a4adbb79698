"""POST /v1/models/{m}/predict: what is in these pictures?"""

from typing import Any

import anyio.from_thread
import numpy as np
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from ..contract import ModelCard
from ..errors import ApiError
from ..images import PictureTooLarge, UndecodableImage, decode, to_input
from ..limits import MAX_BODY, MAX_FILES
from ..work import in_thread
from ..zoo import Model
from .find import model_of

IMAGE_TYPES = ("image/png", "image/jpeg")


async def predict(request: Request) -> JSONResponse:
    """Top-k classes of every picture sent: one as the raw body, or any number as multipart `file` parts."""
    model = model_of(request)
    top_k = _top_k(request)
    prepare = _prepare(request)
    files = await _files(request)
    predictions = await in_thread(_classify, model, files, prepare, top_k)
    return JSONResponse({"model": model.card.name, "version": model.card.version, "predictions": predictions})


def top_classes(card: ModelCard, probabilities: np.ndarray, top_k: int) -> list[list[dict[str, Any]]]:
    """The `top_k` likeliest classes of each row of probabilities [N, classes], likeliest first."""
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :top_k]
    return [
        [{"label": card.classes[c], "class": int(c), "probability": float(row[c])} for c in best]
        for row, best in zip(probabilities, order, strict=True)
    ]


def _classify(model: Model, files: list[tuple[str, bytes]], prepare: bool, top_k: int) -> list[dict[str, Any]]:
    inputs = []
    preparation = model.card.prepare if prepare else "photo"
    for name, data in files:
        anyio.from_thread.check_cancelled()
        try:
            inputs.append(to_input(decode(data), model.card.input_shape, preparation))
        except PictureTooLarge as error:
            raise ApiError(413, "picture_too_large", f"{name}: {error}") from None
        except UndecodableImage as error:
            raise ApiError(422, "undecodable_image", f"{name}: {error}; send a PNG or a JPEG") from None
    _, probabilities = model.session.run(np.stack(inputs))
    best = top_classes(model.card, probabilities, top_k)
    return [{"file": name, "classes": classes} for (name, _), classes in zip(files, best, strict=True)]


async def _files(request: Request) -> list[tuple[str, bytes]]:
    """(name, content) of every picture in the body."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind in IMAGE_TYPES:
        return [("body", await request.body())]
    if kind != "multipart/form-data":
        raise ApiError(
            415,
            "media_type",
            f"the body's type is {kind or 'not stated'}: send image/png or image/jpeg, "
            "or multipart/form-data with parts named 'file'",
        )
    # Starlette raises HTTPException 400 for a broken form and for too many parts.
    async with request.form(max_files=MAX_FILES, max_fields=16, max_part_size=MAX_BODY) as form:
        uploads = [part for name, part in form.multi_items() if name == "file" and isinstance(part, UploadFile)]
        if not uploads:
            raise ApiError(400, "no_file", "the form has no part named 'file' that holds a file, with a filename")
        return [(part.filename or f"file {n}", await part.read()) for n, part in enumerate(uploads, 1)]


def _top_k(request: Request) -> int:
    value = request.query_params.get("top_k", "3")
    if not (value.isascii() and value.isdigit() and 0 < len(value) < 6 and int(value) > 0):
        raise ApiError(400, "top_k", f"top_k is {value[:32]!r}: give a whole number from 1 to 99999")
    return int(value)


def _prepare(request: Request) -> bool:
    value = request.query_params.get("prepare", "auto")
    if value not in ("auto", "none"):
        raise ApiError(400, "prepare", f"prepare is {value[:32]!r}: give auto or none")
    return value == "auto"


routes = [
    Route("/v1/models/{model}/predict", predict, methods=["POST"]),
    Route("/v1/models/{model}/versions/{version}/predict", predict, methods=["POST"]),
]
