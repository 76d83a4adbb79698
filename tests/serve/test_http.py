"""Test list, download, predict and classify, and the errors of bad requests."""

import base64
import hashlib
import http.client
import io
import shutil
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import bentoml
import httpx
import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from helpers import copy_of_export, error, free_port, in_process, png, refused, write
from PIL import Image

from cnnzoo.contract.card import ModelCard
from cnnzoo.contract.model_file import read_card
from cnnzoo.contract.zoo_folder import find_file
from cnnzoo.models import create_model
from cnnzoo.models.export import to_onnx
from cnnzoo.serve.routes.one_image import read_input

PREDICT = "/v1/models/digits_cnn/predict"


@pytest.fixture(scope="module")
def torch_classes(trained: Path, digits) -> list[int]:
    """Return the classes that the checkpoint gives the held-out digits in torch."""
    from cnnzoo.models import DigitsCNN

    checkpoint = torch.load(trained / "runs/digits_cnn/version_0/checkpoints/best.ckpt", weights_only=True)
    model = DigitsCNN().eval()
    model.load_state_dict(checkpoint["state_dict"])
    with torch.inference_mode():
        return model(digits[0]).argmax(1).tolist()


def test_models_are_listed_newest_first(client: httpx.Client):
    listing = client.get("/models").json()
    assert [(m["name"], m["version"]) for m in listing["models"]] == [("digits_cnn", 2), ("digits_cnn", 1)]
    model = listing["models"][0]
    assert model["classes"] == list("0123456789")
    assert model["input"] == {"shape": [1, 8, 8], "dtype": "uint8", "mode": "L", "prepare": "digits"}
    assert model["metrics"]["n"] == 360
    assert model["parameters"] == 8660
    assert listing["refused"] == {}


def test_download_is_the_file_and_runs_elsewhere(client: httpx.Client, trained: Path, digits, torch_classes):
    listed = client.get("/models").json()["models"][1]
    response = client.get("/models/digits_cnn/versions/1.onnx")
    digest = hashlib.sha256(response.content).hexdigest()
    assert response.content == (trained / "zoo/digits_cnn/1/model.onnx").read_bytes()
    assert response.headers["etag"] == f'"{digest}"' == f'"{listed["sha256"]}"'
    encoded = base64.b64encode(bytes.fromhex(digest)).decode()
    assert response.headers["repr-digest"] == f"sha-256=:{encoded}:"
    assert response.headers["content-disposition"] == 'attachment; filename="digits_cnn-1.onnx"'
    assert int(response.headers["content-length"]) == listed["size"] == len(response.content)
    session = ort.InferenceSession(response.content)
    assert session.run(["logits"], {"images": digits[0].numpy()})[0].argmax(1).tolist() == torch_classes


def test_the_newest_version_is_downloaded_by_default(client: httpx.Client):
    newest = client.get("/models/digits_cnn.onnx")
    assert newest.headers["etag"] == client.head("/models/digits_cnn/versions/2.onnx").headers["etag"]


def test_head_says_what_get_would_without_a_body(client: httpx.Client):
    head, get = client.head("/models/digits_cnn.onnx"), client.get("/models/digits_cnn.onnx")
    assert head.content == b""
    for name in ("etag", "content-length", "repr-digest", "accept-ranges"):
        assert head.headers[name] == get.headers[name]
    part = client.head("/models/digits_cnn.onnx", headers={"Range": "bytes=0-9"})  # which is for GET alone
    assert (part.status_code, part.headers["content-length"]) == (200, get.headers["content-length"])


def test_head_of_what_is_not_there_says_so_without_a_body(client: httpx.Client):
    head, get = client.head("/models/nothing.onnx"), client.get("/models/nothing.onnx")
    assert (head.status_code, head.content) == (404, b"")
    assert head.headers["content-type"] == get.headers["content-type"] == "application/json"


def test_a_file_that_the_client_has_is_not_sent_again(client: httpx.Client):
    etag = client.head("/models/digits_cnn.onnx").headers["etag"]
    for value in (etag, f'"other", {etag}', f"W/{etag}", "*"):
        response = client.get("/models/digits_cnn.onnx", headers={"If-None-Match": value})
        assert response.status_code == 304
        assert response.content == b""
        assert response.headers["etag"] == etag
    assert client.get("/models/digits_cnn.onnx", headers={"If-None-Match": '"other"'}).status_code == 200


