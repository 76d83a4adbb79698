"""Test the layers that are read from a file against torch: volumes, values, parameters and receptive fields."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from helpers import module_outputs
from onnx import numpy_helper

from cnnzoo.contract.layer_reader import read_layers
from cnnzoo.contract.layers import Layer, arithmetic
from cnnzoo.contract.names import ContractError
from cnnzoo.models import ImageClassifier, ResNet, SpeedNet, TorchvisionClassifier, create_model
from cnnzoo.models.export import readings, to_onnx
from cnnzoo.models.familiarity import Familiarity
from cnnzoo.models.summary import multiply_adds
from cnnzoo.models.variants import to_fp16, to_int8

NETWORKS: dict[str, dict[str, Any]] = {
    "digits_cnn": {},
    "mnist_cnn": {"channels": [4, 6], "hidden": 9},
    "cifar10_cnn": {},
    "cifar10_speednet": {"widths": [6, 8], "convolutions": 3, "views": "flip_shift"},
    "cifar10_resnet20": {"depth": 8, "width": 4},
}


def images(model: ImageClassifier, n: int) -> torch.Tensor:
    rng = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, *model.input_shape), dtype=torch.uint8, generator=rng)


@pytest.fixture(
    scope="module", params=[pytest.param(n, marks=[pytest.mark.slow] if n != "digits_cnn" else []) for n in NETWORKS]
)
def network(request: pytest.FixtureRequest) -> tuple[ImageClassifier, onnx.ModelProto]:
    """Return a network of random weights with all that export fits, and its file."""
    torch.manual_seed(0)
    model = create_model(request.param, **NETWORKS[request.param])
    if isinstance(model, SpeedNet):
        model.whiten(images(model, 300))
        for parameter in model.network.parameters():  # its convolutions start as the identity
            parameter.data += 0.1 * torch.randn_like(parameter)
    model.eval()
    reading = readings(model, images(model, 300))
    model.fit_views(reading[1])
    model.familiarity = Familiarity.fit(reading, reading)
    return model, to_onnx(model)


@pytest.mark.parametrize(("width", "quotient"), [(4, "⌊(9 − 2 + 2·0)/2⌋"), (5, "⌈(9 − 2 + 2·0)/2⌉")])
def test_a_width_is_rounded_as_the_layer_rounds_it(width: int, quotient: str):
    image = Layer("pixels", "", "x", (), (1, 9, 9))
    pooling = Layer("pool1", "MaxPool", "y", ("x",), (1, width, width), (2, 2), (2, 2), (0, 0, 0, 0))
    assert arithmetic(pooling, image) == f"{quotient} + 1 = {width}"


def values(proto: onnx.ModelProto, layers: list[Layer], x: torch.Tensor) -> dict[str, np.ndarray]:
    """Return the value of each layer, by name."""
    opened = onnx.ModelProto()
    opened.CopyFrom(proto)
    there = {output.name for output in opened.graph.output}
    opened.graph.output.extend(onnx.ValueInfoProto(name=layer.tensor) for layer in layers if layer.tensor not in there)
    session = onnxruntime.InferenceSession(opened.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run([layer.tensor for layer in layers], {"images": x.numpy()})
    return dict(zip([layer.name for layer in layers], found, strict=True))


def test_values_are_those_of_torchs_modules(network: tuple[ImageClassifier, onnx.ModelProto]):
    model, proto = network
    x = images(model, 3)
    seen = module_outputs(model, x)
    layers = read_layers(proto)
    found = values(proto, layers, x)
    assert len(seen) == len(layers) - 2  # pixels and softmax are no modules
    for layer, expected in zip(layers[1:-1], seen, strict=True):
        np.testing.assert_allclose(found[layer.name].reshape(expected.shape), expected, atol=1e-4, err_msg=layer.name)
        assert layer.volume == (*expected.shape[1:], 1, 1)[:3]
    if isinstance(model, ResNet):
        sources = {layer.name: layer.sources for layer in layers}
        assert sources["add1"] == ("relu1", "norm3")
        assert sources["add2"] == ("relu3", "norm5")  # past a stride


def test_costs_are_those_of_the_card(network: tuple[ImageClassifier, onnx.ModelProto]):
    model, proto = network
    layers = read_layers(proto)
    assert sum(layer.parameters for layer in layers) == sum(p.numel() for p in model.parameters())
    assert sum(layer.multiply_adds for layer in layers) == round(multiply_adds(model) / model.views_an_image)


def test_a_layers_receptive_field_holds_all_that_moves_it(network: tuple[ImageClassifier, onnx.ModelProto]):
    """Change pixels one by one, and see how far apart are those that move the value in the middle."""
    model, proto = network
    layers = [layer for layer in read_layers(proto) if min(layer.volume[1:]) > 1]
    channels, height, width = model.input_shape
    base = torch.full((1, channels, height, width), 128, dtype=torch.uint8)
    base += images(model, 1) // 8
    changed = base.repeat(height * width, 1, 1, 1)
    for number in range(height * width):
        changed[number, :, number // width, number % width] += 100
    proto = _with_one_view(proto)
    before, after = values(proto, layers, base), values(proto, layers, changed)
    for layer in layers:
        middle = (slice(None), slice(None), layer.volume[1] // 2, layer.volume[2] // 2)
        moved = np.abs(after[layer.name][middle] - before[layer.name][middle]).max(1) > 1e-6
        rows, columns = np.nonzero(moved.reshape(height, width))
        box = []
        for number, (found, side) in enumerate(((rows, height), (columns, width))):
            position = layer.volume[number + 1] // 2
            first = layer.receptive_offset[number] + position * layer.receptive_step[number]
            last = first + layer.receptive_field[number] - 1
            assert first <= found.min(), layer.name
            assert found.max() <= last, layer.name
            box.append((max(first, 0), min(last, side - 1)) == (found.min(), found.max()))
        if layer.name.startswith("conv"):  # pooling sees only the largest
            assert all(box), layer.name


@pytest.mark.slow
def test_behind_a_mean_that_scales_the_maps_a_value_depends_on_the_whole_image():
    """As in squeeze-and-excitation, of which MobileNet's blocks are made."""
    model = TorchvisionClassifier("mobilenet_v3_small", None, (3, 64, 64), 3).eval()
    layers = read_layers(to_onnx(model))
    first = next(number for number, layer in enumerate(layers) if layer.name == "mean1")
    behind = [layer for layer in layers[first + 1 :] if layer.name.startswith("conv") and layer.volume[1] > 1]
    assert len(behind) > 10
    for layer in behind:
        for number in (0, 1):
            for position in (0, layer.volume[number + 1] - 1):
                top = layer.receptive_offset[number] + position * layer.receptive_step[number]
                assert top <= 0, layer.name
                assert top + layer.receptive_field[number] >= 64, layer.name


