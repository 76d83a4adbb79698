"""Test hostile requests. After each test, the service still answers."""

import contextlib
import io
import json
import pickle
import re
import socket
import struct
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpx
import numpy as np
import pytest
from helpers import error, listening, png, serve, server_processes, web_server
from PIL import Image, PngImagePlugin

PREDICT = "/v1/models/digits_cnn/predict"
INFER = "/v2/models/digits_cnn/infer"
PNG = {"Content-Type": "image/png"}
JPEG = {"Content-Type": "image/jpeg"}


@pytest.fixture(autouse=True)
def _well_afterwards(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    for name in {"client", "served"} & set(request.fixturenames):
        asked = request.getfixturevalue(name)
        assert asked.get("/readyz").status_code == 200
        assert asked.post(PREDICT, content=png(np.zeros((8, 8), np.uint8)), headers=PNG).status_code == 200


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def seven(size: int = 64) -> Image.Image:
    """Draw a dark seven on white paper."""
    page = np.full((size, size), 255, np.uint8)
    page[size // 8 : size // 4, size // 4 : -size // 4] = 0
    for y in range(size // 4, size - size // 8):
        x = size - size // 4 - (y - size // 4) // 2
        page[y, x - size // 12 : x] = 0
    return Image.fromarray(page)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))


# Pictures


def test_every_kind_of_picture_that_is_one_is_answered_alike(client: httpx.Client):
    grey = seven()
    rgba = grey.convert("RGBA")
    rgba.putalpha(Image.fromarray(np.where(np.asarray(grey) < 128, 255, 0).astype(np.uint8)))
    palette_with_hole = grey.convert("P")
    palette_with_hole.info["transparency"] = 255
    second = Image.new("L", grey.size, 0)
    kinds = {
        "grey": saved(grey),
        "colour": saved(grey.convert("RGB")),
        "palette": saved(grey.convert("P")),
        "palette with a hole": saved(palette_with_hole),
        "one bit": saved(grey.convert("1")),
        "alpha": saved(rgba),
        "grey and alpha": saved(grey.convert("LA")),
        "16 bits": saved(Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)),
        "animated": saved(grey, save_all=True, append_images=[second], duration=10),
        "text beside it": saved(grey, pnginfo=_with_text()),
        "bytes after it": saved(grey) + b"#!/bin/sh\nexit 1\n" * 100,
    }
    jpegs = {
        "jpeg": saved(grey, "JPEG", quality=95),
        "cmyk": saved(grey.convert("RGB").convert("CMYK"), "JPEG", quality=95),
        "progressive": saved(grey, "JPEG", quality=95, progressive=True),
    }
    labels = {}
    for pictures, headers in ((kinds, PNG), (jpegs, JPEG)):
        for name, content in pictures.items():
            answer = client.post(f"{PREDICT}?show_input=true", content=content, headers=headers)
            assert answer.status_code == 200, (name, answer.text)
            labels[name] = answer.json()["predictions"][0]["classes"][0]["label"]
    assert set(labels.values()) == {labels["grey"]}, labels


def _with_text() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "x" * 1000, zip=True)
    return info


def interlaced() -> bytes:
    """Return an interlaced PNG of one pixel. Pillow cannot write interlaced files."""
    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 1)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0\x80")) + chunk(b"IEND", b"")
    )


def test_an_interlaced_picture(client: httpx.Client):
    assert client.post(PREDICT, content=interlaced(), headers=PNG).status_code == 200


noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
BROKEN = {
    "half a PNG": png(noise)[:2000],
    "a PNG's first bytes": b"\x89PNG\r\n\x1a\n",
    "a PNG without pixels": png_header(8, 8) + chunk(b"IEND", b""),
    "a PNG of no size": png_header(0, 0) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""),
    "a PNG of another length": png_header(8, 8) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b""),
    "a PNG with a wrong checksum": png(noise)[:40] + b"\xff" + png(noise)[41:],
    "a PNG whose text inflates": png_header(8, 8)
    + chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(10_000_000)))
    + chunk(b"IDAT", zlib.compress(bytes(72)))
    + chunk(b"IEND", b""),
    "half a JPEG": png(noise, "JPEG")[:600],
    "a GIF": saved(seven(), "GIF"),
    "a TIFF": saved(seven(), "TIFF"),
    "a WebP": saved(seven(), "WEBP"),
    "an SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="http://127.0.0.1:9/"/></svg>',
    "a GIF that is also a script": b"GIF89a/*" + b"*/=1;alert(1)",
    "an EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(x) run\n",
    "a pickle": pickle.dumps({"a": 1}),
    "nothing": b"",
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.parametrize("headers", [PNG, JPEG], ids=["as PNG", "as JPEG"])
def test_what_cannot_be_decoded_is_422(client: httpx.Client, content: bytes, headers: dict):
    assert "send a PNG or a JPEG" in error(client.post(PREDICT, content=content, headers=headers), 422)