def test_a_broken_off_download_is_resumed(client: httpx.Client):
    whole = client.get("/models/digits_cnn.onnx")
    half = len(whole.content) // 2
    etag = whole.headers["etag"]
    rest = client.get("/models/digits_cnn.onnx", headers={"Range": f"bytes={half}-", "If-Range": etag})
    assert rest.status_code == 206
    assert rest.headers["content-range"] == f"bytes {half}-{len(whole.content) - 1}/{len(whole.content)}"
    assert whole.content[:half] + rest.content == whole.content
    last = client.get("/models/digits_cnn.onnx", headers={"Range": "bytes=-10"})
    assert last.content == whole.content[-10:]
    changed = client.get("/models/digits_cnn.onnx", headers={"Range": f"bytes={half}-", "If-Range": '"other"'})
    assert changed.status_code == 200
    assert client.get("/models/digits_cnn.onnx", headers={"Range": "bytes=99999999-"}).status_code == 416
    assert client.get("/models/digits_cnn.onnx", headers={"Range": "bytes=0-1,4-5"}).status_code == 416
    for ignored in ("items=0-5", "bytes=5-2", "bytes=abc", "bytes=-"):
        got = client.get("/models/digits_cnn.onnx", headers={"Range": ignored})
        assert (got.status_code, got.content) == (200, whole.content), ignored
    several = {"Range": "bytes=0-1,4-5"}
    assert client.get("/models/digits_cnn.onnx", headers={**several, "If-Range": '"other"'}).status_code == 200
    assert client.get("/models/digits_cnn.onnx", headers={**several, "If-None-Match": etag}).status_code == 304


def test_every_held_out_digit_gets_the_class_torch_gives(client: httpx.Client, digits, torch_classes):
    answers = []
    for start in range(0, 360, 120):
        files = [("file", (f"{i}.png", png(digits[0][i, 0].numpy()), "image/png")) for i in range(start, start + 120)]
        body = client.post(PREDICT, files=files).json()
        assert [p["file"] for p in body["predictions"]] == [f"{i}.png" for i in range(start, start + 120)]
        answers += [p["classes"][0]["class"] for p in body["predictions"]]
    assert answers == torch_classes


def test_a_raw_body_is_one_picture(client: httpx.Client, digits, torch_classes):
    response = client.post(PREDICT, content=png(digits[0][0, 0].numpy()), headers={"Content-Type": "image/png"})
    body = response.json()
    assert (body["model"], body["version"]) == ("digits_cnn", 2)
    classes = body["predictions"][0]["classes"]
    assert classes[0]["label"] == str(torch_classes[0])
    assert [c["probability"] for c in classes] == sorted((c["probability"] for c in classes), reverse=True)
    assert len(classes) == 3


def test_a_jpeg_of_dark_ink_on_paper_is_prepared_unless_told_not_to(client: httpx.Client, digits, torch_classes):
    confident = torch_classes.index(0)
    digit = Image.fromarray(255 - digits[0][confident, 0].numpy()).resize((200, 200), Image.Resampling.BICUBIC)
    page = Image.new("L", (640, 480), 255)
    page.paste(digit, (300, 90))
    jpeg = png(np.asarray(page), "JPEG")
    answer = {}
    for prepare in ("auto", "none"):
        response = client.post(
            f"{PREDICT}?prepare={prepare}&top_k=10", content=jpeg, headers={"Content-Type": "image/jpeg"}
        )
        answer[prepare] = {c["label"]: c["probability"] for c in response.json()["predictions"][0]["classes"]}
    assert max(answer["auto"], key=lambda label: answer["auto"][label]) == "0"
    assert answer["auto"] != answer["none"]
    assert sum(answer["none"].values()) == pytest.approx(1, abs=1e-5)


def test_top_k(client: httpx.Client, digits):
    def ask(top_k: str) -> httpx.Response:
        body = png(digits[0][0, 0].numpy())
        return client.post(f"{PREDICT}?top_k={top_k}", content=body, headers={"Content-Type": "image/png"})

    assert len(ask("1").json()["predictions"][0]["classes"]) == 1
    assert len(ask("99").json()["predictions"][0]["classes"]) == 10
    for wrong in ("0", "-1", "x", "1.5", "", "9" * 30):
        assert "top_k" in error(ask(wrong), 400)


