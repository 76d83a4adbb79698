"""The last layer of a network, which gives the logits."""

from torch import nn


def last_layer(network: nn.Module) -> tuple[str, nn.Linear | nn.Conv2d]:
    """Return name and module of the last dense layer or convolution."""
    return [(name, m) for name, m in network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)][-1]


def replace_head(network: nn.Module, num_classes: int) -> None:
    """Replace the last layer by a new one for this number of classes."""
    name, old = last_layer(network)
    new: nn.Module
    if isinstance(old, nn.Linear):
        new = nn.Linear(old.in_features, num_classes)
    else:
        new = nn.Conv2d(old.in_channels, num_classes, 1)
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, new)