@pytest.mark.parametrize(("width", "height"), [(100_000, 100_000), (2**31 - 1, 2**31 - 1), (1, 30_000_000)])
def test_a_bomb_is_not_lit(client: httpx.Client, width: int, height: int):
    bomb = png_header(width, height) + chunk(b"IDAT", zlib.compress(bytes(10_000_000), 9)) + chunk(b"IEND", b"")
    start = time.monotonic()
    assert "pixels" in error(client.post(PREDICT, content=bomb, headers=PNG), 413)
    assert time.monotonic() - start < 5


# Bodies


def raw(client: httpx.Client, request: bytes, wait: float = 20) -> bytes:
    """Send bytes as they are. Return the answer until the service closes or is silent for `wait` seconds."""
    with socket.create_connection(("127.0.0.1", client.base_url.port or 0), timeout=wait) as connection:
        connection.sendall(request)
        answer = b""
        try:
            while received := connection.recv(65536):
                answer += received
        except (TimeoutError, ConnectionResetError):
            pass
    return answer


@pytest.mark.slow
def test_a_slow_body_is_given_up(trained: Path):
    """A client sends one byte at a time. Others are answered meanwhile."""
    with serve(trained / "zoo", CNNZOO_TIMEOUT="2") as own:
        port = own.base_url.port or 0
        with socket.create_connection(("127.0.0.1", port), timeout=20) as slow:
            slow.sendall(f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\n{_lines(PNG)}Content-Length: 100000\r\n\r\n".encode())
            start = time.monotonic()
            answer = b""
            while not answer and time.monotonic() - start < 15:
                slow.sendall(b"x")
                assert own.get("/readyz").status_code == 200
                slow.settimeout(0.1)
                try:
                    answer = slow.recv(65536)
                except TimeoutError:
                    continue
            slow.settimeout(5)
            with contextlib.suppress(ConnectionResetError):  # the body may come after the header
                while received := slow.recv(65536):
                    answer += received
        assert answer.startswith(b"HTTP/1.1 408"), answer
        assert b"did not arrive within 2 seconds" in answer


def test_one_request_more_than_allowed_is_refused(trained: Path):
    """The first one's body never ends."""
    with listening(trained / "zoo", max_requests=1) as own:
        port = own.base_url.port or 0
        with socket.create_connection(("127.0.0.1", port), timeout=20) as slow:
            slow.sendall(f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\n{_lines(PNG)}Content-Length: 100000\r\n\r\nx".encode())
            deadline = time.monotonic() + 10
            while (answer := own.post(PREDICT, content=saved(seven()), headers=PNG)).status_code == 200:
                assert time.monotonic() < deadline
        assert "as many requests in flight as it can hold" in error(answer, 503)


def _lines(headers: dict[str, str]) -> str:
    return "".join(f"{key}: {value}\r\n" for key, value in headers.items())


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
        b"NONSENSE\r\n\r\n",
        b"GET /models HTTP/1.1\r\nHost: x\r\n" + b"A: " + b"b" * 200_000 + b"\r\nConnection: close\r\n\r\n",
        b"GET " + b"/a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST " + INFER.encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST " + INFER.encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"POST "
        + INFER.encode()
        + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST " + INFER.encode() + b" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n",
        b"GET /models\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /%00%ff%fe HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET http://127.0.0.1:9/etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"CONNECT 127.0.0.1:9 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"TRACE / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /models HTTP/1.1\r\nHost: x\r\nX-Request-ID: a\r\nX-Request-ID: b\r\nConnection: close\r\n\r\n",
    ],
    ids=range(14),
)
def test_what_is_hardly_http_is_no_5xx(served: httpx.Client, request_bytes: bytes):
    answer = raw(served, request_bytes, wait=0.5)
    assert not answer or answer.startswith((b"HTTP/1.1 2", b"HTTP/1.1 4")), answer[:200]
    assert b"root:" not in answer
    assert b"Traceback" not in answer
    assert served.get("/livez").status_code == 200


def test_one_long_text_among_numbers_takes_no_memory(client: httpx.Client):
    """NumPy would give each of the numbers as many bytes as the text has: 2 GB here."""
    data = ["a" * 30_000, *[1] * 15_999]
    call = {"inputs": [{"name": "images", "datatype": "UINT8", "shape": [250, 1, 8, 8], "data": data}]}
    tracemalloc.start()
    try:
        assert "other than whole numbers" in error(client.post(INFER, json=call), 400)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


