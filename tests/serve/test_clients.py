"""Test the service with NVIDIA's Triton client, unmodified, and with this project's client."""

import asyncio
import json
import os
import struct
import subprocess
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpx
import numpy as np
import onnxruntime as ort
import pytest
import tritonclient.http as triton
from helpers import listening, png, web_server
from tritonclient.utils import InferenceServerException

from cnnzoo.contract.names import OUTPUTS
from cnnzoo.serve.client import AsyncClient, Client, DownloadError, ServiceError

MODEL = "digits_cnn"


@pytest.fixture(scope="module")
def expected(served: httpx.Client, digits) -> list[np.ndarray]:
    """Return the outputs for the held-out digits, computed from the downloaded file."""
    session = ort.InferenceSession(served.get(f"/models/{MODEL}.onnx").content)
    outputs: list[np.ndarray] = session.run(list(OUTPUTS), {"images": digits[0].numpy()})
    return outputs


@pytest.fixture(scope="module")
def server(served: httpx.Client):
    with triton.InferenceServerClient(f"127.0.0.1:{served.base_url.port}", concurrency=4) as own:
        yield own


def images(pixels: np.ndarray, binary: bool) -> triton.InferInput:
    tensor = triton.InferInput("images", list(pixels.shape), "UINT8")
    tensor.set_data_from_numpy(pixels, binary_data=binary)
    return tensor


def test_triton_asks_how_the_server_is(server: triton.InferenceServerClient):
    assert server.is_server_live()
    assert server.is_server_ready()
    assert server.is_model_ready(MODEL)
    assert server.is_model_ready(MODEL, "1")
    assert not server.is_model_ready("nothing")
    assert {"binary_tensor_data", "classification"} <= set(server.get_server_metadata()["extensions"])
    metadata = server.get_model_metadata(MODEL, "2")
    assert metadata["versions"] == ["1", "2"]
    assert metadata["inputs"] == [{"name": "images", "datatype": "UINT8", "shape": [-1, 1, 8, 8]}]
    assert {m["name"] for m in server.get_model_repository_index()} == {MODEL}


@pytest.mark.parametrize("sent_binary", [True, False])
@pytest.mark.parametrize("got_binary", [True, False])
def test_triton_infers(server: triton.InferenceServerClient, digits, expected, sent_binary: bool, got_binary: bool):
    result = server.infer(
        MODEL,
        [images(digits[0][:50].numpy(), sent_binary)],
        outputs=[triton.InferRequestedOutput(name, binary_data=got_binary) for name in ("probabilities", "logits")],
        request_id="fifty",
    )
    assert result.get_response()["id"] == "fifty"
    np.testing.assert_allclose(result.as_numpy("logits"), expected[0][:50], atol=1e-4)
    np.testing.assert_allclose(result.as_numpy("probabilities"), expected[1][:50], atol=1e-5)


@pytest.mark.parametrize("binary", [True, False])
def test_triton_asks_for_classes(server: triton.InferenceServerClient, digits, expected, binary: bool):
    output = triton.InferRequestedOutput("probabilities", binary_data=binary, class_count=3)
    found = server.infer(MODEL, [images(digits[0][:20].numpy(), True)], outputs=[output]).as_numpy("probabilities")
    assert found.shape == (20, 3)
    for row, probabilities in zip(found, expected[1], strict=False):
        texts = [t.decode() if isinstance(t, bytes) else t for t in row]
        best = np.argsort(-probabilities)[:3]
        assert [t.split(":")[1:] for t in texts] == [[str(c), str(c)] for c in best]
        np.testing.assert_allclose([float(t.split(":")[0]) for t in texts], probabilities[best], atol=1e-5)