def test_familiarity_is_that_of_the_file_and_flags_what_is_below_the_threshold(client: httpx.Client, trained: Path):
    noise = np.random.default_rng(0).integers(0, 256, (3, 8, 8), np.uint8)
    content = client.get("/models/digits_cnn.onnx").content
    (expected,) = ort.InferenceSession(content).run(["familiarity"], {"images": noise[:, None]})
    files = [("file", (f"{n}.png", png(one), "image/png")) for n, one in enumerate(noise)]

    def flags(threshold: str) -> list[bool]:
        url = f"{PREDICT}?prepare=none&min_familiarity={threshold}"
        predictions = client.post(url, files=files).json()["predictions"]
        np.testing.assert_allclose([one["familiarity"] for one in predictions], expected, atol=1e-5)
        return [one["unfamiliar"] for one in predictions]

    assert flags("0.05") == list(expected < 0.05) == [True] * 3
    assert flags("0") == flags("0e-05") == [False] * 3
    for wrong in ("-0.1", "1.5", "nan", "x", "", "0_1", "%D9%A0", "%200.5", "1e400"):
        response = client.post(f"{PREDICT}?min_familiarity={wrong}", files=files)
        assert "give a number from 0 to 1" in error(response, 400)


@pytest.mark.slow
def test_a_file_without_familiarity_is_served_as_before(tmp_path: Path):
    card = ModelCard("digits_cnn", 1, tuple("0123456789"), (1, 8, 8))
    write(to_onnx(create_model("digits_cnn")), card, tmp_path)
    with in_process(tmp_path) as client:
        body = png(np.zeros((8, 8), np.uint8))
        answer = client.post(PREDICT, content=body, headers={"Content-Type": "image/png"}).json()
        assert set(answer["predictions"][0]) == {"index", "file", "classes"}
        outputs = client.get("/v2/models/digits_cnn").json()["outputs"]
        assert [output["name"] for output in outputs] == ["logits", "probabilities"]
        asked = {"inputs": [{"name": "images", "datatype": "UINT8", "shape": [1, 1, 8, 8], "data": [0] * 64}]}
        outputs = client.post("/v2/models/digits_cnn/infer", json=asked).json()["outputs"]
        assert [output["name"] for output in outputs] == ["logits", "probabilities"]
        refused = client.post("/v2/models/digits_cnn/infer", json={**asked, "outputs": [{"name": "familiarity"}]})
        assert "ask for logits or probabilities" in error(refused, 400)


def test_classify_through_bentomls_own_client(served: httpx.Client, digits, torch_classes):
    with bentoml.SyncHTTPClient(str(served.base_url)) as own:
        answers = own.classify(model="digits_cnn", images=digits[0][:20].numpy(), top_k=1)
        assert [a[0]["class"] for a in answers] == torch_classes[:20]
        with pytest.raises(bentoml.exceptions.BentoMLException, match=r"expected \[N, 1, 8, 8\]"):
            own.classify(model="digits_cnn", images=np.zeros((1, 1, 9, 9), np.uint8))
        with pytest.raises(bentoml.exceptions.BentoMLException, match="no model is called 'dgts'"):
            own.classify(model="dgts", images=np.zeros((1, 1, 8, 8), np.uint8))
    assert 'cnnzoo_requests_total{model="digits_cnn",route="/classify",status="200"}' in served.get("/metrics").text


def test_an_answer_that_is_no_number_is_an_error(tmp_path: Path, digits):
    """JSON has no NaN."""
    proto = copy_of_export("digits_cnn")
    weights = next(tensor for tensor in proto.graph.initializer if tensor.name.endswith(".weight"))
    weights.CopyFrom(onnx.numpy_helper.from_array(np.full(list(weights.dims), np.nan, np.float32), weights.name))
    write(proto, ModelCard("digits_cnn", 1, tuple("0123456789"), (1, 8, 8), "digits"), tmp_path)
    body, headers = png(digits[0][0, 0].numpy()), {"Content-Type": "image/png"}
    with in_process(tmp_path) as client:
        assert "no finite logits" in error(client.post(PREDICT, content=body, headers=headers), 500)
        found = client.post("/v1/models/digits_cnn/inspect", content=body, headers=headers)
        assert "values that are not finite" in error(found, 422)
        assert "weights that are not finite" in error(client.get("/models/digits_cnn/layers"), 422)
        value = client.post("/v1/models/digits_cnn/inspect?layers=conv1&pixel=0,0,0", content=body, headers=headers)
        assert "values that are not finite" in error(value, 422)


