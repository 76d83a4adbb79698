"""How images travel to a server and probabilities come back: the requests of benchmarks/serving.py.

A wire asks with the bytes it is given (raw pixels of one or more images, or a PNG file) and reads the answer as one
list of probabilities, image after image, whatever the server calls them.
"""

import json
import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any


@dataclass(frozen=True)
class Request:
    """One HTTP POST."""

    path: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    def raw(self, port: int) -> bytes:
        """As it goes over the wire."""
        headers = {"Host": f"127.0.0.1:{port}", **self.headers, "Content-Length": str(len(self.body))}
        lines = [f"POST {self.path} HTTP/1.1", *(f"{key}: {value}" for key, value in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


@dataclass(frozen=True)
class Wire:
    """`ask(model's name, shape of an image, content)` makes the request, `read(headers, body)` its answer."""

    ask: Callable[[str, tuple[int, ...], bytes], Request]
    read: Callable[[Mapping[str, str], bytes], list[float]]


def _json(path: str, value: Any) -> Request:
    return Request(path, json.dumps(value, separators=(",", ":")).encode(), {"Content-Type": "application/json"})


def _nested(values: list[Any], shape: tuple[int, ...]) -> list[Any]:
    for size in reversed(shape):
        values = [values[start : start + size] for start in range(0, len(values), size)]
    return values


def _floats(_: Mapping[str, str], body: bytes) -> list[float]:
    return list(struct.unpack(f"<{len(body) // 4}f", body))


# The Open Inference Protocol, tensors as JSON and by its binary extension
def _v2(name: str, shape: tuple[int, ...], pixels: bytes, binary: bool) -> Request:
    tensor = {"name": "images", "datatype": "UINT8", "shape": [len(pixels) // math.prod(shape), *shape]}
    path, output = f"/v2/models/{name}/infer", {"name": "probabilities"}
    if not binary:
        return _json(path, {"inputs": [{**tensor, "data": list(pixels)}], "outputs": [output]})
    tensor["parameters"] = {"binary_data_size": len(pixels)}
    header = _json(path, {"inputs": [tensor], "outputs": [{**output, "parameters": {"binary_data": True}}]}).body
    types = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(header))}
    return Request(path, header + pixels, types)


def _read_v2(headers: Mapping[str, str], body: bytes) -> list[float]:
    length = int(headers.get("Inference-Header-Content-Length", len(body)))
    output = json.loads(body[:length])["outputs"][0]
    return output.get("data") or _floats(headers, body[length:])


V2_JSON = Wire(lambda *of: _v2(*of, binary=False), _read_v2)
V2_BINARY = Wire(lambda *of: _v2(*of, binary=True), _read_v2)


# cnnzoo's pictures: top-k classes, all of them asked for, put back in their order
def _read_classes(_: Mapping[str, str], body: bytes) -> list[float]:
    pictures = json.loads(body)["predictions"]
    return [c["probability"] for p in pictures for c in sorted(p["classes"], key=lambda c: c["class"])]


CNNZOO_PICTURE = Wire(
    lambda name, _, png: Request(f"/v1/models/{name}/predict?top_k=1000", png, {"Content-Type": "image/png"}),
    _read_classes,
)


# Nested lists in a JSON object, a PNG as the body or in a form, bytes in and float32 out
def _read_json(_: Mapping[str, str], body: bytes) -> list[float]:
    rows = json.loads(body)
    return list(chain.from_iterable(rows)) if isinstance(rows[0], list) else rows


def nested(path: str) -> Wire:
    return Wire(lambda _, shape, pixels: _json(path, {"images": _nested(list(pixels), shape)}), _read_json)


def one_nested(path: str) -> Wire:
    return Wire(lambda _, shape, pixels: _json(path, {"image": _nested(list(pixels), shape)[0]}), _read_json)


def picture(path: str) -> Wire:
    return Wire(lambda _, __, png: Request(path, png, {"Content-Type": "image/png"}), _read_json)


def form(path: str) -> Wire:
    head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
    types = {"Content-Type": "multipart/form-data; boundary=x"}
    return Wire(lambda _, __, png: Request(path, head + png + b"\r\n--x--\r\n", types), _read_json)


def octets(path: str) -> Wire:
    return Wire(lambda _, __, pixels: Request(path, pixels, {"Content-Type": "application/octet-stream"}), _floats)


def nothing(path: str) -> Wire:
    return Wire(lambda *_: Request(path), lambda *_: [])
