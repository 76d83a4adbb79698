"""Test the protocol's bytes: binary tensors, raw pixels, classification, and arbitrary input."""

import json
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnzoo.contract.card import ModelCard
from cnnzoo.serve.errors import ApiError
from cnnzoo.serve.tensors import Call, Output, read, write

CARD = ModelCard("digits_cnn", 1, tuple("0123456789"), (1, 8, 8))
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 1, 8, 8), dtype=np.uint8)


def request(rest: bytes = PIXELS.tobytes(), n: int = 3, size: object = 192, **more: object) -> tuple[bytes, str]:
    tensor = {"name": "images", "datatype": "UINT8", "shape": [n, 1, 8, 8], "parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [tensor], **more}).encode()
    return head + rest, str(len(head))


def refusal(body: bytes, header_length: str | None) -> str:
    with pytest.raises(ApiError) as caught:
        read(body, header_length, CARD)
    assert caught.value.status == 400
    return str(caught.value)


def test_binary_and_raw_pixels_are_the_json_ones():
    as_json = json.dumps(
        {"inputs": [{"name": "images", "datatype": "UINT8", "shape": [3, 1, 8, 8], "data": PIXELS.ravel().tolist()}]}
    )
    for call in (read(*request(), CARD), read(PIXELS.tobytes(), "0", CARD), read(as_json.encode(), None, CARD)):
        assert call.images.dtype == np.uint8
        np.testing.assert_array_equal(call.images, PIXELS)


def test_outputs_are_as_they_were_asked_for():
    both = (Output("logits"), Output("probabilities"))
    assert read(*request(), CARD).outputs == both
    in_binary = tuple(Output(o.name, binary=True) for o in both)
    assert read(*request(parameters={"binary_data_output": True}), CARD).outputs == in_binary
    assert read(PIXELS.tobytes(), "0", CARD).outputs == in_binary
    asked = [
        {"name": "logits", "parameters": {"binary_data": False}},
        {"name": "probabilities", "parameters": {"classification": 2}},
    ]
    call = read(*request(parameters={"binary_data_output": True}, outputs=asked), CARD)
    assert call.outputs == (Output("logits"), Output("probabilities", True, 2))


@pytest.mark.parametrize("binary", [False, True])
def test_an_answer_holds_the_very_numbers(binary: bool):
    rng = np.random.default_rng(1)
    logits, probabilities = rng.normal(size=(2, 3, 10)).astype(np.float32)
    call = Call(PIXELS, (Output("probabilities", binary), Output("logits")), "q")
    body, length = write(call, CARD, (logits, probabilities))
    answer = json.loads(body[:length])
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("q", "digits_cnn", "1")
    first, second = answer["outputs"]
    assert second["data"] == logits.ravel().tolist()
    if binary:
        assert first["parameters"] == {"binary_data_size": 120}
        got = np.frombuffer(body[length:], "<f4")
    else:
        assert length is None
        got = np.array(first["data"], np.float32)
    np.testing.assert_array_equal(got.reshape(first["shape"]), probabilities)


def test_classification_gives_value_index_label():
    probabilities = np.array([[0.1, 0.7, 0.2], [0.5, 0.25, 0.25]], np.float32)
    card = ModelCard("pets", 1, ("cat", "dog", "häm:ster"), (1, 8, 8))
    texts = ["0.700000:1:dog", "0.200000:2:häm:ster", "0.500000:0:cat", "0.250000:1:dog"]
    body, _ = write(Call(PIXELS, (Output("probabilities", classes=2),)), card, (probabilities, probabilities))
    assert json.loads(body)["outputs"] == [
        {"name": "probabilities", "datatype": "BYTES", "shape": [2, 2], "data": texts}
    ]
    body, length = write(Call(PIXELS, (Output("probabilities", True, 2),)), card, (probabilities, probabilities))
    packed, found = body[length:], []
    while packed:
        (size,) = struct.unpack("<I", packed[:4])
        found.append(packed[4 : 4 + size].decode())
        packed = packed[4 + size :]
    assert found == texts


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (request(rest=b""), "0 bytes follow"),
        (request(rest=bytes(191)), "191 bytes follow"),
        (request(rest=bytes(193)), "193 bytes follow"),
        (request(size=191), "binary_data_size is 191"),
        (request(size=-192), "binary_data_size is -192"),
        (request(size=True, rest=b"\0", n=1), "binary_data_size is True"),
        (request(size="192"), "binary_data_size is 192"),
        (request(size=2**70), "binary_data_size"),
        (request(n=2**40), "N from 1 to 1024"),
        (request(n=0, size=0, rest=b""), "N from 1 to 1024"),
        (request(size=None), "no tensor has binary_data_size"),
        (request(parameters=[]), "is a JSON object"),
        (request(outputs=[{"name": "logits", "parameters": {"classification": -1}}]), "how many classes"),
        (request(outputs=[{"name": "logits", "parameters": 3}]), "is a JSON object"),
        ((b"{}", "3"), "is the length of the JSON, of 2 bytes"),
        ((b"{}", "-1"), "is the length of the JSON"),
        ((b"{}", "1e1"), "is the length of the JSON"),
        ((b"{}", "٢"), "is the length of the JSON"),
        ((b"{}", "1"), "not JSON"),
        ((bytes(63), "0"), "an image of [1, 8, 8] has 64"),
        ((b"", "0"), "N from 1 to 1024"),
        ((bytes(64 * 1025), "0"), "N from 1 to 1024"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(body: tuple[bytes, str], says: str):
    assert says in refusal(*body)


def test_data_twice_or_in_shared_memory_is_refused():
    tensor = {"name": "images", "datatype": "UINT8", "shape": [1, 1, 8, 8], "data": [0] * 64}
    head = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": 64}}]}).encode()
    assert "both 'data' and binary_data_size" in refusal(head + bytes(64), str(len(head)))
    head = json.dumps({"inputs": [{**tensor, "parameters": {"shared_memory_region": "r"}}]}).encode()
    assert "shared memory is not served" in refusal(head, None)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 300) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
headers = st.none() | st.sampled_from(["0", "1", "64", "200"]) | st.text(max_size=12) | st.integers().map(str)


def harmless(body: bytes, header_length: str | None) -> None:
    """Check that a body is read as a call for this network or refused with 400."""
    call = refused = None
    try:
        call = read(body, header_length, CARD)
    except ApiError as error:
        refused = error
    if refused:
        assert refused.status == 400
        assert len(str(refused)) < 1000
        return
    assert call is not None
    assert call.images.dtype == np.uint8
    assert call.images.shape[1:] == (1, 8, 8)
    assert 1 <= len(call.images) <= 1024
    zeros = np.zeros((len(call.images), 10), np.float32)
    body, length = write(call, CARD, (zeros, zeros))
    json.loads(body[:length])


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=300), headers)
def test_any_bytes(body: bytes, header_length: str | None):
    harmless(body, header_length)


