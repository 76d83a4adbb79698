"""Test torchvision's networks as classifiers: sizes, heads, weights from the cache, freezing, and export."""

from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
import torchvision
from helpers import quiet
from lightning import Callback, LightningDataModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from cnnzoo.contract.card import ModelCard
from cnnzoo.models import ImageClassifier, TorchvisionClassifier, create_model
from cnnzoo.models.export import OnnxFile, check_parity, to_onnx, torch_answers, with_card
from cnnzoo.models.head import last_layer
from cnnzoo.models.summary import multiply_adds, summarize

ALL = torchvision.models.list_models(module=torchvision.models)
SHAPE = (3, 40, 40)


class Photos(LightningDataModule):
    """Sixteen random images of three classes."""

    classes = ("a", "b", "c")
    image_shape = SHAPE

    def train_dataloader(self) -> DataLoader:
        rng = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (16, *SHAPE), dtype=torch.uint8, generator=rng)
        return DataLoader(TensorDataset(images, torch.arange(16) % 3), batch_size=8)

    val_dataloader = train_dataloader


def classifier(**kwargs: Any) -> TorchvisionClassifier:
    torch.manual_seed(0)
    return TorchvisionClassifier(**{"weights": None, "input_shape": SHAPE, "num_classes": 3, **kwargs})


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ALL)
def test_every_architecture_answers_with_the_classes(architecture: str):
    with torch.device("meta"):
        model = TorchvisionClassifier(architecture, None, (3, 224, 224), 7).eval()
        assert model(torch.zeros((2, 3, 224, 224), dtype=torch.uint8)).shape == (2, 7)
    assert sum(parameter.numel() for parameter in last_layer(model.network)[1].parameters()) % 7 == 0


@pytest.mark.parametrize(
    ("architecture", "side"),
    [
        ("mobilenet_v3_small", 40),
        ("squeezenet1_1", 33),
        pytest.param("vit_b_16", 48, marks=pytest.mark.slow),
        pytest.param("googlenet", 32, marks=pytest.mark.slow),
    ],
)
def test_images_may_have_any_size_that_it_takes(architecture: str, side: int):
    model = classifier(architecture=architecture, input_shape=(3, side, side)).eval()
    assert model(torch.zeros((2, 3, side, side), dtype=torch.uint8)).shape == (2, 3)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"architecture": "resnet19"}, "did you mean 'resnet18'"),
        ({"weights": "V3"}, "resnet18 has no weights 'V3': expected one of IMAGENET1K_V1, DEFAULT"),
        ({"architecture": "alexnet", "input_shape": (3, 32, 32)}, "alexnet cannot take images of 32 × 32 pixels"),
        ({"architecture": "vit_b_16"}, "vit_b_16 cannot take images of 40 × 40 pixels"),
        ({"freeze": -1}, "freeze is -1"),
    ],
)
def test_senseless_arguments_are_errors(arguments: dict[str, Any], says: str):
    with pytest.raises(ValueError, match=says):
        classifier(**arguments)


def test_a_grey_image_is_seen_as_three_equal_channels():
    model = classifier().eval()
    grey = classifier(input_shape=(1, 40, 40), mean=[0.5], std=[0.2]).eval()
    grey.network[1].load_state_dict(model.network[0].state_dict())
    colored = TorchvisionClassifier(weights=None, input_shape=SHAPE, num_classes=3, mean=[0.5], std=[0.2]).eval()
    colored.network[0].load_state_dict(model.network[0].state_dict())
    images = torch.randint(0, 256, (2, 1, 40, 40), dtype=torch.uint8)
    torch.testing.assert_close(grey(images), colored(images.expand(-1, 3, -1, -1)))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty cache of torchvision's weights. Nothing can be downloaded."""

    def offline(*args: Any, **kwargs: Any) -> None:
        raise URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    folder = tmp_path / "hub/checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_training_starts_from_the_weights_in_the_cache(cache: Path):
    torch.manual_seed(1)
    there = torchvision.models.resnet18().state_dict()
    torch.save(there, cache / "resnet18-f37072fd.pth")
    model = classifier(weights="DEFAULT", optimizer="sgd", learning_rate=0.0)
    before = last_layer(model.network)[1].weight.detach().clone()
    quiet(max_epochs=1).fit(model, Photos())
    own = model.network[0].state_dict()
    compared = [key for key in there if "running" not in key and "num_batches" not in key and not key.startswith("fc.")]
    assert len(compared) == 60
    for key in compared:
        torch.testing.assert_close(own[key], there[key])
    torch.testing.assert_close(own["fc.weight"], before)


def test_weights_that_are_not_there_are_an_error(cache: Path):
    with pytest.raises(
        ValueError,
        match=r"resnet18-f37072fd\.pth there \(TORCH_HOME .*, or train from random weights: --model\.weights null",
    ):
        quiet(max_epochs=1).fit(classifier(weights="DEFAULT"), Photos())


def test_weights_of_another_network_are_an_error(cache: Path):
    torch.save(
        torchvision.models.resnet34().state_dict() | {"conv1.weight": torch.ones(2)}, cache / "resnet18-f37072fd.pth"
    )
    with pytest.raises(ValueError, match=r"do not fit this resnet18: conv1\.weight differ"):
        quiet(max_epochs=1).fit(classifier(weights="DEFAULT"), Photos())


class Watch(Callback):
    """Notes after each epoch which parts of a ResNet have changed in it."""

    def __init__(self) -> None:
        self.changed: list[set[str]] = []
        self.before: dict[str, torch.Tensor] = {}

    def on_train_epoch_start(self, trainer: Trainer, model: Any) -> None:
        self.before = {key: value.clone() for key, value in model.network[0].state_dict().items()}

    def on_train_epoch_end(self, trainer: Trainer, model: Any) -> None:
        now = model.network[0].state_dict()
        self.changed.append({key.split(".")[0] for key in now if not torch.equal(now[key], self.before[key])})


