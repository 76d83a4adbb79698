"""Test the Open Inference Protocol over HTTP."""

import json

import httpx
import numpy as np
import pytest
from helpers import error

INFER = "/v2/models/digits_cnn/infer"


def tensor(data: object, shape: list[int], **changes: object) -> dict:
    return {"inputs": [{"name": "images", "datatype": "UINT8", "shape": shape, "data": data, **changes}]}


ZEROS = tensor([0] * 64, [1, 1, 8, 8])


def test_health_and_index(client: httpx.Client):
    assert client.get("/v2").json()["name"] == "cnnzoo"
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get("/v2/models/digits_cnn/ready").json()["ready"] is True
    index = client.post("/v2/repository/index").json()
    assert {(m["name"], m["version"], m["state"]) for m in index} == {
        ("digits_cnn", "1", "READY"),
        ("digits_cnn", "2", "READY"),
    }


def test_metadata(client: httpx.Client):
    assert client.get("/v2/models/digits_cnn").json() == {
        "name": "digits_cnn",
        "versions": ["1", "2"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "images", "datatype": "UINT8", "shape": [-1, 1, 8, 8]}],
        "outputs": [
            {"name": "logits", "datatype": "FP32", "shape": [-1, 10]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]},
            {"name": "familiarity", "datatype": "FP32", "shape": [-1]},
        ],
    }
    error(client.get("/v2/models/nothing"), 404)


def test_a_compressed_body_is_refused_by_name(client: httpx.Client):
    response = client.post(INFER, content=b"x", headers={"Content-Encoding": "gzip"})
    assert "the body is compressed (gzip): send it as it is" in error(response, 415)


def test_many_lists_are_refused_before_they_are_parsed(client: httpx.Client):
    """They take twenty times their bytes. As many as the largest request needs are read."""
    head = '{"inputs": [{"name": "images", "datatype": "UINT8", "shape": [1, 1, 8, 8], "data": ['
    for many in ("[],", '"ab",', "{},", "[" * 5):
        body = head + (many * 20_000)[:-1] + "]}]}"
        assert "more lists and texts" in error(client.post(INFER, content=body), 400)
    images = np.zeros((1024, 1, 8, 8), np.uint8)
    assert client.post(INFER, json=tensor(images.tolist(), [1024, 1, 8, 8])).is_success


def test_infer_flat_and_nested_data_alike(client: httpx.Client, digits):
    images = digits[0][:3].numpy()
    flat = client.post(INFER, json={**tensor(images.ravel().tolist(), [3, 1, 8, 8]), "id": "q1"}).json()
    nested = client.post(INFER, json=tensor(images.tolist(), [3, 1, 8, 8])).json()
    assert (flat["id"], flat["model_name"], flat["model_version"]) == ("q1", "digits_cnn", "2")
    assert flat["outputs"] == nested["outputs"]
    by_name = {o["name"]: np.array(o["data"]).reshape(o["shape"]) for o in flat["outputs"]}
    temperature = client.get("/models/digits_cnn").json()["temperature"]
    exponents = np.exp(by_name["logits"] / temperature)
    np.testing.assert_allclose(by_name["probabilities"], exponents / exponents.sum(1, keepdims=True), atol=1e-6)


def test_only_the_outputs_asked_for_and_a_version(client: httpx.Client):
    call = {**ZEROS, "outputs": [{"name": "probabilities"}]}
    answer = client.post("/v2/models/digits_cnn/versions/1/infer", json=call).json()
    assert [o["name"] for o in answer["outputs"]] == ["probabilities"]
    assert answer["model_version"] == "1"


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ([], "list of one tensor"),
        ({}, "list of one tensor"),
        ({"inputs": []}, "list of one tensor"),
        (tensor([0] * 64, [1, 1, 8, 8], name="x"), "it is called 'images'"),
        (tensor([0] * 64, [1, 1, 8, 8], datatype="FP32"), "UINT8"),
        (tensor([0] * 81, [1, 1, 9, 9]), "expected [N, 1, 8, 8]"),
        (tensor([0] * 64, [1, 64]), "expected [N, 1, 8, 8]"),
        (tensor([], [0, 1, 8, 8]), "N from 1 to 1024"),
        (tensor([0] * 64, [True, 1, 8, 8]), "expected [N"),
        (tensor([0] * 64, [2**40, 1, 8, 8]), "N from 1 to 1024"),
        (tensor([0] * 63, [1, 1, 8, 8]), "holds 63 values"),
        (tensor([[0] * 8] * 8, [1, 1, 8, 8]), "in shape [8, 8]"),
        (tensor([[0], [0, 1]], [1, 1, 8, 8]), "ragged"),
        (tensor([0.5] * 64, [1, 1, 8, 8]), "whole numbers from 0 to 255"),
        (tensor([256] * 64, [1, 1, 8, 8]), "whole numbers from 0 to 255"),
        (tensor([-1] * 64, [1, 1, 8, 8]), "whole numbers from 0 to 255"),
        (tensor([2**70] * 64, [1, 1, 8, 8]), "whole numbers from 0 to 255"),
        (tensor(["a"] * 64, [1, 1, 8, 8]), "whole numbers from 0 to 255"),
        (tensor([True] * 64, [1, 1, 8, 8]), "whole numbers from 0 to 255"),
        (tensor(None, [1, 1, 8, 8]), "is no list"),
        ({**ZEROS, "outputs": [{"name": "classes"}]}, "no output 'classes'"),
        ({**ZEROS, "outputs": "logits"}, "no output"),
        ({**ZEROS, "outputs": [{"name": "logits"}] * 2}, "more than once"),
    ],
)
def test_what_is_wrong_is_said(client: httpx.Client, call: object, says: str):
    assert says in error(client.post(INFER, json=call), 400)


def test_lone_surrogates_are_only_text(client: httpx.Client):
    body = json.dumps({**ZEROS, "id": "\ud800"}).encode()
    assert client.post(INFER, content=body).json()["id"] == "\ud800"
    body = json.dumps(tensor([0] * 64, "\ud800")).encode()  # type: ignore[arg-type]
    assert "expected [N, 1, 8, 8]" in error(client.post(INFER, content=body), 400)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 10_000])
def test_what_is_no_json(client: httpx.Client, body: bytes):
    assert "not JSON" in error(client.post(INFER, content=body), 400)
