"""Test the routes that look inside a model."""

import asyncio
import base64
import gc
import io
import shutil
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime
import pytest
from helpers import error, png
from PIL import Image
from starlette.requests import Request

from cnnzoo.contract.card import class_number
from cnnzoo.serve.answers import read_values
from cnnzoo.serve.batcher import Outputs, QueueFull
from cnnzoo.serve.client import Client
from cnnzoo.serve.drawing import over
from cnnzoo.serve.inspector import Inspector, Window
from cnnzoo.serve.inspectors import Inspectors
from cnnzoo.serve.model import FileState, Model, Sessions
from cnnzoo.serve.occlusion import Cover, covered, drops, fill_of
from cnnzoo.serve.routes.compute import compute
from cnnzoo.serve.routes.inspect import _arithmetic
from cnnzoo.serve.zoo import Zoo

PNG = {"Content-Type": "image/png"}
INSPECT = "/v1/models/digits_cnn/inspect"
EXPLAIN = "/v1/models/digits_cnn/explain"


@pytest.fixture(scope="module")
def digit(digits) -> bytes:
    return png(digits[0][0, 0].numpy())


def image_of(url: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/png;base64,")))))


def test_the_layers_are_listed(client: httpx.Client):
    layers = client.get("/models/digits_cnn/layers").json()["layers"]
    assert [layer["name"] for layer in layers] == [
        "pixels", "conv1", "relu1", "pool1", "dense1", "relu2", "dense2", "softmax"
    ]  # fmt: skip
    conv = layers[1]
    assert (conv["volume"], conv["kernel"], conv["padding"]) == ([10, 8, 8], [3, 3], [1, 1, 1, 1])
    assert conv["arithmetic"] == "(8 − 3 + 2·1)/1 + 1 = 8"
    assert conv["parameters"] == 100
    assert np.array(conv["filters"]).shape == (10, 1, 3, 3)
    assert [layer["sources"] for layer in layers[:4]] == [[], ["pixels"], ["conv1"], ["relu1"]]
    assert not {"tensor", "inputs", "weight"} & conv.keys()  # names within the file
    assert sum(layer["multiply_adds"] for layer in layers) == 14_260  # the lecture's


def test_binary_values_are_those_of_the_file(client: httpx.Client, trained: Path, digit: bytes, digits):
    response = client.post(f"{INSPECT}?format=binary&layers=relu1,softmax", content=digit, headers=PNG)
    values = read_values(response)
    content = (trained / "zoo/digits_cnn/2/model.onnx").read_bytes()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (expected,) = session.run(["probabilities"], {"images": digits[0][:1].numpy()})
    np.testing.assert_allclose(values["softmax"].ravel(), expected[0], atol=1e-6)
    assert values["relu1"].shape == (10, 8, 8)
    assert values["relu1"].min() == 0


def test_a_sheet_shows_the_values_on_one_scale(client: httpx.Client, digit: bytes):
    (layer,) = client.post(f"{INSPECT}?layers=conv1", content=digit, headers=PNG).json()["layers"]
    values = read_values(client.post(f"{INSPECT}?format=binary&layers=conv1", content=digit, headers=PNG))["conv1"]
    page, opacity = np.moveaxis(image_of(layer["png"]).astype(float), -1, 0)
    assert layer["columns"] == 4
    assert page.shape == (3 * 9 - 1, 4 * 9 - 1)
    assert opacity[8].max() == 0  # a gap
    assert (opacity > 0).sum() == 10 * 8 * 8
    for number, expected in enumerate(values):
        top, left = 9 * (number // 4), 9 * (number % 4)
        shown = page[top : top + 8, left : left + 8] / 255 * (layer["high"] - layer["low"]) + layer["low"]
        np.testing.assert_allclose(shown, expected, atol=(layer["high"] - layer["low"]) / 500)
    assert len(client.post(INSPECT, content=digit, headers=PNG).json()["layers"]) == 8


def test_a_pixels_arithmetic(client: httpx.Client, digit: bytes):
    said = client.post(f"{INSPECT}?layers=conv1&pixel=3,0,7", content=digit, headers=PNG).json()
    patch, kernel = np.array(said["patch"]), np.array(said["kernel"])
    assert patch.shape == kernel.shape == (1, 3, 3)
    assert not patch[:, 0].any()  # beyond the upper border
    assert (patch * kernel).sum() + said["bias"] == pytest.approx(said["value"], abs=1e-5)
    assert said["field"] == [0, 6, 2, 8]
    pooled = client.post(f"{INSPECT}?layers=pool1&pixel=3,0,1", content=digit, headers=PNG).json()
    assert pooled["kernel"] is None
    assert np.max(pooled["patch"]) == pooled["value"]


@pytest.mark.parametrize(
    ("query", "status", "says"),
    [
        ("layers=conv9", 400, "there is no layer 'conv9' (there are pixels, conv1"),
        ("layers=conv1,conv1", 400, "each once"),
        ("layers=conv1,relu1&pixel=0,0,0", 400, "name that layer alone"),
        ("pixel=0,0,0", 400, "name that layer alone"),
        ("layers=conv1&pixel=0,0", 400, "give a map, a row and a column"),
        ("layers=conv1&pixel=10,0,0", 400, "conv1 has 10 maps of 8 × 8"),
        ("layers=relu1&pixel=0,0,0", 400, "neither a convolution nor a max pooling"),
        ("layer=conv1", 400, "did you mean 'layers'?"),
        ("layers=conv1&pixel=0,0,0&format=binary", 400, "always JSON"),
    ],
)
def test_wrong_questions(client: httpx.Client, digit: bytes, query: str, status: int, says: str):
    assert says in error(client.post(f"{INSPECT}?{query}", content=digit, headers=PNG), status)


def test_spaces_around_names_and_numbers_are_fine(client: httpx.Client, digit: bytes):
    said = client.post(f"{INSPECT}?layers= conv1&pixel=3, 2,7", content=digit, headers=PNG).json()
    assert said["pixel"] == [3, 2, 7]


@pytest.mark.parametrize("path", ["/models", "/models/digits_cnn", "/models/digits_cnn/layers"])
def test_a_path_without_parameters_refuses_any(client: httpx.Client, path: str):
    assert "this path has none" in error(client.get(f"{path}?x=1"), 400)


def test_past_the_border_of_a_pooling_there_are_no_values():
    patch = np.array([[[-np.inf, -1.5], [-np.inf, -2.5]]], np.float32)
    said = _arithmetic("pool1", Window((0, 0, 0), patch, None, 0.0, -1.5, (0, 0, 1, 1)))
    assert said["patch"] == [[[None, -1.5], [None, -2.5]]]


def test_what_is_no_image_is_refused(client: httpx.Client):
    for path in (INSPECT, EXPLAIN):
        assert "send a PNG or a JPEG" in error(client.post(path, content=b"hello", headers=PNG), 422)
        assert "send image/png" in error(client.post(path, content=b"{}"), 415)


def test_a_file_that_cannot_be_opened_says_why(client: httpx.Client, digit: bytes, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("cnnzoo.serve.inspector.MAX_VALUES", 10)
    path = "/v1/models/digits_cnn/versions/1/inspect"
    assert "digits_cnn cannot be looked into" in error(client.post(path, content=digit, headers=PNG), 422)


def test_as_many_inspections_wait_as_may(trained: Path, monkeypatch: pytest.MonkeyPatch):
    path = trained / "zoo/digits_cnn/1/model.onnx"
    model = Model(path, Sessions(), FileState.of(path))
    monkeypatch.setattr("cnnzoo.serve.inspectors.MAX_WAITING", 2)

    async def ask_four() -> list[bool]:
        inspectors, may_end = Inspectors(), threading.Event()
        three = [asyncio.create_task(inspectors.ask(model, lambda _: may_end.wait(30))) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(QueueFull):
            await inspectors.ask(model, lambda _: True)
        may_end.set()
        return await asyncio.gather(*three)

    assert asyncio.run(ask_four()) == [True, True, True]


def test_too_many_inspections_are_refused(client: httpx.Client, digit: bytes, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("cnnzoo.serve.inspectors.MAX_WAITING", -1)
    assert "try again" in error(client.post(INSPECT, content=digit, headers=PNG), 429)
    assert "try again" in error(client.get("/models/digits_cnn/layers"), 429)


def test_an_explanation_lights_up_where_the_digit_is(client: httpx.Client, digit: bytes):
    said = client.post(EXPLAIN, content=digit, headers=PNG).json()
    assert said["method"] == "occlusion"
    assert (said["square"], said["stride"]) == (3, 1)
    found = np.array(said["drops"])
    assert found.shape == (8, 8)
    overlay = image_of(said["png"])
    assert overlay.shape == (256, 256, 3)
    other = client.post(f"{EXPLAIN}?class=3", content=digit, headers=PNG).json()
    assert other["class"]["label"] == "3"
    assert "give one of 0, 1, 2" in error(client.post(f"{EXPLAIN}?class=cat", content=digit, headers=PNG), 400)


def test_a_label_goes_before_a_number():
    assert class_number(["2", "1", "cat"], "2") == 0
    assert class_number(["1", "3", "cat"], "2") == 2
    with pytest.raises(ValueError, match="give one of a, b, or its number"):
        class_number(["a", "b"], "2")


def test_a_wrong_class_costs_no_computation(client: httpx.Client, digit: bytes, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("cnnzoo.serve.routes.explain.compute", None)
    assert "give one of 0, 1" in error(client.post(f"{EXPLAIN}?class=cat", content=digit, headers=PNG), 400)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Collect the number of images of each computation for an explanation."""
    sizes: list[int] = []

    async def counted(model: Model, images: np.ndarray) -> Outputs:
        sizes.append(len(images))
        return await compute(model, images)

    monkeypatch.setattr("cnnzoo.serve.routes.explain.compute", counted)
    return sizes


def test_predictions_get_their_turn_between_the_images_of_an_explanation(
    client: httpx.Client, digit: bytes, asked: list[int]
):
    response = client.post(EXPLAIN, content=digit, headers=PNG)
    assert response.is_success
    assert sum(asked) == 65
    assert max(asked) <= 8
    assert response.headers["server-timing"].count("compute;") == 1


def test_predictions_are_answered_during_an_explanation(
    client: httpx.Client, digit: bytes, asked: list[int], monkeypatch: pytest.MonkeyPatch
):
    run = Model.run

    def slowly(model: Model, images: np.ndarray) -> Outputs:
        time.sleep(0.01)
        return run(model, images)

    monkeypatch.setattr(Model, "run", slowly)
    explanation = threading.Thread(target=lambda: client.post(EXPLAIN, content=digit, headers=PNG))
    explanation.start()
    seen = set()
    while explanation.is_alive():
        assert client.post("/v1/models/digits_cnn/predict", content=digit, headers=PNG).is_success
        seen.add(len(asked))
    assert len(asked) == 9
    assert len(seen - {0, 9}) > 2


def test_an_explanation_stops_when_the_client_hangs_up(
    client: httpx.Client, digit: bytes, asked: list[int], monkeypatch: pytest.MonkeyPatch
):
    async def gone(request: Request) -> bool:
        return len(asked) == 2

    monkeypatch.setattr(Request, "is_disconnected", gone)
    error(client.post(EXPLAIN, content=digit, headers=PNG), 400)
    assert len(asked) == 2


def test_one_explanation_is_computed_at_a_time_and_eight_wait(
    client: httpx.Client, digit: bytes, monkeypatch: pytest.MonkeyPatch
):
    refused: list[str] = []
    copies: list[int] = []
    computing = most = 0

    def counted(*arguments: Any) -> np.ndarray:
        images = covered(*arguments)
        copies.append(len(images))
        return images

    async def slow(model: Model, images: np.ndarray) -> Outputs:
        nonlocal computing, most
        computing += 1
        most = max(most, computing)
        while len(refused) < 3:
            await asyncio.sleep(0.01)
        outputs = await compute(model, images)
        computing -= 1
        return outputs

    def ask(_: int) -> int:
        response = client.post(EXPLAIN, content=digit, headers=PNG)
        if response.status_code == 429:
            refused.append(error(response, 429))
        return response.status_code

    monkeypatch.setattr("cnnzoo.serve.routes.explain.compute", slow)
    monkeypatch.setattr("cnnzoo.serve.routes.explain.covered", counted)
    with ThreadPoolExecutor(12) as pool:
        assert sorted(pool.map(ask, range(12))) == [200] * 9 + [429] * 3
    assert most == 1
    assert all("too many explanations" in text for text in refused)
    assert copies == [64] * 9  # none for those that were refused


@pytest.mark.parametrize("side", [8, 28, 32, 224])
def test_the_map_is_drawn_where_the_covered_pixels_are(side: int):
    """The answer of a stand-in network depends on the pixels around one position of the square alone."""
    cover = Cover.of(side)
    middle = side // cover.stride // 2
    block = slice(middle * cover.stride, (middle + 1) * cover.stride)
    image = np.full((1, side, side), 100, np.uint8)
    images = covered(image, cover, 0)
    found = drops(image, cover, images[:, 0, block, block].mean((1, 2)) / 100, 1.0)
    overlay = np.asarray(over(image, found, cover, 8 * side), float)
    red = overlay[..., 0] - overlay[..., 2]
    rows = np.arange(len(red)) + 0.5
    assert (red.sum(1) * rows).sum() / red.sum() / 8 == pytest.approx((block.start + block.stop) / 2, abs=0.02 * side)


def test_a_weak_change_is_drawn_weakly():
    image, cover = np.zeros((1, 8, 8), np.uint8), Cover.of(8)
    found = np.zeros((8, 8), np.float32)
    found[4, 4] = 0.001
    assert np.asarray(over(image, found, cover)).max() < 5


def test_a_picture_with_a_digit_in_one_corner_lights_up_there():
    """The probability of a stand-in network is the brightness of the lower right quarter."""
    image = np.zeros((1, 28, 28), np.uint8)
    image[:, 16:24, 16:24] = 255
    cover = Cover.of(28)
    images = covered(image, cover, fill_of(image, "mnist"))

    def probability(batch: np.ndarray) -> np.ndarray:
        return batch[:, 0, 14:, 14:].mean((1, 2)) / 255

    found = drops(image, cover, probability(images), float(probability(image[None])[0]))
    row, column = np.unravel_index(found.argmax(), found.shape)
    assert 16 <= cover.stride // 2 + row * cover.stride < 24
    assert 16 <= cover.stride // 2 + column * cover.stride < 24
    assert not found[:5].any()
    assert not found[:, :5].any()


def test_the_drop_of_a_covered_picture_is_the_difference_of_the_two_answers(digits, trained: Path):
    content = (trained / "zoo/digits_cnn/2/model.onnx").read_bytes()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    image = digits[0][0].numpy()
    whole = Cover(square=20, stride=8)  # one position, at the center
    images = covered(image, whole, 0)
    (found,) = session.run(["probabilities"], {"images": np.concatenate([image[None], images])})
    best = int(found[0].argmax())
    (empty,) = session.run(["probabilities"], {"images": np.zeros((1, 1, 8, 8), np.uint8)})
    assert drops(image, whole, found[1:, best], found[0, best])[0, 0] == pytest.approx(
        found[0, best] - empty[0, best], abs=1e-6
    )


def test_the_client_looks_inside(served: httpx.Client, digit: bytes):
    with Client(str(served.base_url)) as own:
        names = [layer["name"] for layer in own.layers("digits_cnn")]
        values = own.inspect("digits_cnn", digit)
        assert list(values) == names
        assert values["softmax"].sum() == pytest.approx(1, abs=1e-5)
        assert list(own.inspect("digits_cnn", digit, ["pool1"])) == ["pool1"]
        assert own.explain("digits_cnn", digit, "7").shape == (8, 8)
        with pytest.raises(TypeError, match="expected a list"):
            own.inspect("digits_cnn", digit, "conv1")


@pytest.mark.parametrize("shape", [(1, 1, 32), (1, 2, 64), (3, 64, 3)])
def test_an_oblong_picture_is_covered_everywhere(shape: tuple[int, int, int]):
    image, cover = np.full(shape, 200, np.uint8), Cover.of(max(shape[1:]))
    images = covered(image, cover, 0)
    assert len(images)
    assert (images.min(0) == 0).all()
    assert drops(image, cover, np.zeros(len(images), np.float32), 1.0).min() == 1


def test_a_replaced_model_does_not_stay_in_memory(trained: Path, tmp_path: Path):
    folder = tmp_path / "zoo"
    shutil.copytree(trained / "zoo", folder)
    inspectors, zoo = Inspectors(), Zoo(folder)

    def look(version: int) -> "weakref.ref[Inspector]":
        model = zoo.get("digits_cnn", version)
        assert model
        return weakref.ref(asyncio.run(inspectors.ask(model, lambda inspector: inspector)))

    opened = [look(1), look(2)]
    assert opened[0]() is not None
    assert look(1)() is opened[0]()
    (folder / "digits_cnn/1/model.onnx").unlink()
    zoo.rescan()
    gc.collect()
    assert opened[0]() is None
    assert opened[1]() is not None
