"""Test the shipped models: intact, calibrated, as accurate as their cards say, loadable, and served."""

import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import skimage
import tables
import torch
from helpers import in_process, module_outputs, png
from PIL import Image, ImageOps

from cnnzoo.commands import verify
from cnnzoo.commands.cards import Entry
from cnnzoo.commands.export import MAX_ACCURACY_DROP
from cnnzoo.commands.measure import measure
from cnnzoo.contract.card import Preparation
from cnnzoo.contract.checksums import read_checksums
from cnnzoo.contract.images import to_input
from cnnzoo.contract.model_file import read_card
from cnnzoo.contract.zoo_folder import SHIPPED, ModelId, ZooFolder, find_file
from cnnzoo.datamodules import DATASETS, MNISTDataModule
from cnnzoo.models import ImageClassifier, create_model
from cnnzoo.models.export import OnnxFile, check_parity, torch_answers
from cnnzoo.serve.inspector import Inspector
from cnnzoo.serve.session import Session

ENTRIES = tables.shipped()
# Test accuracy that each must have; of `cifar10_speednet` that of the long recipe.
LEAST = {
    "digits_cnn": 0.99, "mnist_tiny": 0.9945, "mnist_cnn": 0.9955, "mnist_speednet": 0.997, "cifar10_cnn": 0.79,
    "cifar10_resnet20": 0.885, "cifar10_speednet": 0.927,
}  # fmt: skip
# Mean accuracy over six kinds of corruption; `at` some severity: the least of a kind.
SIX = ("noise", "blur", "jpeg", "brightness", "rotation", "translation")
LEAST_CORRUPTED = {
    "digits_cnn": 0.95, "mnist_tiny": 0.95, "mnist_cnn": 0.98, "mnist_speednet": 0.98, "cifar10_cnn": 0.72,
    "cifar10_resnet20": 0.775, "cifar10_speednet": 0.87,
}  # fmt: skip
LEAST_AT = {
    "mnist_cnn": {("brightness", 5): 0.98},
    "mnist_speednet": {("noise", 5): 0.95},
    "cifar10_speednet": {("noise", 1): 0.90, ("noise", 2): 0.87},
}
NOISE = ("uniform noise", "smooth noise", "flat")
# Share of unfamiliar images that is flagged, at least.
LEAST_FLAGGED = {
    **{
        name: {"CIFAR-10": 0.97, **dict.fromkeys(NOISE, 0.99)}
        for name in ("digits_cnn", "mnist_tiny", "mnist_cnn", "mnist_speednet")
    },
    "cifar10_cnn": {"MNIST": 0.6, "uniform noise": 0.8},
    "cifar10_resnet20": {"MNIST": 0.85, "shuffled patches": 0.85, "uniform noise": 0.99},
    "cifar10_speednet": {"MNIST": 0.85, "shuffled patches": 0.85, "uniform noise": 0.99},
}
of_each = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.card.name)
of_each_network = pytest.mark.parametrize(
    "entry", [e for e in ENTRIES if e.card.precision == "fp32"], ids=lambda entry: entry.card.name
)


def test_all_exist_and_are_small_enough_to_be_cloned():
    assert {entry.card.name for entry in ENTRIES} >= LEAST.keys()
    assert len({entry.card.name for entry in ENTRIES}) == len(ENTRIES), "one version of each"
    assert sum(entry.size for entry in ENTRIES) <= 45e6
    assert {ModelId.from_path(entry.path).path for entry in ENTRIES} <= read_checksums(SHIPPED).keys()
    assert ZooFolder(SHIPPED).missing() == []


@of_each
def test_each_is_intact(entry: Entry):
    assert {result.check: result.wrong for result in verify.verify(entry.path)} == {
        "SHA-256": "", "contract": "", "ONNX": "",
    }  # fmt: skip


@of_each
def test_each_is_good_enough_and_says_how_it_was_made(entry: Entry):
    card = entry.card
    assert card.metrics["calibration_error"] <= 0.01
    least = LEAST[card.name.removesuffix(f"_{card.precision}")]
    assert card.metrics["accuracy"] >= (least if card.precision == "fp32" else least - MAX_ACCURACY_DROP)
    assert card.robustness is not None
    assert len(card.commit or "") == 40  # of a clean working tree
    assert card.training["command"].startswith(("train.py fit --config ", "cnnzoo fit --config "))
    assert {"epochs", "seconds", "hardware", "commit"} <= card.training.keys()
    assert not re.search(r"[\" =]/", card.to_json()), "a path of the machine that made it"
    if card.name.startswith("cifar10"):
        assert "CIFAR-10 (JPEG q75)" in card.summary


