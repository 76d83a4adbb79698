"""Test export, the parity gate, and loading weights from exported files."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import onnxruntime as ort
import pytest
import torch
from helpers import copy_of_export, exported, write

import cnnzoo.models
from cnnzoo.contract.card import ModelCard
from cnnzoo.contract.names import ContractError
from cnnzoo.models import ImageClassifier, create_model
from cnnzoo.models.export import OnnxFile, ParityError, check_parity, to_onnx, torch_answers
from cnnzoo.models.pretrained import init_from, load
from cnnzoo.models.variants import to_int8

CARD = ModelCard("digits_cnn", 1, tuple("0123456789"), (1, 8, 8))


@pytest.fixture(scope="module")
def digits_model() -> ImageClassifier:
    """Return an untrained network. Tests must not change it."""
    return exported("digits_cnn")[0]


@pytest.fixture
def proto() -> onnx.ModelProto:
    """Return a copy of its ONNX file."""
    return copy_of_export("digits_cnn")


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(0, 256, (64, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_torch_answers_large_images_a_few_at_a_time(
    digits_model: ImageClassifier, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
):
    whole = torch_answers(digits_model, images)
    sizes: list[int] = []
    monkeypatch.setattr("cnnzoo.models.export.AT_ONCE", 10 * 8 * 8)
    answers = digits_model.answers

    def counted(batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
        sizes.append(len(batch))
        return answers(batch)

    monkeypatch.setattr(digits_model, "answers", counted)
    torch.testing.assert_close(torch_answers(digits_model, images), whole)
    assert sizes == [10] * 6 + [4]


@pytest.mark.parametrize(
    "name", ["digits_cnn", *(pytest.param(name, marks=pytest.mark.slow) for name in ("mnist_cnn", "cifar10_cnn"))]
)
def test_any_batch_size_gives_torchs_probabilities(name: str):
    model, proto = exported(name)
    session = ort.InferenceSession(proto.SerializeToString())
    for n in (1, 2, 7):
        images = torch.randint(0, 256, (n, *model.input_shape), dtype=torch.uint8)
        logits, probabilities = session.run(["logits", "probabilities"], {"images": images.numpy()})
        expected = torch_answers(model, images)[0]
        np.testing.assert_allclose(logits, expected, atol=1e-5)
        np.testing.assert_allclose(probabilities, expected.softmax(1), atol=1e-6)
    assert proto.opset_import[0].version == 18
    assert not any(t.external_data for t in proto.graph.initializer)


@pytest.mark.parametrize("name", ["digits_cnn", pytest.param("mnist_speednet", marks=pytest.mark.slow)])
def test_a_file_says_nothing_of_the_machine_it_was_made_on(name: str):
    content = exported(name)[1].SerializeToString()
    for words in (str(Path(cnnzoo.models.__file__).parent), str(Path(torch.__file__).parent), "pkg."):
        assert words.encode() not in content


@pytest.mark.slow
def test_dropout_is_off_in_the_file_though_the_model_was_training():
    model = create_model("mnist_cnn", dropout=0.9).train()
    images = torch.randint(0, 256, (8, 1, 28, 28), dtype=torch.uint8)
    proto = to_onnx(model)
    assert check_parity(OnnxFile(proto).answers(images), torch_answers(model, images)) < 1e-5


def test_the_gate_stops_a_file_with_one_changed_weight(digits_model, proto, images: torch.Tensor):
    last = next(t for t in proto.graph.initializer if t.name == "network.6.bias")
    changed = onnx.numpy_helper.to_array(last).copy()
    changed[3] += 0.01
    last.CopyFrom(onnx.numpy_helper.from_array(changed, last.name))
    with pytest.raises(ParityError, match=r"a probability off by more than 1e-05 for \d+ \(numbers 0, "):
        check_parity(OnnxFile(proto).answers(images), torch_answers(digits_model, images))


def test_the_gate_stops_nan(proto, images: torch.Tensor):
    model = create_model("digits_cnn")
    last = next(t for t in proto.graph.initializer if t.name == "network.6.bias")
    with torch.no_grad():
        bias = model.network.get_parameter("6.bias")
        bias[0] = float("nan")
        last.CopyFrom(onnx.numpy_helper.from_array(bias.numpy(), last.name))
    with pytest.raises(ParityError):
        check_parity(OnnxFile(proto).answers(images), torch_answers(model, images))


def test_the_card_inside_is_the_card(tmp_path, proto):
    path = write(proto, CARD, tmp_path)
    metadata = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert json.loads(metadata["cnnzoo.card"])["classes"] == list("0123456789")
    assert ModelCard.from_json(metadata["cnnzoo.card"]) == CARD


@pytest.mark.slow
def test_weights_come_back_out_of_the_file(tmp_path, monkeypatch, images: torch.Tensor):
    torch.manual_seed(0)
    model = create_model("digits_cnn", hidden=21)
    config = {"model": {"class_path": "cnnzoo.models.DigitsCNN", "init_args": {"hidden": 21}}}
    path = write(to_onnx(model), ModelCard("digits_cnn", 1, CARD.classes, (1, 8, 8), config=config), tmp_path)
    again = create_model("digits_cnn", pretrained=path)
    assert torch.equal(torch_answers(again, images)[0], torch_answers(model, images)[0])
    monkeypatch.setenv("CNNZOO_ZOO", str(tmp_path))
    assert torch.equal(
        torch_answers(create_model("digits_cnn", pretrained=True), images)[0], torch_answers(model, images)[0]
    )
    with pytest.raises(ValueError, match=r"network\.4\.weight.*differ"):
        create_model("digits_cnn", pretrained=True, hidden=20)
    with pytest.raises(ValueError, match="holds a 'DigitsCNN', mnist_cnn is a MNISTCNN"):
        create_model("mnist_cnn", pretrained=path)
    (tmp_path / "x.onnx").write_text("hello")
    with pytest.raises(ContractError, match="not an ONNX file"):
        create_model("digits_cnn", pretrained=tmp_path / "x.onnx")
    with pytest.raises(FileNotFoundError, match="there is no mnist_cnn in"):
        create_model("mnist_cnn", pretrained=True)


def test_training_from_a_file_begins_without_what_its_export_fitted(trained: Path, images: torch.Tensor):
    path = trained / "zoo/digits_cnn/1/model.onnx"
    exported, begun = create_model("digits_cnn", pretrained=path), create_model("digits_cnn")
    init_from(begun, str(path))
    assert torch.equal(begun(images), exported(images))
    assert exported.temperature != 1
    assert exported.familiarity is not None
    assert begun.temperature == 1
    assert begun.familiarity is None


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model": {"class_path": "DigitsCNN", "init_args": {"hidden": 10**12}}}, "do not fit this DigitsCNN"),
        ({"model": 5}, "no readable model"),
        ({"model": {"init_args": [1]}}, "no readable model"),
    ],
)
def test_a_strangers_card_asks_for_no_memory(tmp_path, proto, config: dict, words: str):
    card = ModelCard("digits_cnn", 1, CARD.classes, (1, 8, 8), config=config)
    path = write(proto, card, tmp_path)
    with pytest.raises(ValueError, match=words):
        create_model("digits_cnn", pretrained=path)


def test_a_file_without_a_card_holds_no_pretrained_weights(tmp_path, proto):
    foreign = tmp_path / "foreign.onnx"
    onnx.save(proto, foreign)
    with pytest.raises(ContractError, match="no model card"):
        load(type(create_model("digits_cnn")), "digits_cnn", foreign, {})


def test_another_number_of_classes_takes_all_but_the_last_layer(tmp_path, caplog, images: torch.Tensor):
    torch.manual_seed(0)
    model = create_model("digits_cnn")
    model.temperature.fill_(0.5)
    path = write(to_onnx(model), CARD, tmp_path)
    again = create_model("digits_cnn", pretrained=path)
    torch.testing.assert_close(again.probabilities(images), (model(images) * 2).softmax(1))
    three = create_model("digits_cnn", pretrained=path, num_classes=3)
    assert (
        "last layer (network.6) is new, with 3 classes instead of 10; the other weights are digits_cnn's, version 1"
        in caplog.text
    )
    assert three(images).shape == (64, 3)
    assert three.temperature == 1
    for key, value in model.state_dict().items():
        assert key.startswith("network.6.") or torch.equal(three.state_dict()[key], value)


def test_an_int8_file_is_for_answering_only(tmp_path, proto, images: torch.Tensor):
    small = ModelCard("digits_cnn_int8", 1, CARD.classes, CARD.input_shape, precision="int8")
    path = write(to_int8(proto, images), small, tmp_path)
    with pytest.raises(ContractError, match="holds int8 weights, which cannot be trained"):
        create_model("digits_cnn", pretrained=path)


@pytest.mark.slow
def test_weights_are_not_taken_for_pixels_scaled_otherwise(tmp_path):
    path = write(to_onnx(create_model("digits_cnn", mean=[0.5], std=[0.25])), CARD, tmp_path)
    with pytest.raises(ValueError, match=r"digits_cnn was trained with pixels' mean \[0.5\]"):
        create_model("digits_cnn", pretrained=path)
    assert create_model("digits_cnn", pretrained=path, mean=[0.5], std=[0.25]).std.item() == 0.25
    colour = to_onnx(create_model("cifar10_cnn", mean=[0.4, 0.5, 0.6]))
    card = ModelCard("cifar10_cnn", 1, CARD.classes, (3, 32, 32), config={"model": {"class_path": "CIFAR10CNN"}})
    path = write(colour, card, tmp_path)
    with pytest.raises(ValueError, match=r"cifar10_cnn was trained with pixels' mean \[0.4, 0.5, 0.6\]"):
        create_model("cifar10_cnn", pretrained=path, mean=[0.5])
