"""Inference requests and answers of the Open Inference Protocol, from bytes and to bytes.

github.com/kserve/open-inference-protocol, REST; with Triton's extensions for binary tensors and for classification
(docs/protocol in github.com/triton-inference-server/server). Nothing here knows of HTTP but the one header.
"""

import json
import math
import struct
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..contract.card import ModelCard
from ..contract.names import INPUT, LOGITS, PROBABILITIES
from .errors import ApiError
from .pixels import PixelError, check_shape, to_uint8

OUTPUTS = (LOGITS, PROBABILITIES)
HEADER_LENGTH = "Inference-Header-Content-Length"  # bytes of JSON before the binary tensors


class Output(NamedTuple):
    """An output as it was asked for: `classes` likeliest ones as text, or all numbers where that is 0."""

    name: str
    binary: bool = False
    classes: int = 0


ALL, ALL_BINARY = (tuple(Output(name, binary) for name in OUTPUTS) for binary in (False, True))


class Call(NamedTuple):
    """What a request asks: images uint8 [N, C, H, W], and which outputs of them."""

    images: np.ndarray
    outputs: tuple[Output, ...] = ALL
    id: str | None = None


def read(body: bytes, header_length: str | None, card: ModelCard) -> Call:
    """The call in `body`. Raises ApiError 400, saying what was wrong and what would be right.

    Args:
        header_length: the header's value: None for JSON alone, "0" for raw pixels alone.
    """
    if header_length == "0":
        return _raw(body, card.input_shape)
    if header_length is None:
        call = _json(body)
        shape, size, outputs, name = _asked(call, card.input_shape)
        if size is None:
            return Call(_json_images(call["inputs"][0], shape), outputs, name)
        return Call(_binary_images(b"", shape, size), outputs, name)
    length = _length(header_length, len(body))
    head, rest = body[:length], memoryview(body)[length:]
    if length <= 4096:
        shape, size, outputs, name = _asked_before(head, card.input_shape)
    else:
        shape, size, outputs, name = _asked(_json(head), card.input_shape)
    if size is None:
        if len(rest):
            raise ApiError(400, "binary_size", f"{len(rest)} bytes follow the JSON, and no tensor has binary_data_size")
        return Call(_json_images(_json(head)["inputs"][0], shape), outputs, name)
    return Call(_binary_images(rest, shape, size), outputs, name)


