"""Test the values of layers and the arithmetic of one value against torch's functions."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F

from cnnzoo.contract.card import ModelCard
from cnnzoo.contract.names import ContractError
from cnnzoo.models import create_model
from cnnzoo.models.export import to_onnx, with_card
from cnnzoo.models.variants import to_int8
from cnnzoo.serve import inspector as module
from cnnzoo.serve.inspector import Inspector

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (3, 32, 32), dtype=np.uint8)


def content(proto: onnx.ModelProto) -> bytes:
    card = ModelCard("photos", 1, tuple(f"c{n}" for n in range(10)), (3, 32, 32))
    return with_card(proto, card)


@pytest.fixture(scope="module")
def proto() -> onnx.ModelProto:
    torch.manual_seed(0)
    return to_onnx(create_model("cifar10_resnet20", depth=8, width=4).eval())


@pytest.fixture(scope="module", params=["fp32", "int8"])
def inspector(request: pytest.FixtureRequest, proto: onnx.ModelProto) -> Inspector:
    """Return an inspector of a network with strides, shortcuts and batch norms."""
    images = torch.from_numpy(RNG.integers(0, 256, (64, 3, 32, 32), dtype=np.uint8))
    return Inspector(content(proto if request.param == "fp32" else to_int8(proto, images)))


def test_every_pixel_of_a_convolution_is_its_sum(inspector: Inspector):
    convolutions = [name for name, layer in inspector.layers.items() if layer.operator == "Conv"]
    assert {inspector.layers[name].stride for name in convolutions} == {(1, 1), (2, 2)}
    for name in convolutions:
        depth, height, width = inspector.layers[name].volume
        values = inspector.values(IMAGE, [name])[name]
        for position in ((0, 0, 0), (depth - 1, height - 1, width - 1), (1, height // 2, 1)):
            window = inspector.window(IMAGE, name, position)
            assert window.kernel is not None
            total = float((window.patch.astype(float) * window.kernel).sum() + window.bias)
            assert window.value == values[position]
            assert total == pytest.approx(window.value, abs=1e-5)


@pytest.mark.parametrize("change", [{"dilations": [2, 2]}, {"auto_pad": "SAME_UPPER"}])
def test_a_layer_whose_arithmetic_is_another_is_refused(proto: onnx.ModelProto, change: dict[str, object]):
    changed = onnx.ModelProto()
    changed.CopyFrom(proto)
    conv = next(node for node in changed.graph.node if node.op_type == "Conv")
    kept = [entry for entry in conv.attribute if entry.name not in change]
    del conv.attribute[:]
    conv.attribute.extend([*kept, *(onnx.helper.make_attribute(*entry) for entry in change.items())])
    with pytest.raises(ContractError, match=r"its Conv is .* which is not drawn"):
        Inspector(content(changed))


def test_the_kernels_and_inputs_are_those_that_torch_needs(inspector: Inspector):
    layer = inspector.layers["conv4"]
    assert layer.stride is not None
    assert layer.padding is not None
    (source,) = (name for name, other in inspector.layers.items() if other.tensor == layer.inputs[0])
    before = torch.tensor(inspector.values(IMAGE, [source])[source])
    kernel, bias = map(torch.tensor, inspector.kernel("conv4"))
    assert layer.padding[0] == layer.padding[2]
    expected = F.conv2d(before[None], kernel, bias, layer.stride, layer.padding[0])[0]
    np.testing.assert_allclose(inspector.values(IMAGE, ["conv4"])["conv4"], expected, atol=1e-4)


def test_the_largest_value_wins_a_pooling(trained: Path, digits):
    inspector = Inspector((trained / "zoo/digits_cnn/1/model.onnx").read_bytes())
    image = digits[0][0].numpy()
    for position in ((0, 0, 0), (9, 3, 3), (4, 2, 1)):
        window = inspector.window(image, "pool1", position)
        assert window.kernel is None
        assert window.patch.shape == (1, 2, 2)
        assert window.patch.max() == window.value
        top, left, bottom, right = window.field
        assert (bottom - top, right - left) in ((3, 3), (4, 4), (3, 4), (4, 3))  # 4 × 4, cut at the border


def test_a_field_is_cut_at_the_border(inspector: Inspector):
    assert inspector.field("conv1", 0, 0) == (0, 0, 2, 2)
    assert inspector.field("conv1", 31, 16) == (30, 15, 32, 18)
    assert inspector.field("dense1", 0, 0) == (0, 0, 32, 32)


def test_what_has_no_window_says_so(inspector: Inspector):
    with pytest.raises(KeyError, match=r"no layer 'conv99' \(there are pixels, conv1"):
        inspector.values(IMAGE, ["conv99"])
    with pytest.raises(KeyError, match="neither a convolution nor a max pooling"):
        inspector.window(IMAGE, "softmax", (0, 0, 0))
    with pytest.raises(IndexError, match="conv1 has 4 maps of 32 × 32"):
        inspector.window(IMAGE, "conv1", (4, 0, 0))


def test_a_network_with_too_many_values_is_refused(proto: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_VALUES", 1000)
    with pytest.raises(ContractError, match="at most 1,000 can be shown"):
        Inspector(content(proto))
