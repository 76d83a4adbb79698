"""Test familiarity against its definition, computed here with NumPy, and in exported files."""

import copy
import functools

import numpy as np
import onnx
import pytest
import torch
from scipy.fft import dctn
from torch import nn

from cnnzoo.commands.measure import fit_outputs, measure_familiarity
from cnnzoo.contract.card import Familiarity as FamiliarityCard
from cnnzoo.contract.card import ModelCard
from cnnzoo.contract.layer_reader import ancestors
from cnnzoo.contract.model_file import read_model
from cnnzoo.contract.names import ContractError
from cnnzoo.datamodules import DigitsDataModule
from cnnzoo.models import ImageClassifier, SpeedNet, create_model
from cnnzoo.models.export import OnnxFile, check_parity, readings, to_onnx, torch_answers, with_card
from cnnzoo.models.familiarity import Familiarity, channel_statistics, texture
from cnnzoo.models.pretrained import restore
from cnnzoo.models.recalibration import refit_familiarity
from cnnzoo.models.variants import to_fp16, to_int8

STATEMENT = FamiliarityCard(held_out=431, threshold=0.05, flagged=0.05, strangers={})


@pytest.fixture(scope="module")
def data() -> DigitsDataModule:
    data = DigitsDataModule(val_fraction=0.3)
    data.setup("fit")
    return data


@pytest.fixture(scope="module", params=["digits_cnn", pytest.param("speednet", marks=pytest.mark.slow)])
def fitted(request: pytest.FixtureRequest, data: DigitsDataModule) -> ImageClassifier:
    """Return an untrained network, whose outputs are fitted on held-out images."""
    torch.manual_seed(0)
    if request.param == "digits_cnn":
        model: ImageClassifier = create_model("digits_cnn")
    else:
        model = SpeedNet(widths=[8, 16], input_shape=(1, 8, 8), views="flip_shift")
        model.whiten(data.load(train=True)[0])
    fit_outputs(model.eval(), data)
    return model


@pytest.fixture
def proto(fitted: ImageClassifier) -> onnx.ModelProto:
    """Return a copy of its ONNX file."""
    return onnx.load_model_from_string(_exported(fitted))


@functools.cache
def _exported(model: ImageClassifier) -> bytes:
    return to_onnx(model).SerializeToString()


def split(data: DigitsDataModule, name: str) -> torch.Tensor:
    images = data.splits[name]
    return images[:][0]


def test_statistics_are_those_of_numpy():
    volume = torch.rand((3, 4, 5, 6), generator=torch.Generator().manual_seed(0))
    expected = np.concatenate([volume.numpy().mean((2, 3)), volume.numpy().std((2, 3))], axis=1)
    np.testing.assert_allclose(channel_statistics(volume), expected, rtol=1e-5)


def test_a_flat_channel_has_hardly_a_deviation():
    volume = torch.tensor([0.0, 0.1, 3.7]).view(1, 3, 1, 1).expand(1, 3, 14, 14)
    assert channel_statistics(volume)[0, 3:].amax() < 2e-3  # float32 rounds the square of 3.7


def scipys_texture(images: torch.Tensor) -> np.ndarray:
    """Return the texture in double precision."""
    count, channels, height, width = images.shape
    pixels = images.numpy() / 255 - 0.5
    if channels == 3:
        red, green, blue = pixels.transpose(1, 0, 2, 3)
        grey, across, other = (red + green + blue) / 3, (red - blue) / 2, green / 2 - (red + blue) / 4
        pixels = np.stack([grey, across, other], 1)
    corners = [(y, x) for y in range(0, height - 3, 2) for x in range(0, width - 3, 2)]
    squares = [pixels[:, :, y : y + 4, x : x + 4] for y, x in corners]
    strength = np.abs(dctn(np.stack(squares), axes=(3, 4), norm="ortho"))
    mean, deviation = strength.mean(0), strength.std(0)
    return np.concatenate([mean.reshape(count, -1), deviation.reshape(count, -1)], axis=1)