def write(call: Call, card: ModelCard, logits: np.ndarray, probabilities: np.ndarray) -> tuple[bytes, int | None]:
    """The answer's body, and the value of the header: the length of the JSON where tensors follow it, or None."""
    results = dict(zip(OUTPUTS, (logits, probabilities), strict=True))
    if call.id is None and all(output.binary and not output.classes for output in call.outputs):
        head = _binary_head(card.name, card.version, logits.shape, call.outputs)
        return b"".join([head, *(results[output.name].tobytes() for output in call.outputs)]), len(head)
    described, tensors = [], []
    for output in call.outputs:
        values = results[output.name]
        entry: dict[str, Any] = {"name": output.name, "datatype": "FP32", "shape": list(values.shape)}
        if output.classes:
            texts = _classification(values, card, output.classes)
            entry |= {"datatype": "BYTES", "shape": [len(values), len(texts) // len(values)]}
        if output.binary:
            tensors.append(_pack(texts) if output.classes else values.tobytes())
            entry["parameters"] = {"binary_data_size": len(tensors[-1])}
        else:
            entry["data"] = texts if output.classes else values.ravel().tolist()
        described.append(entry)
    head = _head(card.name, card.version, described, call.id)
    return (b"".join([head, *tensors]), len(head)) if tensors else (head, None)


@lru_cache(1024)
def _binary_head(name: str, version: int, shape: tuple[int, ...], outputs: tuple[Output, ...]) -> bytes:
    """The same for many answers; never one with an id, which may be as long as a client likes."""
    parameters = {"binary_data_size": 4 * math.prod(shape)}
    described = [
        {"name": output.name, "datatype": "FP32", "shape": list(shape), "parameters": parameters} for output in outputs
    ]
    return _head(name, version, described, None)


def _head(name: str, version: int, outputs: list[dict[str, Any]], id: str | None) -> bytes:
    answer: dict[str, Any] = {"model_name": name, "model_version": str(version), "outputs": outputs}
    if id is not None:
        answer["id"] = id
    return json.dumps(answer).encode("ascii")


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "json", f"the body is not JSON ({error}): send an inference request object") from None


_Asked = tuple[list[int], int | None, tuple[Output, ...], str | None]


@lru_cache(1024)
def _asked_before(head: bytes, image: tuple[int, int, int]) -> _Asked:
    """`_asked`, once for clients that send the same JSON before each of their tensors."""
    return _asked(_json(head), image)


def _asked(call: Any, image: tuple[int, int, int]) -> _Asked:
    """The shape, the binary size if there is one, the outputs and the id that a request's JSON names."""
    tensors = call.get("inputs") if isinstance(call, dict) else None
    if not isinstance(tensors, list) or len(tensors) != 1 or not isinstance(tensors[0], dict):
        raise ApiError(400, "inputs", f"'inputs' is a list of one tensor, named {INPUT!r}")
    tensor = tensors[0]
    if tensor.get("name") != INPUT:
        raise ApiError(400, "inputs", f"the input is named {str(tensor.get('name'))[:64]!r}: it is called {INPUT!r}")
    if tensor.get("datatype") != "UINT8":
        raise ApiError(
            400, "dtype", f"the datatype is {str(tensor.get('datatype'))[:32]!r}: it is UINT8, raw pixels 0-255"
        )
    shape = _check_shape(tensor.get("shape"), image)
    parameters = _parameters(tensor)
    if "shared_memory_region" in parameters:
        raise ApiError(400, "shared_memory", "shared memory is not served: send the pixels in the body")
    size = parameters.get("binary_data_size")
    if size is not None and type(size) is not int:
        raise ApiError(400, "binary_size", f"binary_data_size is {str(size)[:32]}: it is a number of bytes")
    if size is not None and "data" in tensor:
        raise ApiError(400, "inputs", "the tensor has both 'data' and binary_data_size: send one of them")
    name = call.get("id")
    return shape, size, _outputs(call), name if isinstance(name, str) else None


def _raw(body: bytes, image: tuple[int, int, int]) -> Call:
    size = math.prod(image)
    if len(body) % size:
        raise ApiError(400, "shape", f"the body holds {len(body)} bytes: an image of {list(image)} has {size} of them")
    images = np.frombuffer(body, np.uint8).reshape(-1, *image)
    _check_shape(list(images.shape), image)
    return Call(images, ALL_BINARY)


def _length(text: str, available: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 12 and int(text) <= available):
        raise ApiError(
            400,
            "header_length",
            f"{HEADER_LENGTH} is {text[:32]!r}: it is the length of the JSON, of {available} bytes",
        )
    return int(text)


def _binary_images(rest: bytes | memoryview, shape: list[int], size: int) -> np.ndarray:
    expected = math.prod(shape)
    if size != expected or len(rest) != expected:
        raise ApiError(
            400, "binary_size",
            f"binary_data_size is {str(size)[:32]} and {len(rest)} bytes follow the JSON: {shape} has {expected}",
        )  # fmt: skip
    return np.frombuffer(rest, np.uint8).reshape(shape)


def _json_images(tensor: dict[str, Any], shape: list[int]) -> np.ndarray:
    try:
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


def _check_shape(shape: Any, image: tuple[int, int, int]) -> list[int]:
    try:
        return check_shape(shape, image)
    except PixelError as error:
        raise ApiError(400, error.code, str(error)) from None


def _outputs(call: dict[str, Any]) -> tuple[Output, ...]:
    binary = _parameters(call).get("binary_data_output", False) is True
    asked = call.get("outputs")
    if not asked:
        return ALL_BINARY if binary else ALL
    entries = asked if isinstance(asked, list) and all(isinstance(o, dict) for o in asked) else [{}]
    outputs = tuple(_output(entry, binary) for entry in entries)
    if len({output.name for output in outputs}) < len(outputs):
        raise ApiError(400, "outputs", "an output is asked for more than once")
    return outputs


def _output(entry: dict[str, Any], binary: bool) -> Output:
    name = entry.get("name")
    if name not in OUTPUTS:
        raise ApiError(400, "outputs", f"there is no output {str(name)[:64]!r}: ask for {' or '.join(OUTPUTS)}")
    parameters = _parameters(entry)
    classes = parameters.get("classification", 0)
    if type(classes) is not int or not 0 <= classes < 2**31:
        raise ApiError(400, "outputs", f"classification is {str(classes)[:32]!r}: it is how many classes to give")
    return Output(str(name), parameters.get("binary_data", binary) is True, classes)


def _parameters(holder: dict[str, Any]) -> dict[str, Any]:
    parameters = holder.get("parameters", {})
    if not isinstance(parameters, dict):
        raise ApiError(400, "parameters", "'parameters' is a JSON object")
    return parameters


def _pack(texts: list[str]) -> bytes:
    """BYTES elements: each has its length before it."""
    return b"".join(struct.pack("<I", len(text)) + text for text in map(str.encode, texts))


def _classification(values: np.ndarray, card: ModelCard, classes: int) -> list[str]:
    """For each image its likeliest classes as "value:index:label", likeliest first."""
    order = np.argsort(-values, axis=1, kind="stable")[:, :classes]
    return [f"{row[c]:f}:{c}:{card.classes[c]}" for row, best in zip(values, order, strict=True) for c in best]