def test_triton_sends_raw_pixels(served: httpx.Client, digits, expected):
    """Send raw pixels, which Triton's protocol allows but `InferenceServerClient` cannot send."""
    pixels = digits[0][:3].numpy().tobytes()
    answer = served.post(f"/v2/models/{MODEL}/infer", content=pixels, headers={"Inference-Header-Content-Length": "0"})
    length = int(answer.headers["Inference-Header-Content-Length"])
    outputs = json.loads(answer.content[:length])["outputs"]
    assert [o["parameters"]["binary_data_size"] for o in outputs] == [120, 120, 12]
    logits = struct.unpack("<30f", answer.content[length : length + 120])
    np.testing.assert_allclose(np.reshape(logits, (3, 10)), expected[0][:3], atol=1e-4)


def test_triton_asynchronously(server: triton.InferenceServerClient, digits, expected):
    asked = [server.async_infer(MODEL, [images(digits[0][i : i + 1].numpy(), True)]) for i in range(40)]
    for i, one in enumerate(asked):
        np.testing.assert_allclose(one.get_result().as_numpy("logits"), expected[0][i : i + 1], atol=1e-4)


def test_triton_is_told_what_was_wrong(server: triton.InferenceServerClient):
    with pytest.raises(InferenceServerException, match=r"expected \[N, 1, 8, 8\]"):
        server.infer(MODEL, [images(np.zeros((1, 1, 9, 9), np.uint8), True)])
    with pytest.raises(InferenceServerException, match="no model is called"):
        server.infer("nothing", [images(np.zeros((1, 1, 8, 8), np.uint8), True)])


# This project's own

CLIENT_ALONE = """
import importlib.abc, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"bentoml", "onnx", "onnxruntime", "prometheus_client", "starlette", "torch"}:
            raise ImportError(f"the client imports {name}")

sys.meta_path.insert(0, Blocked())
import cnnzoo.serve.client
print(*sorted(name for name in sys.modules if name.startswith("cnnzoo")))
"""


def test_the_client_needs_httpx_and_the_contract_alone():
    loaded = subprocess.run([sys.executable, "-c", CLIENT_ALONE], capture_output=True, text=True, timeout=60)
    assert loaded.returncode == 0, loaded.stderr
    assert [name for name in loaded.stdout.split() if name.startswith("cnnzoo.serve.")] == [
        "cnnzoo.serve.answers",
        "cnnzoo.serve.client",
        "cnnzoo.serve.downloads",
    ]


@pytest.fixture(scope="module")
def own(served: httpx.Client):
    with Client(str(served.base_url)) as own:
        yield own


def test_classify_images(own: Client, digits, expected, tmp_path: Path):
    path = tmp_path / "digit.png"
    path.write_bytes(png(digits[0][0, 0].numpy()))
    first, second, third = own.classify(MODEL, [path, png(digits[0][1, 0].numpy()), b"none"], top_k=2)
    assert (first.file, first.label) == ("digit.png", str(expected[1][0].argmax()))
    assert second.label == str(expected[1][1].argmax())
    assert len(second.classes) == 2
    assert second.classes[0][1] == pytest.approx(expected[1][1].max(), abs=1e-5)
    assert "not a PNG or JPEG" in str(third.error)
    odd = tmp_path / os.fsdecode(b"f\xfcr.png")  # no UTF-8
    odd.write_bytes(path.read_bytes())
    assert own.classify(MODEL, [odd])[0].label == first.label
    with pytest.raises(ValueError, match="not a PNG or JPEG"):
        third.label  # noqa: B018
    with pytest.raises(ServiceError, match="did you mean 'digits_cnn'") as caught:
        own.classify("digit_cnn", [path])
    assert (caught.value.status, caught.value.code) == (404, "unknown_model")
    with pytest.raises(TypeError, match="expected a list"):
        own.classify(MODEL, str(path))
    with pytest.raises(ValueError, match="images is empty"):
        own.classify(MODEL, [])