@pytest.mark.parametrize("channels", [1, 3])
def test_texture_is_the_strength_of_scipys_cosines(channels: int):
    images = torch.randint(0, 256, (2, channels, 9, 10), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(texture(images), scipys_texture(images), atol=1e-5)


def test_texture_of_tiny_images_has_fewer_frequencies():
    assert texture(torch.zeros((2, 1, 1, 3), dtype=torch.uint8)).shape == (2, 2)


def test_it_is_the_share_of_held_out_images_that_are_stranger():
    """Strangeness is the larger of the Mahalanobis distance, from 1.5 on and doubled, and the energy."""
    rng = np.random.default_rng(0)
    statistics, logits = rng.normal(size=(4000, 3)), rng.normal(size=(4000, 5))
    statistics[:, 2] = statistics[:, 0] + 0.5 * statistics[:, 1]
    tensors = [torch.from_numpy(statistics.astype(np.float32))], torch.from_numpy(logits.astype(np.float32))
    found = Familiarity.fit(tensors, tensors)(*tensors).numpy()

    z = (statistics - statistics.mean(0)) / statistics.std(0)
    shrunk = 0.9 * np.corrcoef(z.T) + 0.1 * np.eye(3)
    distance = np.log(np.sqrt(np.einsum("ni,ij,nj->n", z, np.linalg.inv(shrunk), z)))
    energy = -np.log(np.exp(logits).sum(1))
    far, unsure = ((raw - raw.mean()) / raw.std() for raw in (distance, energy))
    strangeness = np.maximum(2 * (far - 1.5), unsure)
    share = 1 - strangeness.argsort().argsort() / (len(strangeness) - 1)
    assert np.abs(found - share).max() < 0.01
    assert abs((found < 0.05).mean() - 0.05) < 0.002
    assert found.min() == 0
    assert found.max() == pytest.approx(1, abs=1e-5)


def test_what_is_far_from_all_images_has_none(fitted: ImageClassifier):
    noise = torch.randint(0, 256, (200, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    familiarity = torch_answers(fitted, noise)[2]
    assert (familiarity < 0.05).double().mean() > 0.9


def test_held_out_images_are_evenly_distributed(fitted: ImageClassifier, data: DigitsDataModule):
    familiarity = torch_answers(fitted, split(data, "val"))[2].sort().values
    even = torch.linspace(0, 1, len(familiarity))
    assert (familiarity - even).abs().max() < 0.01


def test_an_images_familiarity_does_not_depend_on_its_neighbours(proto: onnx.ModelProto, data: DigitsDataModule):
    images = split(data, "val")[:20]
    file = OnnxFile(proto)
    together, alone = file.answers(images), file.answers(images, batch_size=1)
    for many, one in zip(together, alone, strict=True):
        torch.testing.assert_close(many, one, atol=1e-5, rtol=1e-4)


def test_the_file_has_it_and_gives_it_back(
    fitted: ImageClassifier, proto: onnx.ModelProto, data: DigitsDataModule, tmp_path
):
    images = split(data, "val")
    answers = OnnxFile(proto).answers(images)
    assert check_parity(answers, torch_answers(fitted, images)) < 1e-5
    arguments = {"widths": [8, 16], "input_shape": [1, 8, 8], "views": "flip_shift"}
    init = arguments if isinstance(fitted, SpeedNet) else {}
    config = {"model": {"class_path": type(fitted).__name__, "init_args": init}}
    card = ModelCard("n", 1, tuple("0123456789"), (1, 8, 8), familiarity=STATEMENT, config=config)
    path = tmp_path / "n/1/model.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(with_card(proto, card))
    torch.testing.assert_close(torch_answers(restore(path), images)[2], torch_answers(fitted, images)[2])

    missing = next(tensor for tensor in proto.graph.initializer if tensor.name == "familiarity.mean0")
    missing.name = "familiarity.other"
    for node in proto.graph.node:
        node.input[:] = [name.replace("familiarity.mean0", "familiarity.other") for name in node.input]
    path.write_bytes(with_card(proto, card))
    with pytest.raises(ValueError, match="familiarity is damaged"):
        restore(path)


@pytest.mark.parametrize("claimed", [{"mean0": torch.zeros(200_000)}, {"upper": torch.zeros(0)}])
def test_a_damaged_file_allocates_nothing(claimed: dict[str, torch.Tensor]):
    """A whitening of 200,000 statistics would take 160 GB."""
    with pytest.raises(ValueError, match="familiarity is damaged"):
        Familiarity.restore(claimed)


def test_many_layers_come_back_in_their_order():
    sizes = [4 + number for number in range(12)]
    train, held_out = ([torch.randn(n, size) for size in sizes] for n in (200, 120))
    fitted = Familiarity.fit((train, torch.randn(200, 3)), (held_out, torch.randn(120, 3)))
    reading = [torch.randn(9, size) for size in sizes], torch.randn(9, 3)
    restored = Familiarity.restore(dict(fitted.named_buffers()))
    torch.testing.assert_close(restored(*reading), fitted(*reading))


def test_a_card_that_promises_it_needs_the_output(proto: onnx.ModelProto):
    card = ModelCard("n", 1, tuple("0123456789"), (1, 8, 8), familiarity=STATEMENT)
    assert read_model(with_card(proto, card)).outputs == ("logits", "probabilities", "familiarity")
    with pytest.raises(
        ContractError, match=r"it has no output 'familiarity': its outputs are \['logits', 'probabilities'\]"
    ):
        read_model(with_card(to_onnx(create_model("digits_cnn")), card))


@pytest.mark.parametrize("kind", ["int8", "fp16"])
def test_a_variant_is_fitted_again(proto: onnx.ModelProto, data: DigitsDataModule, kind: str):
    held_out, train = split(data, "val"), split(data, "train")
    proto = to_int8(proto, train[:256]) if kind == "int8" else to_fp16(proto)
    _mangle(proto)
    before = OnnxFile(proto).answers(held_out)[2]
    refit_familiarity(proto, held_out)
    after = OnnxFile(proto).answers(held_out)[2]
    assert (before < 0.05).double().mean() > 0.1  # most of them are 0
    assert abs((after < 0.05).double().mean() - 0.05) < 0.01
    ordered = after[before.argsort()][(before == 0).sum() :]  # those at 0 were in an unknown order
    assert (ordered.diff() >= -1e-6).all()


def test_familiarity_of_an_fp16_file_is_computed_in_float32(proto: onnx.ModelProto, data: DigitsDataModule):
    """A variance, the mean of the squares without the square of the mean, would have no digits left in 16 bits."""
    nodes = to_fp16(proto).graph.node
    other = {node.name for node in ancestors(nodes, "probabilities")}
    own = [node for node in ancestors(nodes, "familiarity") if node.name not in other]
    assert {"MatMul", "ReduceLogSumExp"} <= {node.op_type for node in own}
    casts = [node for node in own if node.op_type == "Cast"]
    assert {onnx.helper.get_attribute_value(node.attribute[0]) for node in casts} == {onnx.TensorProto.FLOAT}
    images = split(data, "val")
    difference = OnnxFile(to_fp16(proto)).answers(images)[2] - OnnxFile(proto).answers(images)[2]
    assert difference.abs().mean() < 0.01


def _mangle(proto: onnx.ModelProto) -> None:
    """Move the steps of familiarity, as a changed network would."""
    for tensor in proto.graph.initializer:
        if tensor.name == "familiarity.upper":
            tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor) - 1, tensor.name))


