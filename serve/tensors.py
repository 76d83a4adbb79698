"""Read the requests and write the responses of the Open Inference Protocol.

See github.com/kserve/open-inference-protocol, and docs/protocol in github.com/triton-inference-server/server for the
extensions binary tensors and classification.
"""

import json
import math
import struct
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..contract.card import ModelCard
from ..contract.names import FAMILIARITY, HEADER_LENGTH, INPUT
from .errors import ApiError
from .image_arrays import NESTED, check_numbers, check_shape, to_uint8
from .limits import MAX_IMAGES

PLAIN = 1024  # lists, objects and quotes of a request whose pixels are one flat list, at most
REPEATED = 4096  # bytes of JSON before a binary tensor that are parsed once: clients send the same before each
MAX_ID = 256  # characters of a request's id
NO_SIZE = "bytes follow the JSON, and no tensor has binary_data_size"


class Output(NamedTuple):
    """An output that a request asks for: the `classes` likeliest ones as text, or all numbers if that is 0."""

    name: str
    binary: bool = False
    classes: int = 0


class Call(NamedTuple):
    """An inference request: images uint8 [N, C, H, W], and the outputs to return."""

    images: np.ndarray
    outputs: tuple[Output, ...]
    id: str | None = None


def read(body: bytes, header_length: str | None, card: ModelCard) -> Call:
    """Return the request in `body`. Raises ApiError 400 with what was wrong and what was expected.

    Args:
        header_length: the header's value: None for JSON alone, "0" for raw pixels alone.
    """
    if header_length == "0":
        return _raw(body, card)
    length = len(body) if header_length is None else _length(header_length, len(body))
    parse = _parse_before if length < len(body) and length <= REPEATED else _parse
    return _call(parse(body[:length], card.input_shape, card.outputs), memoryview(body)[length:])


def read_object(call: Any, rest: bytes, card: ModelCard) -> Call:
    """Return the request in a parsed JSON object and in the tensor after it. Raises as `read`."""
    return _call(_check(call, card.input_shape, card.outputs), memoryview(rest))


def _call(asked: "_Asked", rest: memoryview) -> Call:
    if asked.size is None:
        if len(rest):
            raise ApiError(400, "binary_size", NO_SIZE)
        images = _json_images(asked.data, asked.shape)
    else:
        images = _binary_images(rest, asked.shape, asked.size)
    return Call(images, asked.outputs, asked.id)


def write(call: Call, card: ModelCard, outputs: Sequence[np.ndarray]) -> tuple[bytes, int | None]:
    """Return the response's body and the header's value: the length of the JSON if tensors follow it, else None."""
    results = dict(zip(card.outputs, outputs, strict=True))
    if call.id is None and all(output.binary and not output.classes for output in call.outputs):
        head = _binary_head(card.name, card.version, outputs[0].shape, call.outputs)
        return b"".join([head, *(results[output.name].tobytes() for output in call.outputs)]), len(head)
    described, tensors = [], []
    for output in call.outputs:
        answer = answer_of(output, results[output.name], card)
        entry: dict[str, Any] = {"name": output.name, "datatype": answer.datatype, "shape": answer.shape}
        if output.binary:
            tensors.append(answer.packed())
            entry["parameters"] = {"binary_data_size": len(tensors[-1])}
        else:
            values = answer.values
            entry["data"] = values if isinstance(values, list) else values.ravel().tolist()
        described.append(entry)
    head = _head(card.name, card.version, described, call.id)
    return (b"".join([head, *tensors]), len(head)) if tensors else (head, None)


class Answer(NamedTuple):
    """An output tensor: float32 [N, …], or texts."""

    datatype: str
    shape: list[int]
    values: np.ndarray | list[str]

    def packed(self) -> bytes:
        """Return the tensor in binary."""
        return _pack(self.values) if isinstance(self.values, list) else self.values.tobytes()


