"""A layer of a zoo file: what it does, its volume and its cost."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Layer:
    """A layer, for one image in one view.

    Args:
        name: its kind and number: conv1, relu1, conv2, … The first is `pixels`, what the network makes of the image's
            values, and the last `softmax`.
        operator: of ONNX; several if the file spells the layer out, as GELU.
        tensor: the value in the graph that it computes.
        inputs: the values in the graph that it is computed from: two for a sum.
        sources: the layers that compute these values.
        volume: (depth, height, width); (n, 1, 1) for n numbers.
        kernel: (height, width) of a convolution or a pooling; None for other layers. So are stride and padding.
        stride: (down, right).
        padding: (top, left, bottom, right).
        weight: name of the kernel, with its bias if it has one.
        parameters: number of them.
        multiply_adds: number of them.
        temperature: of the softmax: what it is taken of is divided by it; None for other layers.
        further_views: whether the softmax is taken of a mean over several views of images whose first one is not sure.
        receptive_field: (height, width) of the part of the image that a value depends on. It may be larger than the
            image, whose border is padded.
        receptive_step: (down, right), pixels of the image from the field of one value to that of the next.
        receptive_offset: (top, left) corner of the first value's field, 0 or negative where it has padding.
    """

    name: str
    operator: str
    tensor: str
    inputs: tuple[str, ...]
    volume: tuple[int, int, int]
    kernel: tuple[int, int] | None = None
    stride: tuple[int, int] | None = None
    padding: tuple[int, int, int, int] | None = None
    weight: tuple[str, ...] = ()
    parameters: int = 0
    multiply_adds: int = 0
    sources: tuple[str, ...] = ()
    temperature: float | None = None
    further_views: bool = False
    receptive_field: tuple[int, int] = (1, 1)
    receptive_step: tuple[int, int] = (1, 1)
    receptive_offset: tuple[int, int] = (0, 0)


def arithmetic(layer: Layer, source: Layer) -> str:
    """Return how a layer follows from its source: of one with a window, the width: (28 − 3 + 2·1)/1 + 1 = 28.

    Of the softmax: softmax(dense2 / 0.52), with the temperature. Of other layers an empty string.
    """
    if layer.temperature is not None:
        views = "; of an unsure image, of the mean over several views" if layer.further_views else ""
        return f"softmax({source.name} / {layer.temperature:.2f}){views}"
    if layer.kernel is None or layer.stride is None or layer.padding is None:
        return ""
    width, filter_size, stride = source.volume[2], layer.kernel[1], layer.stride[1]
    _, left, _, right = layer.padding
    padding = f"2·{left}" if left == right else f"{left} + {right}"
    quotient = f"({width} − {filter_size} + {padding})/{stride}"
    whole, rest = divmod(width - filter_size + left + right, stride)
    if rest:
        quotient = f"⌊{quotient}⌋" if layer.volume[2] == whole + 1 else f"⌈{quotient}⌉"
    return f"{quotient} + 1 = {layer.volume[2]}"