def test_too_few_held_out_images_give_none():
    data = DigitsDataModule(val_fraction=0.05)
    model = create_model("digits_cnn")
    fit_outputs(model, data)
    assert model.familiarity is None
    assert len(torch_answers(model, torch.zeros((2, 1, 8, 8), dtype=torch.uint8))) == 2


def test_too_few_held_out_images_leave_nothing_of_an_earlier_fit(fitted: ImageClassifier):
    """A network that came with its fitted outputs, such as one to fine-tune, does not keep them."""
    model = copy.deepcopy(fitted)
    model.temperature.fill_(3)
    fit_outputs(model, DigitsDataModule(val_fraction=0.05))
    assert model.familiarity is None
    assert model.temperature == 1
    assert model.views_an_image == (6 if isinstance(model, SpeedNet) else 1)


def test_readings_are_of_the_earlier_activations(monkeypatch: pytest.MonkeyPatch):
    model = create_model("cifar10_cnn")
    monkeypatch.setattr("cnnzoo.models.export.AT_ONCE", 2 * 32 * 32)  # pixels: two images at once
    sizes: list[int] = []
    model.network[0].register_forward_hook(lambda module, given, found: sizes.append(len(found)))
    statistics, logits = readings(model, torch.zeros((3, 3, 32, 32), dtype=torch.uint8))
    assert sizes == [2, 1]
    assert [values.shape for values in statistics] == [(3, 2 * 3 * 16), (3, 128)]  # texture, and the second activation
    assert logits.shape == (3, 10)
    assert sum(isinstance(layer, nn.ReLU) for layer in model.network) == 4
    digits = readings(create_model("digits_cnn"), torch.zeros((2, 1, 8, 8), dtype=torch.uint8))[0]
    assert [values.shape for values in digits] == [(2, 2 * 16), (2, 50)]  # the second one is of a dense layer