@pytest.mark.parametrize("entry", [e for e in ENTRIES if e.card.familiarity], ids=lambda entry: entry.card.name)
def test_each_knows_what_it_has_not_seen(entry: Entry):
    card = entry.card
    assert card.familiarity
    # Of 360 digits, one in a hundred is the standard error.
    assert card.familiarity["flagged"] == pytest.approx(0.05, abs=0.02 if card.metrics["n"] < 1000 else 0.01)
    found = {kind: row["flagged"] for kind, row in card.familiarity["strangers"].items()}
    for kind, least in LEAST_FLAGGED[card.name.removesuffix(f"_{card.precision}")].items():
        assert found[kind] >= least, kind


@pytest.mark.parametrize(
    "entry",
    [e for e in ENTRIES if e.card.familiarity and e.card.precision == "fp32"],
    ids=lambda entry: entry.card.name,
)
def test_each_withstands_corruption(entry: Entry):
    card = entry.card
    assert card.robustness is not None
    found = card.robustness["accuracy"]
    assert np.mean([found[kind] for kind in SIX]) >= LEAST_CORRUPTED[card.name]
    for (kind, severity), least in LEAST_AT.get(card.name, {}).items():
        assert found[kind][severity - 1] >= least, (kind, severity)
    if card.name == "cifar10_speednet":
        assert min(found[kind][-1] for kind in SIX) >= 0.6
        assert min(row[-1] for row in found.values()) >= 0.55  # motion blur


@functools.cache
def network(path: Path, name: str) -> ImageClassifier:
    return create_model(name, pretrained=path)


@functools.cache
def inspector(path: Path) -> Inspector:
    return Inspector(path.read_bytes())


@of_each_network
def test_each_comes_back_into_torch(entry: Entry):
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (16, *entry.card.input_shape), np.uint8))
    model = network(entry.path, entry.card.name)
    check_parity(OnnxFile(entry.path.read_bytes()).answers(images), torch_answers(model, images))


@of_each_network
def test_the_maps_of_each_are_those_of_torchs_modules(entry: Entry):
    image = np.random.default_rng(0).integers(64, 192, entry.card.input_shape, np.uint8)
    inside = inspector(entry.path)
    found = inside.values(image, list(inside.layers)[1:-1])  # without pixels and softmax
    expected = module_outputs(network(entry.path, entry.card.name), torch.from_numpy(image[None]))
    for (name, maps), output in zip(found.items(), expected, strict=True):
        np.testing.assert_allclose(maps.reshape(output[0].shape), output[0], rtol=0, atol=1e-4, err_msg=name)


@of_each
def test_the_probabilities_of_each_follow_from_its_last_dense_layer(entry: Entry):
    inside = inspector(entry.path)
    *_, dense, softmax = inside.layers.values()
    image = np.random.default_rng(0).integers(64, 192, entry.card.input_shape, np.uint8)
    values = inside.values(image, [dense.name, softmax.name])
    scaled = np.exp(values[dense.name].ravel() / softmax.temperature)
    if not softmax.further_views:  # of noise, the mean over several views counts
        np.testing.assert_allclose(scaled / scaled.sum(), values[softmax.name].ravel(), atol=1e-5)


@pytest.mark.slow
@pytest.mark.data
@of_each
def test_each_classifies_as_many_test_images_correctly_as_its_card_says(entry: Entry, data_dir: Path):
    """Measure like `cnnzoo verify --metrics`, without the corrupted images, which take long."""
    kind = entry.card.config["data"]["class_path"].rpartition(".")[2]
    images, labels = DATASETS[kind](data_dir=data_dir).load(train=False)
    answers = OnnxFile(entry.path.read_bytes()).answers(images)
    again = measure(answers, labels)
    assert again["metrics"]["accuracy"] == entry.card.metrics["accuracy"]
    assert again["confusion_matrix"] == entry.card.confusion_matrix
    familiarity = answers[2]
    assert 0 <= familiarity.min() <= familiarity.max() <= 1


@pytest.fixture(scope="module")
def service(shipped: Path) -> Iterator[httpx.Client]:
    with in_process(shipped) as client:
        yield client


def test_the_service_has_them_all_by_itself(service: httpx.Client):
    listed = service.get("/models").json()
    assert {model["name"] for model in listed["models"]} == {entry.card.name for entry in ENTRIES}
    assert listed["refused"] == {}
    for entry in ENTRIES:
        assert service.get(f"/models/{entry.card.name}.onnx").content == entry.path.read_bytes()


def test_the_service_knows_the_pages_photos(service: httpx.Client):
    correct: dict[str, int] = {}
    photos = sorted((Path(__file__).parent.parent / "serve/page/examples").glob("*.jpg"))
    for photo in photos:
        for name in ("cifar10_cnn", "cifar10_speednet"):
            answer = service.post(f"/v1/models/{name}/predict", files={"file": photo.read_bytes()}).json()
            correct[name] = correct.get(name, 0) + (answer["predictions"][0]["classes"][0]["label"] == photo.stem)
    assert correct["cifar10_speednet"] >= correct["cifar10_cnn"] >= len(photos) - 2


