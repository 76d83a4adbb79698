"""Layers of a network by the lecture's arithmetic, and the multiply-adds of the exported network."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from .arithmetic import Layer, Volume, layers
from .classifier import ImageClassifier


def multiply_adds(model: ImageClassifier) -> int:
    """Return the multiply-adds of convolutions and dense layers for an image, in as many views as it has on average."""
    image = torch.zeros((1, *model.input_shape), dtype=torch.uint8, device=model.device)
    counter = FlopCounterMode(display=False)
    training = model.training
    model.eval()
    with torch.no_grad(), counter:
        model.logits_in_training(image)
    model.train(training)
    one_view = counter.get_total_flops() // 2  # it counts a multiply-add as two operations
    return round(model.views_an_image * one_view)


def summarize(model: ImageClassifier) -> list[Layer]:
    """Return the layers of the network, for one image in one view."""
    depth, height, width = model.input_shape
    return layers(model.network, Volume(width, height, depth))