def test_a_familiarity_that_is_no_number_is_an_error(trained: Path, tmp_path: Path, digits):
    path = find_file("digits_cnn", trained / "zoo")
    proto = onnx.load(path)
    mean = next(tensor for tensor in proto.graph.initializer if tensor.name == "familiarity.mean0")
    mean.CopyFrom(onnx.numpy_helper.from_array(np.full(list(mean.dims), np.nan, np.float32), mean.name))
    write(proto, read_card(path), tmp_path)
    body, headers = png(digits[0][0, 0].numpy()), {"Content-Type": "image/png"}
    with in_process(tmp_path) as client:
        assert "no finite familiarity" in error(client.post(PREDICT, content=body, headers=headers), 500)


def test_health(client: httpx.Client, served: httpx.Client):
    for asked in (client, served):
        assert asked.get("/livez").status_code == asked.get("/readyz").status_code == 200
        assert asked.get("/healthz").status_code == 200
        assert 'href="/models"' in asked.get("/").text


def test_a_context_in_the_request_is_ignored(served: httpx.Client):
    call = {"model": "digits_cnn", "images": np.zeros((1, 1, 8, 8), int).tolist()}
    expected = served.post("/classify", json=call)
    assert expected.status_code == 200
    for name in ("ctx", "context", "request"):
        assert served.post("/classify", json={**call, name: {"request": {"scope": {}}}}).json() == expected.json()


@pytest.mark.parametrize(
    "images", [[[[[300] * 8] * 8]], [[[[-1] * 8] * 8]], None, [[[[1.7] * 8] * 8]], "x", [[1], [1, 2]]]
)
def test_classify_refuses_what_are_no_pixels(served: httpx.Client, images: object):
    error(served.post("/classify", json={"model": "digits_cnn", "images": images}), 400)


def test_classify_has_the_error_codes_of_the_other_routes(served: httpx.Client):
    call = {"model": "dgts", "images": np.zeros((1, 1, 8, 8), int).tolist()}
    response = served.post("/classify", json=call)
    assert error(response, 404)
    assert response.json()["code"] == served.get("/models/dgts.onnx").json()["code"]


def test_classify_takes_json_only(served: httpx.Client):
    for kind in ("multipart/form-data; boundary=X", "application/vnd.bentoml+pickle", "text/plain"):
        response = served.post("/classify", content=b"\x80\x04N.", headers={"Content-Type": kind})
        assert "send application/json" in error(response, 415)


# What is said to bad requests


def test_unknown_models_and_routes(client: httpx.Client):
    assert "did you mean 'digits_cnn'" in error(client.get("/models/digit_cnn.onnx"), 404)
    assert "has no version '9' (there are 2, 1)" in error(client.get("/models/digits_cnn/versions/9.onnx"), 404)
    error(client.get("/models/digits_cnn/versions/-1.onnx"), 404)
    error(client.get("/models/digits_cnn/versions/01.onnx"), 404)
    error(client.get("/nothing"), 404)
    error(client.get(PREDICT), 405)
    error(client.post("/models"), 405)


@pytest.mark.parametrize(
    "path",
    [
        "/models/../../../etc/passwd.onnx",
        "/models/..%2f..%2f..%2fetc%2fpasswd.onnx",
        "/models/%2e%2e/%2e%2e/etc/passwd.onnx",
        "/models/digits_cnn/versions/..%2f1.onnx",
        "/v1/models/..%2f/predict",
        "/v2/models/../../etc/passwd",
        "/models/digits_cnn%00.onnx",
    ],
)
def test_no_name_leads_out_of_the_zoo(served: httpx.Client, path: str):
    """Send each path unchanged: HTTP clients normalize it."""
    connection = http.client.HTTPConnection(served.base_url.host, served.base_url.port)
    connection.putrequest("GET", path, skip_host=False)
    connection.endheaders()
    response = connection.getresponse()
    body = response.read()
    assert response.status in (404, 405)
    assert b"root:" not in body
    connection.close()