@pytest.mark.parametrize("page", ["README.md", "docs/service.md"])
def test_the_answer_in_the_docs_is_that_of_the_service(service: httpx.Client, page: str):
    root = Path(__file__).parent.parent
    shown = next(block for block in (root / page).read_text().split("```json\n") if '"predictions"' in block)
    cat = (root / "serve/page/examples/cat.jpg").read_bytes()
    answer = service.post("/v1/models/cifar10_speednet/predict", files={"file": cat}).json()
    (found,) = answer["predictions"]
    expected = [(c["label"], str(c["class"]), f"{c['probability']:.4f}") for c in found["classes"]]
    classes = re.findall(r'"label": "(\w+)", "class": (\d+), "probability": ([\d.]+)', shown)
    assert classes == expected[: len(classes)]
    assert classes
    assert f'"version": {answer["version"]}' in shown
    assert f'"familiarity": {found["familiarity"]:.4f}, "unfamiliar": false' in shown


def test_a_photo_of_ones_own_is_familiar_if_it_shows_a_known_class(service: httpx.Client):
    """A sharp photo of a cat, 451 pixels wide. Noise of the network's size is not familiar."""
    cat = Image.open(Path(skimage.__file__).parent / "data/chelsea.png").convert("RGB")
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    files = [("file", (f"{number}.png", png(picture))) for number, picture in enumerate((np.asarray(cat), noise))]
    for name in ("cifar10_cnn", "cifar10_resnet20", "cifar10_speednet", "cifar10_speednet_int8"):
        seen, unseen = service.post(f"/v1/models/{name}/predict", files=files).json()["predictions"]
        assert seen["classes"][0]["label"] == "cat"
        assert (seen["unfamiliar"], unseen["unfamiliar"]) == (False, True), name


@of_each
def test_each_answers_from_no_image_to_many(entry: Entry):
    images = np.random.default_rng(0).integers(0, 256, (3, *entry.card.input_shape), np.uint8)
    session = Session(entry.path.read_bytes())
    for count in (0, 1, 3):
        outputs = session.run(images[:count])
        assert [output.shape for output in outputs] == [(count, 10), (count, 10), (count,)]


def test_the_service_reads_held_out_digits(service: httpx.Client, digits: tuple):
    """Send 8×8 digits of the test split. The service frames them for the networks trained on MNIST."""
    images, labels = digits
    files = [("file", (f"{i}.png", png(np.kron(images[i, 0].numpy(), np.ones((8, 8), np.uint8))))) for i in range(64)]
    for name, least in (("digits_cnn", 0.95), ("mnist_cnn", 0.8), ("mnist_speednet", 0.8)):
        answer = service.post(f"/v1/models/{name}/predict?top_k=1", files=files).json()
        found = [int(prediction["classes"][0]["class"]) for prediction in answer["predictions"]]
        assert np.mean(np.array(found) == labels[:64].numpy()) >= least, (name, json.dumps(found))


@pytest.mark.parametrize(("top", "left"), [(0, 0), (0, 12), (12, 0), (12, 12)])
def test_what_mattered_is_where_the_digit_is(service: httpx.Client, digits: tuple, top: int, left: int):
    page = np.zeros((28, 28), np.uint8)
    page[top : top + 16, left : left + 16] = np.kron(digits[0][0, 0].numpy(), np.ones((2, 2), np.uint8))
    url, headers = "/v1/models/mnist_cnn/explain?prepare=none", {"Content-Type": "image/png"}
    drops = np.array(service.post(url, content=png(page), headers=headers).json()["drops"])
    row, column = (np.indices(drops.shape) + 0.5) * 28 / len(drops)
    near = (row > top - 4) & (row < top + 20) & (column > left - 4) & (column < left + 20)
    assert drops[near].max() > 0.2
    assert np.abs(drops[~near]).max() < 1e-4


@pytest.mark.data
@pytest.mark.parametrize(("name", "least"), [("mnist_cnn", 0.98), ("digits_cnn", 0.8)])
def test_framing_lets_the_networks_read_handwriting_on_a_page(name: str, least: float, data_dir: Path):
    images, labels = MNISTDataModule(data_dir=data_dir).load(train=True)
    rng = np.random.default_rng(0)
    pages = []
    for digit in images[:200, 0].numpy():
        page = Image.new("L", (320, 280), 255)
        ink = ImageOps.invert(Image.fromarray(digit).resize((140, 140), Image.Resampling.BICUBIC))
        page.paste(ink, (int(rng.integers(0, 180)), int(rng.integers(0, 140))))
        pages.append(page)
    path = find_file(name, SHIPPED)
    card, file = read_card(path), OnnxFile(path.read_bytes())

    def accuracy(prepare: Preparation) -> float:
        inputs = np.stack([to_input(page, card.input_shape, prepare) for page in pages])
        logits = file.answers(torch.from_numpy(inputs))[0]
        return float((logits.argmax(1) == labels[:200]).double().mean())

    assert accuracy(card.prepare) >= least
    assert accuracy("photo") <= 0.2
