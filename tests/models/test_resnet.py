"""Test the residual network against the paper's numbers and its shortcut's definition."""

import pytest
import torch
from torch import nn

from cnnzoo.models import ResNet, create_model
from cnnzoo.models.residual import Residual
from cnnzoo.models.summary import multiply_adds


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85)])
def test_parameters_are_those_of_table_6(depth: int, millions: float):
    model = create_model("cifar10_resnet20", depth=depth)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.005)
    weighted = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(weighted) == depth


def test_multiply_adds_are_the_41_million_of_resnet_20():
    assert round(multiply_adds(ResNet()) / 1e6) == 41


@pytest.mark.parametrize("depth", [2, 19, 21])
def test_other_depths_are_refused(depth: int):
    with pytest.raises(ValueError, match=rf"depth is {depth}: expected 6n \+ 2"):
        ResNet(depth=depth)


def test_mnist_tiny_has_fewer_than_10_000_parameters():
    model = create_model("mnist_tiny").eval()
    assert sum(p.numel() for p in model.parameters()) == 9546
    assert model(torch.zeros((2, 1, 28, 28), dtype=torch.uint8)).shape == (2, 10)


@pytest.mark.parametrize("width", [[8, 16], [8, 6, 16]])
def test_other_widths_are_refused(width: list[int]):
    with pytest.raises(ValueError, match="give one number, or three that do not fall"):
        ResNet(width=width)


@pytest.mark.parametrize("size", [7, 8])
def test_a_shortcut_subsamples_and_pads_with_zeros(size: int):
    block = Residual(nn.Conv2d(2, 5, 3, stride=2, padding=1))
    for parameter in block.parameters():
        nn.init.zeros_(parameter)
    x = torch.rand(1, 2, size, size)
    out = block(x)
    assert torch.equal(out[:, :2], x[:, :, ::2, ::2])
    assert not out[:, 2:].any()
