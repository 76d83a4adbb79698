"""Layers of a network by the lecture's arithmetic, and the multiply-adds of an answer."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from .arithmetic import LayerCost, Volume, layers
from .classifier import ImageClassifier


def multiply_adds(model: ImageClassifier) -> int:
    """Return the multiply-adds of the classifier for an image, in as many views as it has on average.

    What familiarity takes besides is not counted.
    """
    one_view = _flops(model).get_total_flops() // 2  # it counts a multiply-add as two operations
    return round(model.views_an_image * one_view)


def summarize(model: ImageClassifier) -> list[LayerCost]:
    """Return the layers of the network, for one image in one view.

    A network with layers that the lecture's arithmetic does not know is run, and has a row for each of its parts.
    """
    depth, height, width = model.input_shape
    try:
        return layers(model.network, Volume(width, height, depth))
    except TypeError:
        return _measured(model)


def _measured(model: ImageClassifier) -> list[LayerCost]:
    """Return a row for each part of a network, by running it."""
    volumes: dict[str, Volume] = {}

    def keep(path: str, output: Tensor) -> None:
        depth, height, width = (*output.shape[1:], 1, 1)[:3]
        volumes[path] = Volume(width, height, depth)

    parts = dict(_parts(model.network))
    hooks = [
        part.register_forward_hook(lambda part, inputs, output, path=path: keep(path, output))
        for path, part in parts.items()
    ]
    counts = _flops(model).get_flop_counts()
    for hook in hooks:
        hook.remove()
    own = [
        LayerCost(name, Volume(1, 1, parameter.numel()), parameter.numel(), 0)
        for layer in model.network.children()
        if not isinstance(layer, nn.Sequential) and list(layer.children())
        for name, parameter in layer.named_parameters(recurse=False)
    ]
    return own + [
        LayerCost(
            path.partition(".")[2] or type(parts[path]).__name__.lower(),
            volume,
            sum(parameter.numel() for parameter in parts[path].parameters()),
            sum(counts.get(f"{type(model.network).__name__}.{path}", {}).values()) // 2,
        )
        for path, volume in volumes.items()
    ]


def _parts(network: nn.Sequential) -> Iterator[tuple[str, nn.Module]]:
    """Give the path and module of each layer, and in place of a backbone those of its children and their lists."""
    for number, layer in network.named_children():
        if isinstance(layer, nn.Sequential) or not list(layer.children()):
            yield number, layer
            continue
        for name, child in layer.named_children():
            if isinstance(child, nn.Sequential | nn.ModuleList):
                yield from ((f"{number}.{name}.{index}", part) for index, part in child.named_children())
            else:
                yield f"{number}.{name}", child


def _flops(model: ImageClassifier) -> FlopCounterMode:
    """Return the counter of what the network computes for an image in one view."""
    image = torch.zeros((1, *model.input_shape), dtype=torch.uint8, device=model.device)
    counter = FlopCounterMode(display=False)
    training, fast = model.training, torch.backends.mha.get_fastpath_enabled()
    model.eval()
    torch.backends.mha.set_fastpath_enabled(False)  # the counter knows no fused operator of attention
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        model.logits_in_training(image)
    torch.backends.mha.set_fastpath_enabled(fast)
    model.train(training)
    return counter