def _with_one_view(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return a file that is sure of every image, and looks at none in further views."""
    sure = onnx.ModelProto()
    sure.CopyFrom(proto)
    for tensor in sure.graph.initializer:
        if tensor.name == "sure":
            tensor.CopyFrom(numpy_helper.from_array(np.asarray(-np.inf, np.float32), "sure"))
    return sure


@pytest.mark.parametrize("kind", ["int8", "fp16"])
def test_variants_have_layers_of_the_same_volumes(network: tuple[ImageClassifier, onnx.ModelProto], kind: str):
    model, proto = network
    variant = to_int8(proto, images(model, 64)) if kind == "int8" else to_fp16(proto)
    full, layers = read_layers(proto), read_layers(variant)
    for which in ("conv", "dense", "pool"):
        wanted, found = ([one.volume for one in part if one.name.startswith(which)] for part in (full, layers))
        assert found == wanted
    assert sum(layer.multiply_adds for layer in layers) == sum(layer.multiply_adds for layer in full)
    values(variant, layers, images(model, 2))  # each can be computed


def test_a_graph_without_weights_has_no_layers(network: tuple[ImageClassifier, onnx.ModelProto]):
    proto = onnx.ModelProto()
    proto.CopyFrom(network[1])
    kept = [node for node in proto.graph.node if node.op_type in ("Cast", "Div", "Softmax")][:1]
    del proto.graph.node[:]
    proto.graph.node.extend(kept)
    with pytest.raises(ContractError, match="no convolution and no dense layer"):
        read_layers(proto)


def test_a_graph_that_multiplies_by_nothing_is_refused(network: tuple[ImageClassifier, onnx.ModelProto]):
    """A factor before the softmax is read as 1 ÷ temperature."""
    proto = onnx.ModelProto()
    proto.CopyFrom(network[1])
    number, softmax = next((n, node) for n, node in enumerate(proto.graph.node) if node.op_type == "Softmax")
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros((), np.float32), "zero"))
    proto.graph.node.insert(number, onnx.helper.make_node("Mul", [softmax.input[0], "zero"], ["scaled"]))
    proto.graph.node[number + 1].input[0] = "scaled"
    with pytest.raises(ContractError, match="its layers cannot be listed"):
        read_layers(proto)
