"""Test the lecture's arithmetic, its examples and its question against torch."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from cnnzoo.models import ImageClassifier, create_model, list_models
from cnnzoo.models.arithmetic import Volume, conv, dense, layer, layers, output_extent
from cnnzoo.models.summary import multiply_adds, summarize

RGB32 = Volume(32, 32, 3)


def test_ten_5x5_filters_on_32x32x3():
    row = conv(RGB32, filters=10, size=(5, 5), stride=(1, 1), padding=(0, 0))
    assert row.output == (28, 28, 10)
    assert row.parameters == 760


def test_the_lectures_question_thirty_two_3x3_filters():
    row = conv(RGB32, filters=32, size=(3, 3), stride=(1, 1), padding=(0, 0))
    assert row.output == (30, 30, 32)
    assert row.parameters == 896 == sum(p.numel() for p in nn.Conv2d(3, 32, 3).parameters())


def test_common_settings_keep_the_size():
    assert output_extent(32, 3, 1, 1) == output_extent(32, 5, 1, 2) == output_extent(32, 1, 1, 0) == 32


def test_one_neuron_on_an_image_has_as_many_weights_as_the_image_numbers():
    assert dense(RGB32, 1).parameters == 3072 + 1
    assert dense(Volume(200, 200, 3), 1).parameters == 120_000 + 1


@given(
    extent=st.integers(1, 40),
    size=st.integers(1, 9),
    stride=st.integers(1, 4),
    padding=st.integers(0, 4),
    pool=st.booleans(),
)
def test_volumes_are_torchs(extent: int, size: int, stride: int, padding: int, pool: bool):
    padding = min(padding, size // 2)  # torch's own limit for pooling
    module = nn.MaxPool2d(size, stride, padding) if pool else nn.Conv2d(2, 5, size, stride, padding)
    volume = Volume(extent, extent + 3, 2)
    if size > extent + 2 * padding:
        with pytest.raises(ValueError, match="does not fit"):
            layer(module, volume)
        return
    out = layer(module, volume).output
    assert module(torch.zeros(1, 2, extent + 3, extent)).shape[1:] == (out.depth, out.height, out.width)


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(4, 8, 3, groups=4),
        nn.Conv2d(4, 8, 3, dilation=2),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.MaxPool2d(2, dilation=2),
    ],
)
def test_what_the_arithmetic_does_not_cover_is_measured(module: nn.Module):
    depth, height, width = module(torch.zeros(4, 9, 9)).shape
    network = nn.Sequential(module, nn.Flatten(), nn.Linear(depth * height * width, 2))
    row = summarize(ImageClassifier(network, (4, 9, 9), 2))[0]
    assert (row.output.height, row.output.width) == (height, width)
    assert row.parameters == sum(p.numel() for p in module.parameters())


def test_multiply_adds_are_counted_as_the_sums_are_formed():
    # 3×3 input, 2×2 filter: four outputs of four products each
    assert conv(Volume(3, 3, 1), 1, (2, 2), (1, 1), (0, 0)).multiply_adds == 4 * 4


def test_a_filter_that_does_not_fit_is_named_with_its_layer():
    modules = [nn.MaxPool2d(2), nn.MaxPool2d(2), nn.Conv2d(1, 1, 3)]
    with pytest.raises(ValueError, match=r"layer 3 \(Conv2d, input 2 × 2 × 1\).*extent 3 does not fit"):
        layers(modules, Volume(8, 8, 1))


def test_an_unknown_layer_is_an_error():
    with pytest.raises(TypeError, match="LSTM"):
        layers([nn.LSTM(3, 3)], RGB32)


# tests/models/test_torchvision.py has those of torchvision, whose parts are no layers of the lecture.
@pytest.mark.parametrize("name", [name for name in list_models() if name != "torchvision"])
def test_summary_agrees_with_the_network(name: str):
    model = create_model(name)
    rows = summarize(model)
    assert sum(row.parameters for row in rows) == sum(p.numel() for p in model.parameters())
    assert sum(row.multiply_adds for row in rows) == multiply_adds(model)
    assert rows[-1].output == (1, 1, 10)
    x = torch.zeros(1, *model.input_shape)
    for module, row in zip(model.network.eval(), rows, strict=True):
        x = module(x)
        volume = row.output
        assert x.shape[1:] == ((volume.depth, volume.height, volume.width) if x.ndim == 4 else (volume.size,))
        assert row.parameters == sum(p.numel() for p in module.parameters())


def test_the_lectures_digits_network_has_14260_multiply_adds():
    assert multiply_adds(create_model("digits_cnn")) == 14_260


def test_cifar10_volumes_are_those_of_the_lectures_keras_summary():
    volumes = [row.output for row in summarize(create_model("cifar10_cnn")) if row.kind in ("conv", "max pool")]
    assert volumes == [(30, 30, 32), (15, 15, 32), (13, 13, 64), (6, 6, 64), (4, 4, 64)]
