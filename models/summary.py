"""Layers of a network by the lecture's arithmetic, and the multiply-adds of the exported network."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from .arithmetic import Layer, Volume, layers
from .classifier import ImageClassifier


def multiply_adds(model: ImageClassifier) -> int:
    """Return the multiply-adds of convolutions and dense layers for one image, as exported: with all its views."""
    image = torch.zeros((1, *model.input_shape), dtype=torch.uint8, device=model.device)
    counter = FlopCounterMode(display=False)
    training = model.training
    model.eval()
    with torch.no_grad(), counter:
        model(image)
    model.train(training)
    return counter.get_total_flops() // 2  # it counts a multiply-add as two operations


def summarize(model: ImageClassifier) -> list[Layer]:
    """Return the layers of the network, for one image in one view.

    Raises AssertionError if the arithmetic and the tensors disagree.
    """
    depth, height, width = model.input_shape
    rows = layers(model.network, Volume(width, height, depth))
    _check_against_tensors(model.network, rows, model.input_shape)
    return rows


def _check_against_tensors(network: nn.Sequential, rows: list[Layer], shape: tuple[int, ...]) -> None:
    training = network.training
    network.eval()
    x = torch.zeros(1, *shape, device=next(network.parameters()).device)
    with torch.inference_mode():
        for module, row in zip(network, rows, strict=True):
            x = module(x)
            volume = row.output
            expected = (volume.depth, volume.height, volume.width) if x.ndim == 4 else (volume.size,)
            assert tuple(x.shape[1:]) == expected, f"{row.kind}: computed {expected}, got {tuple(x.shape[1:])}"
            counted = sum(p.numel() for p in module.parameters())
            assert counted == row.parameters, f"{row.kind}: computed {row.parameters} parameters, has {counted}"
    network.train(training)
