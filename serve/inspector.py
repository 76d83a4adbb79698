"""The values of every layer of a zoo file for an image, and the arithmetic of one of them."""

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import numpy as np
import onnxruntime as ort

from ..contract.layer_reader import read_layers, with_values
from ..contract.layers import Layer
from ..contract.model_file import card_of, parse_onnx
from ..contract.names import INPUT, ContractError

MAX_VALUES = 16_000_000  # of all layers together for an image: 64 MB


class Window(NamedTuple):
    """Inputs and result of one value of a convolution or a pooling.

    Args:
        position: (filter, row, column) of the value.
        patch: the values under the window, float32 [depth, height, width]; 0 where the window reaches past the border.
            Of a pooling: its own channel alone, with -inf past the border.
        kernel: the filter, of the patch's shape; None for a pooling.
        bias: 0 for a filter without one, and for a pooling.
        value: the layer's value there.
        field: top, left, bottom and right of the pixels that the value depends on, the last two exclusive. Cut at the
            image's border.
    """

    position: tuple[int, int, int]
    patch: np.ndarray
    kernel: np.ndarray | None
    bias: float
    value: float
    field: tuple[int, int, int, int]


class Inspector:
    """A zoo file whose layers can be looked at. It has a session of its own, since each output costs memory.

    Args:
        content: the whole file.
        threads: of ONNX Runtime; 0: one a core.

    Raises ContractError if the file has no layers that can be listed, or too many values to show.
    """

    def __init__(self, content: bytes, threads: int = 1) -> None:
        proto = parse_onnx(content)
        self.card = card_of(proto)
        self.layers = {layer.name: layer for layer in read_layers(proto)}
        if (values := sum(prod(layer.volume) for layer in self.layers.values())) > MAX_VALUES:
            raise ContractError(f"its layers have {values:,} values for an image: at most {MAX_VALUES:,} can be shown")
        opened, self._weights = with_values(proto, self.layers.values())
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = threads
        try:
            self._session = ort.InferenceSession(opened, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise ContractError(f"its layers cannot be opened ({str(error).splitlines()[0]})") from None

    def find(self, name: str) -> Layer:
        """Return a layer by its name. Raises KeyError, which lists the names."""
        if name not in self.layers:
            raise KeyError(f"there is no layer {name[:32]!r} (there are {', '.join(self.layers)})")
        return self.layers[name]

    def values(self, image: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the values of layers, float32 [depth, height, width], for an image uint8 [C, H, W].

        Raises ContractError if one is not finite.
        """
        chosen = [self.find(name) for name in names]
        found = self._run(image, [layer.tensor for layer in chosen])
        for layer, rows in zip(chosen, found, strict=True):
            if not np.isfinite(rows[0]).all():
                raise ContractError(f"its layer {layer.name} has values that are not finite")
        # Row 0: some files compute further views of the image in the same batch.
        return {layer.name: rows[0].reshape(layer.volume) for layer, rows in zip(chosen, found, strict=True)}

    def kernel(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the kernels float32 [K, depth, height, width] and the biases [K] of a convolution.

        Raises KeyError for another layer, ContractError for values that are not finite.
        """
        layer = self.find(name)
        if layer.operator != "Conv":
            raise KeyError(f"{name} is no convolution: only those have kernels")
        parts = [self._weight(part) for part in layer.weight]
        if not all(np.isfinite(part).all() for part in parts):
            raise ContractError(f"its layer {name} has weights that are not finite")
        bias = parts[1] if len(parts) > 1 else np.zeros(len(parts[0]), np.float32)
        return parts[0], bias

    def window(self, image: np.ndarray, name: str, position: tuple[int, int, int]) -> Window:
        """Return what the value at `position` of a convolution or a max pooling is computed from.

        Raises KeyError for another layer, IndexError for a position outside its volume.
        Raises ContractError for values that are not finite.
        """
        layer = self.find(name)
        if layer.kernel is None or layer.stride is None or layer.padding is None or layer.operator == "AveragePool":
            raise KeyError(f"{name} is neither a convolution nor a max pooling: only their values can be taken apart")
        if any(not 0 <= at < size for at, size in zip(position, layer.volume, strict=True)):
            depth, height, width = layer.volume
            raise IndexError(f"{name} has {depth} maps of {height} × {width}: the position is outside")
        which, row, column = position
        source, after = self._run(image, [layer.inputs[0], layer.tensor])
        if not (np.isfinite(source).all() and np.isfinite(after).all()):
            raise ContractError(f"its layer {name} has values that are not finite")
        top = row * layer.stride[0] - layer.padding[0]
        left = column * layer.stride[1] - layer.padding[1]
        if layer.operator == "Conv":
            kernels, biases = self.kernel(name)
            kernel: np.ndarray | None = kernels[which]
            depth = kernels.shape[1]
            first = which // (len(kernels) * depth // source.shape[1]) * depth  # of the group
            patch = _cut(source[0, first : first + depth], top, left, layer.kernel, 0.0)
            bias = float(biases[which])
        else:
            kernel, bias = None, 0.0
            patch = _cut(source[0, which : which + 1], top, left, layer.kernel, -np.inf)
        return Window(position, patch, kernel, bias, float(after[0, which, row, column]), self.field(name, row, column))

    def field(self, name: str, row: int, column: int) -> tuple[int, int, int, int]:
        """Return top, left, bottom and right, exclusive, of the pixels that a value of a layer depends on."""
        layer = self.find(name)
        ends = []
        for at, side in ((0, self.card.input_shape[1]), (1, self.card.input_shape[2])):
            first = layer.receptive_offset[at] + (row, column)[at] * layer.receptive_step[at]
            ends.append((max(0, first), min(side, first + layer.receptive_field[at])))
        return ends[0][0], ends[1][0], ends[0][1], ends[1][1]

    def _weight(self, name: str) -> np.ndarray:
        if name in self._weights:
            return self._weights[name]
        blank = np.zeros(self.card.input_shape, np.uint8)
        return self._run(blank, [name])[0]

    def _run(self, image: np.ndarray, tensors: list[str]) -> list[np.ndarray]:
        found = self._session.run(tensors, {INPUT: image[None]})
        return [np.asarray(values, np.float32) for values in found]


def position_of(text: str) -> tuple[int, int, int]:
    """Return the position in a text such as 3,12,7. Raises ValueError."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) < 6 for part in parts):
        raise ValueError("give a map, a row and a column, such as 3,12,7")
    which, row, column = map(int, parts)
    return which, row, column


def _cut(volume: np.ndarray, top: int, left: int, size: tuple[int, int], border: float) -> np.ndarray:
    """Return the part [D, height, width] of a volume at (top, left), with `border` where it reaches past the edge."""
    height, width = size
    padded = np.pad(volume, ((0, 0), (height, height), (width, width)), constant_values=border)
    return padded[:, top + height : top + 2 * height, left + width : left + 2 * width]
