"""Test that int8 and fp16 files keep the contract and give nearly the same answers."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
import torch.nn.functional as F

from cnnzoo.datamodules import DigitsDataModule
from cnnzoo.models import ImageClassifier, SpeedNet, create_model
from cnnzoo.models.export import OnnxFile, to_onnx
from cnnzoo.models.variants import to_fp16, to_int8


@pytest.fixture(scope="module")
def network() -> tuple:
    """Return a briefly trained network, whose confidence is high, and its training images."""
    torch.manual_seed(0)
    model = create_model("digits_cnn")
    model.temperature.fill_(0.5)
    images, labels = DigitsDataModule().load(train=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
    return to_onnx(model), images


def weights(proto: onnx.ModelProto) -> int:
    """Return the bytes of all weights."""
    return sum(tensor.ByteSize() for tensor in proto.graph.initializer)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "size", "of_weights", "close"), [("int8", 0.45, 0.4, 0.05), ("fp16", 0.8, 0.55, 0.005)]
)
def test_a_variant_keeps_the_contract_and_is_smaller(
    network: tuple, kind: str, size: float, of_weights: float, close: float
):
    proto, images = network
    smaller = to_int8(proto, images[:256]) if kind == "int8" else to_fp16(proto)
    assert smaller.ByteSize() < size * proto.ByteSize()
    assert weights(smaller) < of_weights * weights(proto)
    session = ort.InferenceSession(smaller.SerializeToString())
    assert [(i.name, i.type, i.shape[1:]) for i in session.get_inputs()] == [("images", "tensor(uint8)", [1, 8, 8])]
    assert [(o.name, o.type) for o in session.get_outputs()] == [
        ("logits", "tensor(float)"), ("probabilities", "tensor(float)"),
    ]  # fmt: skip
    (logits, probabilities), (expected, sure) = OnnxFile(smaller).answers(images), OnnxFile(proto).answers(images)
    assert 0 < (logits - expected).abs().max() < close * expected.abs().max()
    torch.testing.assert_close((logits / 0.5).softmax(1), probabilities)
    assert (probabilities - sure).abs().max() < 2 * close


def test_the_full_network_is_left_as_it_was(network: tuple):
    proto, images = network
    before = proto.SerializeToString()
    to_int8(proto, images[:64])
    to_fp16(proto)
    assert proto.SerializeToString() == before


def test_int8_takes_its_ranges_from_as_few_images_as_there_are(network: tuple):
    proto, images = network
    expected = OnnxFile(proto).answers(images)[0].argmax(1)
    for count in (7, 67, 130):
        few = OnnxFile(to_int8(proto, images[:count])).answers(images)[0].argmax(1)
        assert (few == expected).float().mean() > 0.95
    with pytest.raises(ValueError, match="and there are none"):
        to_int8(proto, images[:0])


def test_int8_weights_do_not_overflow_where_products_are_summed_in_16_bits(network: tuple):
    """x86 without VNNI adds two products of an activation (0-255) and a weight."""
    proto, images = network
    smaller = to_int8(proto, images[:64])
    weights = [w for tensor in smaller.graph.initializer if (w := onnx.numpy_helper.to_array(tensor)).dtype == np.int8]
    kernels = [w for w in weights if w.ndim > 1]
    assert kernels
    assert all(2 * 255 * np.abs(w.astype(int)).max() < 2**15 for w in kernels)


@pytest.mark.slow
def test_int8_has_no_weights_twice():
    """Several views of an image use the same weights, and are quantized one by one."""
    torch.manual_seed(0)
    model = SpeedNet(widths=[8, 16], input_shape=(1, 8, 8), views="flip_shift")
    images = torch.randint(0, 256, (64, 1, 8, 8), dtype=torch.uint8)
    model.whiten(images)
    converted = to_int8(to_onnx(model.eval()), images)
    large = [tensor.raw_data for tensor in converted.graph.initializer if len(tensor.raw_data) > 1000]
    assert large
    assert len(set(large)) == len(large)


@pytest.mark.slow
def test_int8_of_a_network_that_ends_in_a_convolution():
    """Its last layer stays in float32, as a dense one does."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 10, 1), torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
    )  # fmt: skip
    model = ImageClassifier(network, (1, 8, 8), 10).eval()
    images = torch.randint(0, 256, (64, 1, 8, 8), dtype=torch.uint8)
    converted = to_int8(to_onnx(model), images)
    kept = [tensor.dims for tensor in converted.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT]
    assert [10, 8, 1, 1] in [list(dims) for dims in kept]