def test_a_redirect_is_no_answer(tmp_path: Path):
    """As of a proxy that wants https."""

    class Redirecting(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(301)
            self.send_header("Location", "https://elsewhere")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with web_server(Redirecting) as url, Client(url) as client:
        with pytest.raises(ServiceError) as caught:
            client.models()
        assert caught.value.status == 301
        with pytest.raises(ServiceError):
            client.download("digits_cnn", tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_infer_arrays(own: Client, digits, expected):
    logits, probabilities, familiarity = own.infer(MODEL, digits[0].numpy(), version=2)
    np.testing.assert_allclose(logits, expected[0], atol=1e-4)
    np.testing.assert_allclose(probabilities, expected[1], atol=1e-5)
    assert familiarity is not None
    np.testing.assert_allclose(familiarity, expected[2], atol=1e-4)
    with pytest.raises(TypeError, match="expected uint8"):
        own.infer(MODEL, digits[0].numpy() / 255)
    with pytest.raises(ServiceError, match=r"expected \[N, 1, 8, 8\]"):
        own.infer(MODEL, np.zeros((1, 1, 9, 9), np.uint8))


@pytest.mark.parametrize("had", [0, 1000, None])
def test_download_a_model_or_the_rest_of_it(own: Client, served: httpx.Client, tmp_path: Path, had: int | None):
    """Download from the start, from byte 1,000, and when all bytes are there already."""
    whole = served.get(f"/models/{MODEL}.onnx")
    path = tmp_path / "new/model.onnx"
    if had != 0:
        path.parent.mkdir()
        path.with_name("model.onnx.part").write_bytes(whole.content[:had])
        path.with_name("model.onnx.part.etag").write_text(whole.headers["etag"])
    assert own.download(MODEL, path) == path
    assert path.read_bytes() == whole.content
    assert [p.name for p in path.parent.iterdir()] == ["model.onnx"]


def test_a_download_that_went_wrong_is_thrown_away(own: Client, served: httpx.Client, tmp_path: Path):
    path = tmp_path / "model.onnx"
    etag = served.head(f"/models/{MODEL}.onnx").headers["etag"]
    path.with_name("model.onnx.part").write_bytes(b"\0" * 1000)
    path.with_name("model.onnx.part.etag").write_text(etag)
    with pytest.raises(DownloadError, match="try again"):
        own.download(MODEL, path)
    assert list(tmp_path.iterdir()) == []
    own.download(MODEL, path)
    path.with_name("model.onnx.part").write_bytes(b"\0" * 1000)  # of another version
    path.with_name("model.onnx.part.etag").write_text('"other"')
    assert own.download(MODEL, path).read_bytes() == served.get(f"/models/{MODEL}.onnx").content
    with pytest.raises(ServiceError, match="no model is called"):
        own.download("nothing", tmp_path / "nothing.onnx")


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_same_to_await(served: httpx.Client, digits, expected, tmp_path: Path, anyio_backend: str):
    async with AsyncClient(str(served.base_url)) as own:
        assert {m["name"] for m in await own.models()} == {MODEL}
        (prediction,) = await own.classify(MODEL, [png(digits[0][0, 0].numpy())])
        assert prediction.label == str(expected[1][0].argmax())
        answers = await asyncio.gather(*(own.infer(MODEL, digits[0][i : i + 1].numpy()) for i in range(30)))
        np.testing.assert_allclose(np.concatenate([a.logits for a in answers]), expected[0][:30], atol=1e-4)
        path = await own.download(MODEL, tmp_path / "m.onnx", version=1)
        assert path.read_bytes() == served.get(f"/models/{MODEL}/versions/1.onnx").content


def test_the_clients_send_the_key(trained: Path):
    async def count(url: str) -> int:
        async with AsyncClient(url, api_key="open-sesame") as own:
            return len(await own.models())

    with listening(trained / "zoo", api_key="open-sesame") as service:
        url = str(service.base_url)
        with Client(url, api_key="open-sesame") as own:
            assert [model["name"] for model in own.models()] == ["digits_cnn", "digits_cnn"]
        assert asyncio.run(count(url)) == 2
        with Client(url, api_key="open-sesam") as wrong, pytest.raises(ServiceError) as caught:
            wrong.models()
    assert caught.value.status == 401