@pytest.mark.slow
def test_layers_start_to_train_from_the_top():
    watch = Watch()
    model = classifier(freeze=2, backbone_rate=0.5, optimizer="sgd", learning_rate=0.01)
    quiet(max_epochs=6, callbacks=[watch]).fit(model, Photos())
    assert watch.changed[:2] == [{"fc"}] * 2
    assert watch.changed[2] == {"fc", "layer4"}
    assert watch.changed[3] == {"fc", "layer4", "layer3"}
    assert watch.changed[5] == {"fc", "layer4", "layer3", "layer2", "layer1", "conv1", "bn1"}
    rates = {group["lr"] for group in model.make_optimizer().param_groups}
    assert rates == {0.01, 0.005}


class Save(Callback):
    """Saves a checkpoint after the first batch."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        if trainer.global_step == 1:
            trainer.save_checkpoint(self.path)


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint")  # its loader starts anew
def test_a_training_that_goes_on_within_an_epoch_is_still_frozen(tmp_path: Path):
    def fit(ckpt_path: Path | None = None) -> TorchvisionClassifier:
        model = classifier(architecture="squeezenet1_1", freeze=1, optimizer="sgd", learning_rate=0.01)
        quiet(max_epochs=1, callbacks=[Save(tmp_path / "saved.ckpt")]).fit(model, Photos(), ckpt_path=ckpt_path)
        return model

    fit()
    after_one_batch = torch.load(tmp_path / "saved.ckpt", weights_only=True)["state_dict"]
    now = fit(tmp_path / "saved.ckpt").state_dict()
    changed = {key.split(".")[2] for key in now if not torch.equal(now[key], after_one_batch[key])}
    assert changed == {"classifier"}


@pytest.mark.filterwarnings("ignore:Found .* module.* in eval mode")  # they are frozen
def test_a_second_fit_of_a_frozen_network_thaws_it():
    model = classifier(architecture="squeezenet1_1", freeze=1, optimizer="sgd", learning_rate=0.01)
    quiet(max_epochs=1).fit(model, Photos())
    before = {key: value.clone() for key, value in model.state_dict().items()}
    quiet(max_epochs=2).fit(model, Photos())  # the second epoch trains the top of the features
    changed = {key.split(".")[2] for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {"classifier", "features"}


@pytest.mark.slow
def test_an_exported_file_comes_back(tmp_path: Path, cache: Path):
    """Its weights are its own: torchvision's are not asked for."""
    model = classifier(architecture="mobilenet_v3_small", weights="DEFAULT").eval()
    images = torch.randint(0, 256, (8, *SHAPE), dtype=torch.uint8)
    arguments = {"architecture": "mobilenet_v3_small", "weights": "DEFAULT", "input_shape": SHAPE, "num_classes": 3}
    config = {"model": {"class_path": "cnnzoo.models.TorchvisionClassifier", "init_args": arguments}}
    card = ModelCard("photos", 1, ("a", "b", "c"), SHAPE, config=config)
    path = tmp_path / "model.onnx"
    path.write_bytes(with_card(to_onnx(model), card))
    again = create_model("torchvision", pretrained=path)
    check_parity(OnnxFile(path.read_bytes()).answers(images), torch_answers(again, images))
    other = create_model("torchvision", pretrained=path, num_classes=5, optimizer="sgd")
    assert isinstance(last_layer(other.network)[1], nn.Linear)
    stem = "network.0.features.0.0.weight"
    torch.testing.assert_close(other.get_parameter(stem), model.get_parameter(stem))


def test_a_network_with_an_unknown_layer_has_all_its_rows():
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU(), nn.Flatten(), nn.Linear(4 * 38 * 38, 3), nn.Identity())
    model = ImageClassifier(layers, SHAPE, 3)
    rows = summarize(model)
    assert [row.kind for row in rows] == ["conv2d", "silu", "flatten", "linear", "identity"]
    assert sum(row.parameters for row in rows) == sum(p.numel() for p in model.parameters())
    assert sum(row.multiply_adds for row in rows) == multiply_adds(model)


def test_the_parts_are_named_and_have_volumes():
    parts = summarize(classifier())
    assert [part.kind for part in parts][:5] == ["conv1", "bn1", "relu", "maxpool", "layer1.0"]
    assert str(parts[4].output) == "10 × 10 × 64"


@pytest.mark.parametrize("name", ["resnet18", "vit_b_16", pytest.param("maxvit_t", marks=pytest.mark.slow)])
def test_the_parts_add_up(name: str):
    size = 224 if name == "maxvit_t" else 64
    model = TorchvisionClassifier(name, weights=None, input_shape=(3, size, size), num_classes=3)
    parts = summarize(model)
    assert sum(part.parameters for part in parts) == sum(p.numel() for p in model.parameters())
    assert sum(part.multiply_adds for part in parts) == multiply_adds(model)


@pytest.mark.slow
def test_the_multiply_adds_of_a_transformer_are_those_of_its_matrices():
    """Counted by hand: patches, and in each of 12 layers query, key and value, attention, projection, and the MLP."""
    network = TorchvisionClassifier("vit_b_16", weights=None, input_shape=(3, 64, 64), num_classes=10)
    tokens, width, hidden = 16 + 1, 768, 3072
    layer = 4 * tokens * width**2 + 2 * tokens**2 * width + 2 * tokens * width * hidden
    assert multiply_adds(network) == 16 * width * 768 + 12 * layer + 10 * width