def test_one_long_text_among_numbers_takes_no_memory_in_classify(served: httpx.Client):
    folders = [Path(f"/proc/{process.pid}") for process in server_processes(served)]
    for folder in folders:
        (folder / "clear_refs").write_text("5")  # the highest memory is from now on
    before = [_highest(folder) for folder in folders]
    response = served.post("/classify", json={"model": "digits_cnn", "images": ["a" * 30_000, *[1] * 15_999]})
    assert "other than whole numbers" in error(response, 400)
    assert max(_highest(folder) - least for folder, least in zip(folders, before, strict=True)) < 20e6


def _highest(folder: Path) -> int:
    """Return the most bytes that a process has had in memory."""
    (kilobytes,) = re.findall(r"^VmHWM:\s+(\d+) kB$", (folder / "status").read_text(), re.MULTILINE)
    return 1000 * int(kilobytes)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 1_000_000,
        b'{"inputs":' * 100_000,
        b'{"inputs": [{"data": ' + b"[" * 50_000 + b"]" * 50_000 + b"}]}",
        b'{"a": 1e999999999}',
        b"9" * 10_000,
        b'"\\ud800"',
        json.dumps(
            {"inputs": [{"name": "images", "datatype": "UINT8", "shape": [1, 1, 8, 8], "data": ["1"] * 64}]}
        ).encode(),
        b'{"inputs": [{"name": "images", "datatype": "UINT8", "shape": [1, 1, 8, 8], "data": ['
        + b"NaN," * 63
        + b"NaN]}]}",
        b'{"inputs": [{"name": "images", "datatype": "UINT8", "shape": [1, 1, 8, 8], "data": ['
        + b"Infinity," * 63
        + b"0]}]}",
        b'{"inputs": [{"name": "images", "datatype": "UINT8", "shape": [1, 1, -8, -8], "data": [0]}]}',
        b'{"inputs": [{"name": "images", "datatype": "UINT8", "shape": [9223372036854775808, 1, 8, 8], "data": [0]}]}',
        b'{"inputs": [{"name": "images", "datatype": "UINT8", "shape": [1e0, 1, 8, 8], "data": [0]}]}',
    ],
    ids=range(12),
)
def test_json_of_every_bad_kind_is_400(served: httpx.Client, body: bytes):
    error(served.post(INFER, content=body), 400)
    error(served.post("/classify", content=body, headers={"Content-Type": "application/json"}), 400)


def test_a_long_boundary_is_cheap(served: httpx.Client):
    """CVE-2024-9056: a parser that rescans the dashes behind a boundary takes quadratic time."""
    start = time.monotonic()
    for boundary in ("x" * 60_000, "x"):
        body = f"--{boundary}".encode() + b"-" * 8_000_000 + b"\r\n"
        kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        for path in (PREDICT, "/classify"):
            assert served.post(path, content=body, headers=kind).status_code in (400, 415, 431)
    assert time.monotonic() - start < 10


# Code and addresses


class Trap:
    """Object that creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_a_pickle_is_never_loaded(served: httpx.Client, tmp_path: Path):
    sprung = tmp_path / "sprung"
    trap = pickle.dumps(Trap(sprung))
    headers = {
        "Payload-Container": "NdarrayContainer", "Payload-Meta": '{"format": "default"}', "Batch-Size": "1",
        "Args-Number": "1", "Yatai-Bento-Deployment-Name": "x",
    }  # fmt: skip
    for kind in (
        "application/vnd.bentoml+pickle",
        "application/pickle",
        "application/octet-stream",
        "application/json",
    ):
        for path in ("/classify", INFER, PREDICT, "/", "/predict", "/classify/submit"):
            response = served.post(path, content=trap, headers={**headers, "Content-Type": kind})
            assert 400 <= response.status_code < 500, (path, kind, response.status_code)
    array = json.dumps({"model": "digits_cnn", "images": {"__pickle__": trap.hex()}})
    error(served.post("/classify", content=array, headers={"Content-Type": "application/json"}), 400)
    time.sleep(0.2)
    assert not sprung.exists()


def test_no_address_is_fetched(served: httpx.Client):
    """CVE-2025-54381: a URL in place of an image or an array."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

    with web_server(Handler) as address:
        url = f"{address}/secret.png"
        for path in (PREDICT, "/classify", INFER):
            for kind in ("multipart/form-data; boundary=b", "application/json", "text/plain", "image/png"):
                form = f'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n{url}\r\n--b--\r\n'
                body = {"m": form, "a": json.dumps({"model": "digits_cnn", "images": url}), "t": url, "i": url}[kind[0]]
                answer = served.post(path, content=body.encode(), headers={"Content-Type": kind})
                assert 400 <= answer.status_code < 500, (path, kind, answer.text)
        data = {"file": url, "images": url, "model": "digits_cnn"}
        assert served.post(PREDICT, data=data).status_code == 415
        error(served.get("/models", params={"url": url}), 400)
        assert served.get("/models", headers={"Referer": url}).status_code == 200
        time.sleep(0.3)
    assert asked == []
