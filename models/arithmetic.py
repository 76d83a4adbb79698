"""The lecture's arithmetic of convolutional networks: volumes, parameters, multiply-adds.

W₂ = (W₁ - F + 2P) / S + 1, the same for H, and D₂ = K for K filters of extent F, stride S and padding P. Each filter
has F·F·D₁ weights and one bias. Sources: Hjorth-Jensen, "Convolutional Neural Networks", FYS-STK week 45, 2025;
Dumoulin & Visin, arXiv 1603.07285.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from torch import nn


class Volume(NamedTuple):
    """Shape of activations, width × height × depth. A flat vector of n is 1 × 1 × n."""

    width: int
    height: int
    depth: int

    @property
    def size(self) -> int:
        return self.width * self.height * self.depth

    def __str__(self) -> str:
        return f"{self.width} × {self.height} × {self.depth}"


class LayerCost(NamedTuple):
    """Output, parameters and multiply-adds of one layer, for one image."""

    kind: str
    output: Volume
    parameters: int = 0
    multiply_adds: int = 0


def output_extent(extent: int, filter_size: int, stride: int = 1, padding: int = 0) -> int:
    """Return (W - F + 2P) / S + 1, rounded down as in torch.

    Raises ValueError if the filter is larger than the padded input.
    """
    if filter_size > extent + 2 * padding:
        raise ValueError(
            f"a filter of extent {filter_size} does not fit into {extent} pixels padded by {padding}: "
            "use a smaller filter, more padding, fewer pooling layers or larger images"
        )
    return (extent - filter_size + 2 * padding) // stride + 1


def conv(
    volume: Volume,
    filters: int,
    size: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    bias: bool = True,
) -> LayerCost:
    """Return a convolution of K filters; size, stride and padding are (height, width)."""
    out = Volume(
        output_extent(volume.width, size[1], stride[1], padding[1]),
        output_extent(volume.height, size[0], stride[0], padding[0]),
        filters,
    )
    weights = size[0] * size[1] * volume.depth
    return LayerCost("conv", out, (weights + bias) * filters, weights * out.size)


def dense(volume: Volume, neurons: int, bias: bool = True) -> LayerCost:
    """Return a dense layer: each neuron has a weight for each number of the volume, and a bias."""
    weights = volume.size * neurons
    return LayerCost("dense", Volume(1, 1, neurons), weights + bias * neurons, weights)


def layer(module: nn.Module, volume: Volume) -> LayerCost:
    """Return output, parameters and multiply-adds of `module` for an input `volume`.

    Raises TypeError for an unknown kind of module.
    """
    match module:
        case nn.Conv2d(groups=1, dilation=(1, 1)):
            padding = _same_padding(module) if module.padding == "same" else _pair(module.padding)
            extents = _pair(module.kernel_size), _pair(module.stride), padding
            return conv(volume, module.out_channels, *extents, bias=module.bias is not None)
        case nn.MaxPool2d(dilation=1, ceil_mode=False):
            size, stride = _pair(module.kernel_size), _pair(module.stride)
            pooled = conv(volume, volume.depth, size, stride, _pair(module.padding)).output
            return LayerCost("max pool", pooled)
        case nn.AdaptiveAvgPool2d(output_size=1):
            return LayerCost("mean", Volume(1, 1, volume.depth))
        case nn.Linear():
            return dense(volume, module.out_features, bias=module.bias is not None)
        case nn.Flatten():
            return LayerCost("flatten", Volume(1, 1, volume.size))
        case nn.BatchNorm2d():
            return LayerCost("batch norm", volume, 2 * volume.depth)
        case nn.ReLU() | nn.GELU() | nn.Dropout():
            return LayerCost(type(module).__name__.lower(), volume)
        case nn.Sequential():
            rows = layers(module, volume)
            costs = sum(row.parameters for row in rows), sum(row.multiply_adds for row in rows)
            return LayerCost(type(module).__name__.lower(), rows[-1].output, *costs)
    raise TypeError(f"no arithmetic for a layer of type {type(module).__name__}")


def layers(modules: Iterable[nn.Module], volume: Volume) -> list[LayerCost]:
    """Return the layer of each module, starting from the input `volume`.

    Raises ValueError, which names the layer, if a filter does not fit into its input.
    """
    rows: list[LayerCost] = []
    for number, module in enumerate(modules, 1):
        try:
            rows.append(layer(module, volume))
        except ValueError as error:
            raise ValueError(f"layer {number} ({type(module).__name__}, input {volume}): {error}") from None
        volume = rows[-1].output
    return rows


def _pair(value: Any) -> tuple[int, int]:
    height, width = value if isinstance(value, tuple) else (value, value)
    return int(height), int(width)


def _same_padding(module: nn.Conv2d) -> tuple[int, int]:
    height, width = module.kernel_size
    if height % 2 == 0 or width % 2 == 0:
        raise ValueError(f"'same' padding needs an odd filter, not {height}×{width}")
    return height // 2, width // 2
