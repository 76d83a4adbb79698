"""Read the layers of a zoo file from its ONNX graph.

Only the way from the image to its logits in one view is listed. Familiarity, and further views of the same image, are
left out.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import onnx
from onnx.numpy_helper import to_array

from .layers import Layer
from .names import INPUT, LOGITS, PROBABILITIES, ContractError

# By ONNX operator, the name of a layer of that kind. Other operators belong to the layer before them.
KINDS = {
    "Conv": "conv",
    "Gemm": "dense",
    "MatMul": "dense",
    "Relu": "relu",
    "Gelu": "gelu",
    "MaxPool": "pool",
    "AveragePool": "mean_pool",
    "BatchNormalization": "norm",
    "GlobalAveragePool": "mean",
    "ReduceMean": "mean",
    "DequantizeLinear": "round",
    "Softmax": "softmax",
}
WEIGHTED = ("Conv", "Gemm", "MatMul")


def read_layers(proto: onnx.ModelProto) -> list[Layer]:
    """Return the layers from the pixels to the probabilities.

    Raises ContractError if the graph has no layer with weights, or is not built as this project's networks are.
    """
    bare = onnx.ModelProto()
    bare.CopyFrom(proto)
    del bare.graph.value_info[:]  # of an fp16 file it holds the types of the fp32 network
    try:
        return _Reader(onnx.shape_inference.infer_shapes(bare, data_prop=True).graph).layers()
    except (LookupError, ArithmeticError, ValueError, TypeError, onnx.shape_inference.InferenceError) as error:
        if isinstance(error, ContractError):
            raise
        raise ContractError("its layers cannot be listed: the graph is unlike those that cnnzoo exports") from None


def with_values(proto: onnx.ModelProto, layers: Iterable[Layer]) -> tuple[bytes, dict[str, np.ndarray]]:
    """Return a file whose outputs are also the values and inputs of layers, and the constant weights of layers by name.

    Weights that an int8 file computes from the rounded ones are outputs, too.
    """
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    wanted = {name for layer in layers for name in (layer.tensor, *layer.inputs, *layer.weight)}
    there = {value.name for value in (*proto.graph.output, *proto.graph.input)}
    opened = onnx.ModelProto()
    opened.CopyFrom(proto)
    opened.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(wanted - there - constants.keys()))
    weights = {name: np.asarray(to_array(constants[name]), np.float32) for name in wanted & constants.keys()}
    return opened.SerializeToString(), weights


@dataclass
class _Reach:
    """Receptive field of a value, its step and its offset, as in a Layer."""

    field: tuple[int, int] = (1, 1)
    step: tuple[int, int] = (1, 1)
    offset: tuple[int, int] = (0, 0)

    def through(self, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, ...] = (0, 0)) -> "_Reach":
        (height, width), (down, right) = self.field, self.step
        field = height + (kernel[0] - 1) * down, width + (kernel[1] - 1) * right
        offset = self.offset[0] - padding[0] * down, self.offset[1] - padding[1] * right
        return _Reach(field, (stride[0] * down, stride[1] * right), offset)


class _Reader:
    """Walks once through a graph, whose nodes are sorted."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.initializers = {tensor.name: tensor for tensor in graph.initializer}
        self.shapes = {value.name: _shape(value) for value in (*graph.value_info, *graph.input, *graph.output)}
        self.constant = _constants(graph)
        _, _, height, width = self.shapes[INPUT]
        self.image = height, width
        self.reach: dict[str, _Reach] = {INPUT: _Reach()}
        self.layer_of: dict[str, str] = {}  # value: that of the layer whose result it is, reshaped or scaled
        self.gelu: dict[str, str] = {}  # value within a GELU that is spelled out: the GELU's input
        self.found: list[Layer] = []
        self.counts: dict[str, int] = {}

    def layers(self) -> list[Layer]:
        nodes = self._way_to_logits()
        first = next(i for i, node in enumerate(nodes) if node.op_type in WEIGHTED)
        pixels = self._computed(nodes[first])[0]
        self.reach[pixels] = _Reach()
        self._add(Layer("pixels", "Sub, Div", pixels, (INPUT,), self._volume(pixels)), numbered=False)
        for node in nodes[first:]:
            self._read(node)
        last = self.found[-1].tensor
        classes = self._volume(PROBABILITIES)
        softmax = Layer("softmax", "Softmax", PROBABILITIES, (last,), classes, temperature=self._temperature(last))
        views = any(node.op_type == "NonZero" for node in ancestors(self.graph.node, LOGITS))
        self._add(replace(softmax, further_views=views), False)
        return self.found

    def _temperature(self, dense: str) -> float:
        """Return by what the values of the last dense layer are divided before the softmax, in one view."""
        makers = {output: node for node in self.graph.node for output in node.output}
        temperature, value = 1.0, makers[PROBABILITIES].input[0]
        while value != dense and value in makers:
            node = makers[value]
            if node.op_type in ("Div", "Mul") and node.input[1] in self.constant:
                factor = self._number(node.input[1], makers)
                temperature *= factor if node.op_type == "Div" else 1 / factor
            value = node.input[0]
        return temperature

    def _number(self, name: str, makers: dict[str, onnx.NodeProto]) -> float:
        """Return a constant of one number."""
        if name in self.initializers:
            return float(to_array(self.initializers[name]).item())
        return float(to_array(makers[name].attribute[0].t).item())  # of a Constant

    def _way_to_logits(self) -> list[onnx.NodeProto]:
        """Return the nodes from the image to the logits of its first view."""
        before = ancestors(self.graph.node, LOGITS)
        head, later = None, set[str]()  # later: values of the images that are looked at in further views
        for node in before:
            if node.op_type == "NonZero" or later & set(node.input):
                later |= set(node.output)
            elif node.op_type in WEIGHTED and node.input[1] in self.constant:
                head = node
        if head is None:
            raise ContractError("it has no convolution and no dense layer")
        return [node for node in ancestors(before, head.output[0]) if not self.constant >= set(node.output)]

    def _computed(self, node: onnx.NodeProto) -> list[str]:
        return [name for name in node.input if name and name not in self.constant]

    def _read(self, node: onnx.NodeProto) -> None:
        """Add the layer that a node is, or note that it belongs to the layer before it."""
        inputs, output = self._computed(node), node.output[0]
        source = max(inputs, key=lambda name: self.reach[name].field)
        if node.op_type in ("Conv", "MaxPool", "AveragePool"):
            return self._add_window(node, source)
        if node.op_type in ("Gemm", "MatMul"):
            return self._add_dense(node, source)
        self.reach[output] = self.reach[source]
        if len(inputs) > 1 and node.op_type == "Mul" and self.gelu.get(inputs[1]) == inputs[0]:
            return self._add(Layer("gelu", "Div, Erf, Add, Mul", output, (inputs[0],), self._volume(output)))
        if node.op_type == "Erf":
            self.gelu[output] = self.layer_of[source]
        elif source in self.gelu:
            self.gelu[output] = self.gelu[source]
        elif len(inputs) > 1 and node.op_type == "Add":
            return self._add(Layer("add", "Add", output, tuple(inputs), self._volume(output)))
        elif node.op_type in KINDS:
            return self._add_simple(node, source)
        elif node.op_type == "Slice":  # a shortcut past a layer with a stride
            (_, height, width), (_, rows, columns) = self._volume(source), self._volume(output)
            self.reach[output] = self.reach[source].through((1, 1), (round(height / rows), round(width / columns)))
        self.layer_of[output] = self.layer_of.get(source, source)
        return None

    def _add_window(self, node: onnx.NodeProto, source: str) -> None:
        attributes = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
        if any(step > 1 for step in attributes.get("dilations", ())):
            raise ContractError(f"its {node.op_type} is dilated, which is not drawn")
        if attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
            raise ContractError(f"its {node.op_type} is padded by auto_pad, which is not drawn: state pads")
        output = node.output[0]
        kernel, stride = tuple(attributes["kernel_shape"]), tuple(attributes.get("strides", (1, 1)))
        padding = tuple(attributes.get("pads", (0, 0, 0, 0)))
        self.reach[output] = self.reach[source].through(kernel, stride, padding)
        volume = self._volume(output)
        layer = Layer(KINDS[node.op_type], node.op_type, output, (source,), volume, kernel, stride, padding)
        if node.op_type == "Conv":
            weight = self._weights(node)
            depth = self._volume(source)[0] // attributes.get("group", 1)
            multiply_adds = prod(layer.volume) * prod(kernel) * depth
            layer = replace(layer, weight=weight, parameters=self._count(weight), multiply_adds=multiply_adds)
        self._add(layer)

    def _add_dense(self, node: onnx.NodeProto, source: str) -> None:
        output, weight = node.output[0], self._weights(node)
        volume = self._volume(output)
        self.reach[output] = _Reach(self.image, (0, 0))
        self._add(
            Layer(
                "dense",
                node.op_type,
                output,
                (source,),
                volume,
                weight=weight,
                parameters=self._count(weight),
                multiply_adds=volume[0] * prod(self._volume(source)),
            )
        )

    def _add_simple(self, node: onnx.NodeProto, source: str) -> None:
        kind, output = KINDS[node.op_type], node.output[0]
        if kind == "round" and self.found[-1].name.startswith(("pool", "round")):  # rounded already
            self.layer_of[output] = self.layer_of.get(source, source)
            return
        if kind == "mean":
            self.reach[output] = _Reach(self.image, (0, 0))
        weight = self._weights(node)[:2] if kind == "norm" else ()
        self._add(
            Layer(
                kind,
                node.op_type,
                output,
                (source,),
                self._volume(output),
                weight=weight,
                parameters=self._count(weight),
            )
        )

    def _add(self, layer: Layer, numbered: bool = True) -> None:
        kind = layer.name
        self.counts[kind] = self.counts.get(kind, 0) + 1
        names = {one.tensor: one.name for one in self.found}
        sources = tuple(names[self.layer_of.get(value, value)] for value in layer.inputs if value != INPUT)
        self.layer_of[layer.tensor] = layer.tensor
        reach = self.reach.get(layer.tensor, _Reach(self.image))
        name = f"{kind}{self.counts[kind]}" if numbered else kind
        self.found.append(
            replace(
                layer, name=name, sources=sources, receptive_field=reach.field, receptive_step=reach.step,
                receptive_offset=reach.offset,
            )
        )  # fmt: skip

    def _weights(self, node: onnx.NodeProto) -> tuple[str, ...]:
        """Return the names of a node's constants. A bias of zeros is the exporter's, for a layer without one."""
        names = [name for name in node.input[1:] if name in self.constant]
        return tuple(name for name in names if name == names[0] or name.endswith(".bias") or self._is_used(name))

    def _is_used(self, name: str) -> bool:
        return name not in self.initializers or bool(np.any(to_array(self.initializers[name])))

    def _count(self, names: Iterable[str]) -> int:
        return sum(prod(self._constant_shape(name)) for name in names)

    def _constant_shape(self, name: str) -> tuple[int, ...]:
        if name in self.initializers:
            return tuple(self.initializers[name].dims)
        (node,) = (node for node in self.graph.node if name in node.output)  # DequantizeLinear
        return self._constant_shape(node.input[0])

    def _volume(self, name: str) -> tuple[int, int, int]:
        shape = self.shapes.get(name, ())
        if len(shape) not in (2, 4) or not all(shape[1:]):
            raise ContractError(f"the graph does not say which volume {name[:64]} has")
        depth, height, width = (*shape[1:], 1, 1)[:3]
        return depth, height, width


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    """Return the shape of a value; 0 for a side that is not fixed."""
    return tuple(side.dim_value for side in value.type.tensor_type.shape.dim)


def _constants(graph: onnx.GraphProto) -> set[str]:
    """Return the values that do not depend on the image's pixels."""
    constant = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Shape" or all(not name or name in constant for name in node.input):
            constant |= set(node.output)
    return constant


def ancestors(nodes: Iterable[onnx.NodeProto], value: str) -> list[onnx.NodeProto]:
    """Return the nodes that a value is computed from, sorted as the graph is."""
    wanted, found = {value}, []
    for node in reversed(list(nodes)):
        if wanted & set(node.output):
            wanted |= set(node.input)
            found.append(node)
    return found[::-1]