def test_pictures_that_are_none(client: httpx.Client):
    headers = {"Content-Type": "image/png"}
    assert "not a PNG or JPEG image" in error(client.post(PREDICT, content=b"hello", headers=headers), 422)
    assert error(client.post(PREDICT, content=b"", headers=headers), 422) == "body: it is empty; send a PNG or a JPEG"
    half = png(np.random.default_rng(0).integers(0, 255, (50, 50), dtype=np.uint8))[:800]
    assert "body: the image is damaged" in error(client.post(PREDICT, content=half, headers=headers), 422)
    files = [("file", ("half.png", half)), ("file", ("text.png", b"hello"))]
    assert error(client.post(PREDICT, files=files), 422).startswith("half.png: the image is damaged")


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("topk=1", "there is no query parameter 'topk'; did you mean 'top_k'? (there are top_k, "),
        ("top_k=1&top_k=2", "given twice"),
        ("top_k=0", "top_k is '0': give a whole number from 1 to 99999"),
        ("min_familiarity=nan", "min_familiarity is 'nan': give a number from 0 to 1"),
        ("prepare=some", "prepare is 'some': give auto or none"),
    ],
)
def test_wrong_query_parameters(client: httpx.Client, query: str, says: str):
    content = png(np.zeros((8, 8), np.uint8))
    response = client.post(f"{PREDICT}?{query}", content=content, headers={"Content-Type": "image/png"})
    assert says in error(response, 400)


def test_refusals_say_what_to_do(client: httpx.Client):
    assert error(client.get(PREDICT), 405) == "this path does not take the method: use POST"
    response = client.post(PREDICT, content=b"--x\r\n", headers={"Content-Type": "multipart/form-data"})
    assert "send a whole multipart/form-data body, as `curl -F file=@picture.png` does" in error(response, 400)
    many = [("file", (f"{i}.png", b"x")) for i in range(300)]
    said = error(client.post(PREDICT, files=many), 400)
    assert "Maximum number of files is 256" in said
    assert "whole" not in said  # nothing is wrong with the form


def test_a_bad_picture_does_not_lose_the_others(client: httpx.Client, digits, torch_classes):
    files = [("file", (f"{i}.png", png(digits[0][i, 0].numpy()))) for i in range(5)]
    files[1] = ("file", ("text.png", b"hello"))
    files[3] = ("file", ("bomb.png", large_png()))
    predictions = client.post(f"{PREDICT}?top_k=1", files=files).json()["predictions"]
    assert [p["index"] for p in predictions] == [0, 1, 2, 3, 4]
    assert [p["classes"][0]["class"] for p in predictions if "classes" in p] == [torch_classes[i] for i in (0, 2, 4)]
    assert (predictions[1]["file"], predictions[1]["code"]) == ("text.png", "undecodable_image")
    assert "not a PNG or JPEG" in predictions[1]["error"]
    assert predictions[3]["code"] == "picture_too_large"


def large_png() -> bytes:
    """Return a PNG of 10,000 × 10,000 pixels in a few kilobytes."""
    buffer = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_picture_of_too_many_pixels(client: httpx.Client):
    response = client.post(PREDICT, content=large_png(), headers={"Content-Type": "image/png"})
    assert "at most 25,000,000" in error(response, 413)


def test_bodies_of_another_kind(client: httpx.Client):
    assert "send image/png or image/jpeg" in error(client.post(PREDICT, data={"a": "b"}), 415)
    assert "not stated" in error(client.post(PREDICT), 415)
    assert "no part named 'file'" in error(client.post(PREDICT, files={"picture": b"x"}), 400)
    error(client.post(PREDICT, content=b"--x", headers={"Content-Type": "multipart/form-data"}), 400)
    too_many = [("file", (f"{i}.png", b"x")) for i in range(300)]
    assert "256" in error(client.post(PREDICT, files=too_many), 400)


