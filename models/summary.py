"""Layers of a network by the lecture's arithmetic, and the multiply-adds of the exported network."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from .arithmetic import Layer, Volume, layers
from .classifier import ImageClassifier


def multiply_adds(model: ImageClassifier) -> int:
    """Return the multiply-adds of convolutions and dense layers for an image, in as many views as it has on average."""
    one_view = _flops(model).get_total_flops() // 2  # it counts a multiply-add as two operations
    return round(model.views_an_image * one_view)


def summarize(model: ImageClassifier) -> list[Layer]:
    """Return the layers of the network, for one image in one view; of torchvision's networks the parts."""
    depth, height, width = model.input_shape
    backbone = model.network[-1]
    if isinstance(backbone, nn.Linear):
        return layers(model.network, Volume(width, height, depth))
    return _measured(model, backbone)


def _measured(model: ImageClassifier, backbone: nn.Module) -> list[Layer]:
    """Return a row for each part of a network, by running it."""
    volumes: dict[str, Volume] = {}

    def keep(name: str, output: Tensor) -> None:
        depth, height, width = (*output.shape[1:], 1, 1)[:3]
        volumes[name] = Volume(width, height, depth)

    parts = dict(_parts(backbone))
    hooks = [
        part.register_forward_hook(lambda part, inputs, output, name=name: keep(name, output))
        for name, part in parts.items()
    ]
    counts = _flops(model).get_flop_counts()
    path = f"{type(model.network).__name__}.{len(model.network) - 1}"
    for hook in hooks:
        hook.remove()
    return [
        Layer(
            name,
            volume,
            sum(parameter.numel() for parameter in parts[name].parameters()),
            sum(counts.get(f"{path}.{name}", {}).values()) // 2,
        )
        for name, volume in volumes.items()
    ]


def _parts(backbone: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Give the name and module of each child of a network, and of each layer of a child that is a sequence."""
    for name, child in backbone.named_children():
        if isinstance(child, nn.Sequential):
            yield from ((f"{name}.{number}", layer) for number, layer in child.named_children())
        else:
            yield name, child


def _flops(model: ImageClassifier) -> FlopCounterMode:
    """Return the counter of what the network computes for an image in one view."""
    image = torch.zeros((1, *model.input_shape), dtype=torch.uint8, device=model.device)
    counter = FlopCounterMode(display=False)
    training = model.training
    model.eval()
    with torch.no_grad(), counter:
        model.logits_in_training(image)
    model.train(training)
    return counter