@pytest.mark.slow
@settings(max_examples=1000, deadline=None)
@given(st.data())
def test_anything_that_resembles_a_call(data: st.DataObject):
    """Draw a valid call, and replace some of its parts."""

    def maybe(right: object) -> object:
        return data.draw(st.just(right) | st.just(right) | st.just(right) | json_values)

    n = data.draw(st.integers(-1, 3))
    parameters = maybe({"binary_data_size": maybe(64 * n)})
    tensor = {
        "name": maybe("images"),
        "datatype": maybe("UINT8"),
        "shape": maybe([n, 1, 8, 8]),
        "parameters": parameters,
    }
    if data.draw(st.booleans()):
        tensor["data"] = maybe([0] * 64 * max(n, 0))
    output = {"name": maybe("logits"), "parameters": maybe({"classification": maybe(3), "binary_data": maybe(True)})}
    call = {"inputs": maybe([maybe(tensor)]), "outputs": maybe([maybe(output)]), "id": maybe("x")}
    head = json.dumps(maybe({**call, "parameters": maybe({"binary_data_output": maybe(True)})})).encode()
    rest = bytes(data.draw(st.sampled_from([0, 64, 128, 192, 65])))
    harmless(head + rest, data.draw(st.sampled_from([str(len(head)), str(len(head)), None, "0"])))


def test_a_long_id_is_refused():
    assert read(*request(id="x" * 256), CARD).id == "x" * 256
    assert "the id has 257 characters: 256 are allowed" in refusal(*request(id="x" * 257))


def test_what_a_client_adds_to_a_tensor_is_not_kept():
    tracemalloc.start()
    try:
        for n in range(512):
            tensor = {"name": "images", "datatype": "UINT8", "shape": [1, 1, 8, 8], "more": [n, *([{}] * 800)]}
            tensor["parameters"] = {"binary_data_size": 64}
            head = json.dumps({"inputs": [tensor]}).encode()
            assert len(head) < 4096
            read(head + bytes(64), str(len(head)), CARD)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 8_000_000  # the JSON itself is 2 MB
