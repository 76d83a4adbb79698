"""Every layer's volume, parameters and multiply-adds, from the arithmetic, checked against the tensors."""

import torch
from torch import nn

from .arithmetic import Layer, Volume, layers
from .classifier import ImageClassifier


def summarize(model: ImageClassifier) -> list[Layer]:
    """The layers of the network, one row each, for one image.

    Raises AssertionError if the arithmetic and the real tensors disagree.
    """
    depth, height, width = model.input_shape
    rows = layers(model.network, Volume(width, height, depth))
    _check_against_tensors(model.network, rows, model.input_shape)
    return rows


def _check_against_tensors(network: nn.Sequential, rows: list[Layer], shape: tuple[int, ...]) -> None:
    was_training = network.training
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
    network.train(was_training)