@pytest.mark.parametrize("path", [PREDICT, "/v2/models/digits_cnn/infer", "/classify"])
@pytest.mark.parametrize("declared", [True, False])
def test_a_body_of_100_mb_is_refused(client: httpx.Client, served: httpx.Client, path: str, declared: bool):
    """Send it with its length declared, and in chunks without a length."""
    chunk = bytes(2**20)
    chunks = (chunk for _ in range(100))
    content = b"".join(chunks) if declared else chunks
    kind = {"classify": "application/json", "infer": "application/json", "predict": "image/png"}[path.rsplit("/", 1)[1]]
    asked = served if path == "/classify" else client
    assert "larger than 33,554,432 bytes" in error(
        asked.post(path, content=content, headers={"Content-Type": kind}), 413
    )
    assert asked.get("/readyz").status_code == 200


def test_the_clients_own_request_id_comes_back_if_it_is_harmless(client: httpx.Client):
    assert client.get("/models", headers={"X-Request-ID": "abc-1"}).headers["x-request-id"] == "abc-1"
    assert client.get("/nothing", headers={"X-Request-ID": "abc-1"}).json()["request_id"] == "abc-1"
    assert client.get("/models", headers={"X-Request-ID": "a\tb"}).headers["x-request-id"] != "a\tb"


def test_the_service_listens_on_loopback_only(served: httpx.Client):
    """Linux routes all of 127.0.0.0/8 to loopback: a socket bound to 0.0.0.0 would answer on 127.0.0.2."""
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.2", served.base_url.port)) != 0


def test_many_at_once_get_each_their_own_answer(client: httpx.Client, digits, torch_classes):
    def ask(i: int) -> int:
        body = png(digits[0][i, 0].numpy())
        response = client.post(f"{PREDICT}?top_k=1", content=body, headers={"Content-Type": "image/png"})
        return response.json()["predictions"][0]["classes"][0]["class"]

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, range(200))) == torch_classes[:200]


def test_a_file_changed_under_the_service_is_not_passed_off_as_the_old_one(trained: Path, tmp_path: Path):
    zoo = tmp_path / "zoo"
    shutil.copytree(trained / "zoo", zoo)
    with in_process(zoo, rescan=0) as own:
        path = zoo / "digits_cnn/2/model.onnx"
        path.write_bytes(path.read_bytes() + b"\0")
        assert "has changed on disk" in (said := error(own.get("/models/digits_cnn.onnx"), 503))
        assert "restart the service" in said  # it does not look at its folder again


def test_an_empty_zoo_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("HOST", "PORT", "ZOO", "WORKERS"):  # serve sets them for BentoML
        monkeypatch.setenv(f"CNNZOO_{name}", "")
    text = refused("serve", "--zoo", str(tmp_path), "--port", str(free_port()), cwd=tmp_path)
    assert f"no model to serve in {tmp_path}" in text
    assert "cnnzoo export" in text


def test_a_models_card_is_all_that_is_in_its_file(client: httpx.Client, trained: Path):
    card = read_card(trained / "zoo/digits_cnn/1/model.onnx")
    listed = next(m for m in client.get("/models").json()["models"] if m["version"] == 1)
    shown = client.get(listed["links"]["card"]).json()
    assert shown | listed == shown
    assert shown["confusion_matrix"] == card.confusion_matrix
    assert shown["robustness"] == card.robustness
    assert shown["config"] == card.config
    assert shown["training"]["epochs"] == 8
    assert client.get("/models/digits_cnn").json()["version"] == 2
    assert "no model is called 'pets'" in error(client.get("/models/pets"), 404)


def test_after_a_late_answer_the_other_images_are_not_decoded(trained: Path, monkeypatch: pytest.MonkeyPatch):
    decoded = []

    def slowly(*arguments: Any) -> np.ndarray:
        decoded.append(time.monotonic())
        time.sleep(0.1)
        return read_input(*arguments)

    monkeypatch.setattr("cnnzoo.serve.routes.predict.read_input", slowly)
    files = [("file", (f"{n}.png", png(np.zeros((8, 8), np.uint8)))) for n in range(16)]
    with in_process(trained / "zoo", timeout=0.35) as client:
        error(client.post("/v1/models/digits_cnn/predict", files=files), 504)
        begun = len(decoded)
        time.sleep(0.5)
    assert 2 <= begun <= len(decoded) <= begun + 1