def test_an_output_that_the_card_does_not_know_is_refused(proto: onnx.ModelProto):
    with pytest.raises(ContractError, match="output 'familiarity', of which its card says nothing"):
        read_model(with_card(proto, ModelCard("n", 1, tuple("0123456789"), (1, 8, 8))))


def test_among_equal_images_rounding_decides_nothing():
    rng = torch.Generator().manual_seed(0)
    statistics, logits = torch.randn(1000, 3, generator=rng), torch.randn(1000, 5, generator=rng)
    statistics[:100], logits[:100] = statistics[0], logits[0]
    fitted = Familiarity.fit(([statistics], logits), ([statistics], logits))
    moved = fitted([statistics[:1]], logits[:1] * (1 + 1e-6))
    assert (moved - fitted([statistics[:1]], logits[:1])).abs() < 1e-4


def test_among_images_of_four_copies_rounding_decides_nothing():
    """The steps between equal images have no width of their own."""
    statistics = torch.randn(200, 3, generator=torch.Generator().manual_seed(0)) / 1000 + 1
    logits = torch.linspace(-1, 1, 50, dtype=torch.double).repeat_interleave(4).view(-1, 1).expand(-1, 2)
    fitted = Familiarity.fit(([statistics], logits), ([statistics], logits)).double()
    rounding = 2e-5 * fitted.spread[-1]  # of a ResNet-18 in ONNX Runtime
    sweep = torch.linspace(-1.1, 1.1, 20_000, dtype=torch.double).view(-1, 1).expand(-1, 2)
    same = [torch.ones(len(sweep), 3, dtype=torch.double)]
    assert (fitted(same, sweep + rounding) - fitted(same, sweep)).abs().max() < 5e-5


def test_a_network_that_hardly_answers_is_not_judged_by_rounding():
    """After one epoch, logits differ by 0.02."""
    rng = torch.Generator().manual_seed(0)
    statistics, logits = torch.ones(200, 3), 0.02 * torch.randn(200, 5, generator=rng)
    fitted = Familiarity.fit(([statistics], logits), ([statistics], logits)).double()
    exact = statistics.double(), logits.double()
    moved = fitted([exact[0]], exact[1] + 1e-6)  # as much as logits differ in ONNX Runtime
    assert (moved - fitted([exact[0]], exact[1])).abs().max() < 5e-5


def test_among_smooth_images_rounding_decides_nothing():
    """Fine frequencies hardly vary among enlarged images."""
    coarse = torch.randint(0, 256, (256, 3, 8, 8), generator=torch.Generator().manual_seed(0)).float()
    images = nn.functional.interpolate(coarse, (64, 64), mode="bilinear").to(torch.uint8)
    single, double = [texture(images)], [torch.from_numpy(scipys_texture(images))]
    logits = torch.randn(256, 5, generator=torch.Generator().manual_seed(0))
    fitted = Familiarity.fit((single, logits), (single, logits))
    found, exact = fitted.standardized(single, logits), fitted.double().standardized(double, logits.double())
    assert (found - exact).abs().max() < 1e-4


def test_strangers_are_shown_as_pixels_and_as_pictures(proto: onnx.ModelProto):
    data, file = DigitsDataModule(), OnnxFile(proto)
    images = data.load(train=False)[0][:20]
    found = measure_familiarity(file, data, images, file.answers(images), held_out=100)
    assert found
    kinds = [kind for kind in found["strangers"] if not kind.endswith(" as pictures")]
    assert {"uniform noise", "flat", "photo crops"} <= set(kinds)
    assert found["strangers"].keys() == {*kinds, *(f"{kind} as pictures" for kind in kinds)}
    assert all(row["images"] == 20 for row in found["strangers"].values())
