"""How each server takes images and returns probabilities: the HTTP requests of benchmarks/serving.py."""

import json
import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any


@dataclass(frozen=True)
class Request:
    """HTTP POST request."""

    path: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    def raw(self, port: int) -> bytes:
        """Return the bytes that go over the wire."""
        headers = {"Host": f"127.0.0.1:{port}", **self.headers, "Content-Length": str(len(self.body))}
        lines = [f"POST {self.path} HTTP/1.1", *(f"{key}: {value}" for key, value in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


@dataclass(frozen=True)
class Protocol:
    """Encoder of requests and decoder of responses.

    Args:
        encode: (model name, shape of an image, content) → request. The content is raw pixels of one or more images,
            or a PNG file.
        decode: (headers with names in lower case, body) → the probabilities as one list, image after image.
    """

    encode: Callable[[str, tuple[int, ...], bytes], Request]
    decode: Callable[[Mapping[str, str], bytes], list[float]]


def _json(path: str, value: Any) -> Request:
    return Request(path, json.dumps(value, separators=(",", ":")).encode(), {"Content-Type": "application/json"})


def _nested(values: list[Any], shape: tuple[int, ...]) -> list[Any]:
    for size in reversed(shape):
        values = [values[start : start + size] for start in range(0, len(values), size)]
    return values


def _floats(_: Mapping[str, str], body: bytes) -> list[float]:
    return list(struct.unpack(f"<{len(body) // 4}f", body))


def _encode_v2(name: str, shape: tuple[int, ...], pixels: bytes, binary: bool) -> Request:
    tensor: dict[str, Any] = {"name": "images", "datatype": "UINT8", "shape": [len(pixels) // math.prod(shape), *shape]}
    path, output = f"/v2/models/{name}/infer", {"name": "probabilities"}
    if not binary:
        return _json(path, {"inputs": [{**tensor, "data": list(pixels)}], "outputs": [output]})
    tensor["parameters"] = {"binary_data_size": len(pixels)}
    header = _json(path, {"inputs": [tensor], "outputs": [{**output, "parameters": {"binary_data": True}}]}).body
    types = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(header))}
    return Request(path, header + pixels, types)


def _decode_v2(headers: Mapping[str, str], body: bytes) -> list[float]:
    length = int(headers.get("inference-header-content-length", len(body)))
    output = json.loads(body[:length])["outputs"][0]
    return output.get("data") or _floats(headers, body[length:])


V2_JSON = Protocol(partial(_encode_v2, binary=False), _decode_v2)
V2_BINARY = Protocol(partial(_encode_v2, binary=True), _decode_v2)


def _decode_classes(_: Mapping[str, str], body: bytes) -> list[float]:
    """Put the top-k classes of each image back in the order of the classes."""
    images = json.loads(body)["predictions"]
    return [c["probability"] for image in images for c in sorted(image["classes"], key=lambda c: c["class"])]


CNNZOO_IMAGE = Protocol(
    lambda name, _, png: Request(f"/v1/models/{name}/predict?top_k=1000", png, {"Content-Type": "image/png"}),
    _decode_classes,
)


def _decode_json(_: Mapping[str, str], body: bytes) -> list[float]:
    rows = json.loads(body)
    return list(chain.from_iterable(rows)) if isinstance(rows[0], list) else rows


def nested(path: str) -> Protocol:
    """Send all images as nested lists in JSON."""
    return Protocol(lambda _, shape, pixels: _json(path, {"images": _nested(list(pixels), shape)}), _decode_json)


def one_nested(path: str) -> Protocol:
    """Send one image as nested lists in JSON."""
    return Protocol(lambda _, shape, pixels: _json(path, {"image": _nested(list(pixels), shape)[0]}), _decode_json)


def png(path: str) -> Protocol:
    """Send a PNG file as the body."""
    return Protocol(lambda _, __, content: Request(path, content, {"Content-Type": "image/png"}), _decode_json)


def form(path: str) -> Protocol:
    """Send a PNG file in a multipart form."""
    head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
    types = {"Content-Type": "multipart/form-data; boundary=x"}
    return Protocol(lambda _, __, content: Request(path, head + content + b"\r\n--x--\r\n", types), _decode_json)


def octets(path: str) -> Protocol:
    """Send raw pixels, and receive float32."""
    return Protocol(lambda _, __, pixels: Request(path, pixels, {"Content-Type": "application/octet-stream"}), _floats)