def answer_of(output: Output, values: np.ndarray, card: ModelCard) -> Answer:
    """Return the tensor that answers for an output: its numbers, or the likeliest classes as texts."""
    if not output.classes:
        return Answer("FP32", list(values.shape), values)
    texts = _classification(values, card, output.classes)
    return Answer("BYTES", [len(values), len(texts) // len(values)], texts)


@lru_cache(1024)
def _binary_head(name: str, version: int, shape: tuple[int, ...], outputs: tuple[Output, ...]) -> bytes:
    """Return the JSON before binary tensors of `shape`. Clients ask for the same again and again."""
    tensors = []
    for output in outputs:
        own = shape[:1] if output.name == FAMILIARITY else shape
        parameters = {"binary_data_size": 4 * math.prod(own)}
        tensors.append({"name": output.name, "datatype": "FP32", "shape": list(own), "parameters": parameters})
    return _head(name, version, tensors, None)


def _head(name: str, version: int, outputs: list[dict[str, Any]], id: str | None) -> bytes:
    answer: dict[str, Any] = {"model_name": name, "model_version": str(version), "outputs": outputs}
    return json.dumps(answer if id is None else {**answer, "id": id}).encode("ascii")


class _Asked(NamedTuple):
    """Parsed JSON of a request: its one tensor's shape, and binary size or data; the outputs, the id."""

    shape: list[int]
    size: int | None
    data: Any
    outputs: tuple[Output, ...]
    id: str | None


def _parse(text: bytes, image: tuple[int, int, int], outputs: tuple[str, ...]) -> _Asked:
    channels, height, _ = image
    most = PLAIN + MAX_IMAGES * (1 + channels * (1 + height))  # with the lists of nested pixels
    if sum(text.count(character) for character in b'[{"') > most:
        raise ApiError(400, "json", "the body has more lists and texts than an inference request object needs")
    return _check(_json(text), image, outputs)


def _check(call: Any, image: tuple[int, int, int], outputs: tuple[str, ...]) -> _Asked:
    tensor = _tensor(call)
    shape = check_shape(tensor.get("shape"), image)
    name = call.get("id")
    if isinstance(name, str) and len(name) > MAX_ID:
        raise ApiError(400, "id", f"the id has {len(name):,} characters: {MAX_ID} are allowed")
    size = _parameters(tensor).get("binary_data_size")
    if size is not None and type(size) is not int:
        raise ApiError(400, "binary_size", f"binary_data_size is {str(size)[:32]}: it is a number of bytes")
    if size is not None and "data" in tensor:
        raise ApiError(400, "inputs", "the tensor has both 'data' and binary_data_size: send one of them")
    return _Asked(shape, size, tensor.get("data"), _outputs(call, outputs), name if isinstance(name, str) else None)


@lru_cache(1024)
def _parse_before(text: bytes, image: tuple[int, int, int], outputs: tuple[str, ...]) -> _Asked:
    """Return the parsed JSON before a binary tensor, without what else a client wrote into it."""
    asked = _parse(text, image, outputs)
    if asked.size is None:
        raise ApiError(400, "binary_size", NO_SIZE)
    return asked


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "json", f"the body is not JSON ({error}): send an inference request object") from None


def _tensor(call: Any) -> dict[str, Any]:
    """Return the one input of a request, with its name and datatype checked."""
    tensors = call.get("inputs") if isinstance(call, dict) else None
    if not isinstance(tensors, list) or len(tensors) != 1 or not isinstance(tensors[0], dict):
        raise ApiError(400, "inputs", f"'inputs' is a list of one tensor, named {INPUT!r}")
    tensor = tensors[0]
    if tensor.get("name") != INPUT:
        raise ApiError(400, "inputs", f"the input is named {str(tensor.get('name'))[:64]!r}: it is called {INPUT!r}")
    if tensor.get("datatype") != "UINT8":
        datatype = str(tensor.get("datatype"))[:32]
        raise ApiError(400, "dtype", f"the datatype is {datatype!r}: it is UINT8, raw pixels 0-255")
    if "shared_memory_region" in _parameters(tensor):
        raise ApiError(400, "shared_memory", "shared memory is not served: send the pixels in the body")
    return tensor


def _raw(body: bytes, card: ModelCard) -> Call:
    image = card.input_shape
    size = math.prod(image)
    if len(body) % size:
        raise ApiError(400, "shape", f"the body holds {len(body)} bytes: an image of {list(image)} has {size} of them")
    images = np.frombuffer(body, np.uint8).reshape(-1, *image)
    check_shape(list(images.shape), image)
    return Call(images, _all(card.outputs, True))


def _length(text: str, available: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 12 and int(text) <= available):
        raise ApiError(
            400,
            "header_length",
            f"{HEADER_LENGTH} is {text[:32]!r}: it is the length of the JSON, of {available} bytes",
        )
    return int(text)


def _binary_images(rest: memoryview, shape: list[int], size: int) -> np.ndarray:
    expected = math.prod(shape)
    if size != expected or len(rest) != expected:
        found = f"binary_data_size is {str(size)[:32]} and {len(rest)} bytes follow the JSON"
        raise ApiError(400, "binary_size", f"{found}: {shape} has {expected}")
    return np.frombuffer(rest, np.uint8).reshape(shape)


def _json_images(data: Any, shape: list[int]) -> np.ndarray:
    try:
        values = np.asarray(check_numbers(data))
    except ValueError:
        raise ApiError(400, "shape", f"'data' is ragged: {NESTED}") from None
    if values.size != math.prod(shape) or (values.ndim != 1 and list(values.shape) != shape):
        found = f"'data' holds {values.size} values in shape {list(values.shape)}"
        raise ApiError(400, "shape", f"{found}: expected {shape}, flat or nested")
    return to_uint8(values).reshape(shape)


@cache
def _all(names: tuple[str, ...], binary: bool) -> tuple[Output, ...]:
    return tuple(Output(name, binary) for name in names)


def _outputs(call: dict[str, Any], names: tuple[str, ...]) -> tuple[Output, ...]:
    binary = _parameters(call).get("binary_data_output", False) is True
    asked = call.get("outputs")
    if not asked:
        return _all(names, binary)
    entries = asked if isinstance(asked, list) and all(isinstance(o, dict) for o in asked) else [{}]
    outputs = tuple(_output(entry, binary, names) for entry in entries)
    if len({output.name for output in outputs}) < len(outputs):
        raise ApiError(400, "outputs", "an output is asked for more than once")
    return outputs


def _output(entry: dict[str, Any], binary: bool, names: tuple[str, ...]) -> Output:
    name = entry.get("name")
    if name not in names:
        raise ApiError(400, "outputs", f"there is no output {str(name)[:64]!r}: ask for {' or '.join(names)}")
    parameters = _parameters(entry)
    classes = parameters.get("classification", 0)
    if type(classes) is not int or not 0 <= classes < 2**31:
        raise ApiError(400, "outputs", f"classification is {str(classes)[:32]!r}: it is how many classes to give")
    if classes and name == FAMILIARITY:
        raise ApiError(400, "outputs", f"{FAMILIARITY} has no classes: ask for it without classification")
    return Output(str(name), parameters.get("binary_data", binary) is True, classes)


def _parameters(holder: dict[str, Any]) -> dict[str, Any]:
    parameters = holder.get("parameters", {})
    if not isinstance(parameters, dict):
        raise ApiError(400, "parameters", "'parameters' is a JSON object")
    return parameters


def _pack(texts: list[str]) -> bytes:
    """Return texts as a BYTES tensor: each has its length before it."""
    return b"".join(struct.pack("<I", len(text)) + text for text in map(str.encode, texts))


def _classification(values: np.ndarray, card: ModelCard, classes: int) -> list[str]:
    """Return each image's likeliest classes as "value:index:label", likeliest first."""
    order = np.argsort(-values, axis=1, kind="stable")[:, :classes]
    return [f"{row[c]:f}:{c}:{card.classes[c]}" for row, best in zip(values, order, strict=True) for c in best]
