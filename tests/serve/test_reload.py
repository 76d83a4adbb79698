"""Test changes of the zoo folder while the service runs."""

import asyncio
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
from helpers import error, in_process, place

from cnnzoo.serve.bento_routes import OUTER, REFUSED, classify
from cnnzoo.serve.errors import ApiError
from cnnzoo.serve.model import Sessions
from cnnzoo.serve.zoo import Zoo

PIXELS = bytes(64)
TENSOR = {"name": "images", "datatype": "UINT8", "shape": [1, 1, 8, 8], "data": [0] * 64}
RAW = {"Inference-Header-Content-Length": "0"}


@pytest.fixture
def zoo(tmp_path: Path, trained: Path) -> Path:
    """Return a zoo with version 1 of one model."""
    shutil.copytree(trained / "zoo/digits_cnn/1", tmp_path / "zoo/digits_cnn/1")
    return tmp_path / "zoo"


@pytest.fixture
def running(zoo: Path) -> Iterator[httpx.Client]:
    with in_process(zoo, rescan=0.02) as client:
        yield client


def versions(client: httpx.Client) -> list[int]:
    return [m["version"] for m in client.get("/models").json()["models"]]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_versions_come_and_go_without_a_dropped_request(running: httpx.Client, zoo: Path):
    """Four clients send requests throughout. No request fails."""
    answers: list[tuple[int, str]] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            response = running.post("/v2/models/digits_cnn/infer", json={"inputs": [TENSOR]})
            answers.append((response.status_code, response.json().get("model_version", response.text)))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        first = zoo / "digits_cnn/1/model.onnx"
        place(zoo, 2, first)
        until(lambda: versions(running) == [2, 1])
        until(lambda: answers[-1:] == [(200, "2")])
        place(zoo, 3, first)
        until(lambda: answers[-1:] == [(200, "3")])
        shutil.rmtree(zoo / "digits_cnn/3")
        until(lambda: answers[-1:] == [(200, "2")])
        shutil.rmtree(zoo / "digits_cnn/2")
        until(lambda: answers[-1:] == [(200, "1")])
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert {status for status, _ in answers} == {200}, [a for a in answers if a[0] != 200][:3]
    assert {version for _, version in answers} == {"1", "2", "3"}
    assert "has no version '3'" in error(running.get("/v2/models/digits_cnn/versions/3"), 404)


def other_input(proto: onnx.ModelProto) -> None:
    proto.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 9


def test_a_bad_new_version_is_refused_and_the_old_one_stays(running: httpx.Client, zoo: Path):
    place(zoo, 2, zoo / "digits_cnn/1/model.onnx", spoil=other_input)
    broken = zoo / "digits_cnn/3/model.onnx"
    broken.parent.mkdir()
    broken.write_bytes(b"no model")
    until(lambda: len(running.get("/models").json()["refused"]) == 2)
    assert versions(running) == [1]
    assert running.post("/v2/models/digits_cnn/infer", content=PIXELS, headers=RAW).status_code == 200
    shutil.rmtree(zoo / "digits_cnn/2")
    place(zoo, 3, zoo / "digits_cnn/1/model.onnx")
    until(lambda: versions(running) == [3, 1])
    assert running.get("/models").json()["refused"] == {}


def test_a_file_that_was_damaged_is_not_offered_for_another_try(running: httpx.Client, zoo: Path):
    """Answers go on from memory. The download says what is wrong with the file."""
    path = zoo / "digits_cnn/1/model.onnx"
    path.write_bytes(path.read_bytes()[:-100])
    until(lambda: "digits_cnn/1/model.onnx" in running.get("/models").json()["refused"])
    reason = running.get("/models").json()["refused"]["digits_cnn/1/model.onnx"]
    response = running.get("/models/digits_cnn.onnx")
    assert reason in error(response, 503)
    assert int(response.headers["retry-after"]) > 1
    assert running.post("/v2/models/digits_cnn/infer", content=PIXELS, headers=RAW).status_code == 200


def test_a_changed_file_is_taken_in_if_it_is_good(running: httpx.Client, zoo: Path, trained: Path):
    path = zoo / "digits_cnn/1/model.onnx"
    before = running.get("/models/digits_cnn.onnx").headers["etag"]
    logits = running.post("/v2/models/digits_cnn/infer", content=PIXELS, headers=RAW).content

    def brighter(proto: onnx.ModelProto) -> None:
        bias = next(i for i in proto.graph.initializer if i.name.endswith("bias") and list(i.dims) == [10])
        values = onnx.numpy_helper.to_array(bias) + np.arange(10, dtype=np.float32)
        bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))

    place(zoo, 1, path, spoil=brighter)
    until(lambda: running.get("/models/digits_cnn.onnx").headers.get("etag", before) != before)
    assert running.post("/v2/models/digits_cnn/infer", content=PIXELS, headers=RAW).content != logits
    assert running.get("/models/digits_cnn.onnx").content == path.read_bytes()


def test_more_models_than_may_be_loaded(zoo: Path):
    """All are served. A bad file is refused before a request needs it."""
    first = zoo / "digits_cnn/1/model.onnx"
    for n in range(2, 8):
        place(zoo, 1, first, name=f"digits_{n}")
    place(zoo, 1, first, name="zzz", spoil=other_input)
    with in_process(zoo, max_loaded=2, rescan=0) as client:
        assert list(client.get("/models").json()["refused"]) == ["zzz/1/model.onnx"]
        names = [m["name"] for m in client.get("/models").json()["models"]]
        assert names == ["digits_2", "digits_3", "digits_4", "digits_5", "digits_6", "digits_7", "digits_cnn"]
        for name in [*names, *names]:
            answer = client.post(f"/v2/models/{name}/infer", content=PIXELS, headers=RAW)
            assert answer.status_code == 200, answer.text
        # One that is not in memory, and whose file can no longer be loaded.
        (zoo / "digits_2/1/model.onnx").write_bytes(b"not a network")
        wrong = client.post("/v2/models/digits_2/infer", content=PIXELS, headers=RAW)
        assert "digits_2 1 cannot be loaded" in error(wrong, 503)
        assert wrong.headers["retry-after"] == "5"
        assert "digits_2 1 cannot be loaded" in error(client.get("/models/digits_2/layers"), 503)


def test_classify_answers_503_for_a_model_that_can_no_longer_be_loaded(zoo: Path):
    place(zoo, 2, zoo / "digits_cnn/1/model.onnx")
    models = Zoo(zoo, Sessions(max_loaded=1))  # the newest
    (zoo / "digits_cnn/1/model.onnx").write_bytes(b"not a network")
    refused: list[ApiError] = []
    scope: dict[str, Any] = {"app": SimpleNamespace(state=SimpleNamespace(zoo=models)), OUTER: {}, REFUSED: refused}
    asyncio.run(classify(scope, "digits_cnn", np.zeros((1, 1, 8, 8), np.uint8), 1, 3))
    assert "digits_cnn 1 cannot be loaded" in str(refused[0])
    assert refused[0].status == 503
