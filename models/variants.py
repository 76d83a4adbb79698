"""Networks in 8-bit integers or 16-bit floats, by ONNX Runtime's tools."""

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel
from torch import Tensor

from ..contract.layer_reader import ancestors
from ..contract.names import FAMILIARITY, INPUT, LOGITS, PROBABILITIES

# Operators with integer inputs and outputs. Others compute in float32.
INTEGER_OPS = ["Conv", "Gemm", "MatMul", "MaxPool", "Relu"]


def to_int8(proto: onnx.ModelProto, images: Tensor) -> onnx.ModelProto:
    """Return the network with 8-bit weights and activations. The last layer and familiarity stay in
    float32.

    Args:
        images: uint8 [N, C, H, W] of the training split. They determine the range of each activation.
    """
    if not len(images):
        raise ValueError("int8 needs training images for the ranges of its activations, and there are none")
    with tempfile.TemporaryDirectory() as folder:
        whole, folded, quantized = (str(Path(folder) / f"{n}.onnx") for n in range(3))
        onnx.save(proto, whole)
        logging.disable(logging.WARNING)  # advice on how to call the next two
        try:
            quant_pre_process(whole, folded, skip_symbolic_shape=True)  # batch norms into convolutions
            precise = _precise(onnx.load(folded).graph)
            quantize_static(
                folded,
                quantized,
                _Batches(images),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=INTEGER_OPS,
                nodes_to_exclude=precise,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                reduce_range=True,  # 7 bits: x86 without VNNI sums two products in 16 bits
            )
        finally:
            logging.disable(logging.NOTSET)
        converted = onnx.load(quantized)
    _share_equal(converted.graph)
    return converted


def _share_equal(graph: onnx.GraphProto) -> None:
    """Merge equal weights: those that several views of an image use are quantized once for each."""
    first: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    names = {t.name: first.setdefault((t.data_type, tuple(t.dims), t.raw_data), t.name) for t in _large(graph)}
    kept = [tensor for tensor in graph.initializer if names.get(tensor.name, tensor.name) == tensor.name]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]


def _large(graph: onnx.GraphProto) -> list[onnx.TensorProto]:
    return [tensor for tensor in graph.initializer if len(tensor.raw_data) > 1000]


def _precise(graph: onnx.GraphProto) -> list[str]:
    """Return the names of the nodes that stay in float32: the last layer, in each view, and those of familiarity."""
    layers = [node for node in ancestors(graph.node, LOGITS) if node.op_type in ("Gemm", "Conv")]
    last = [node.name for node in layers if node.input[1] == layers[-1].input[1]]
    return last + _familiarity_nodes(graph)


def _familiarity_nodes(graph: onnx.GraphProto) -> list[str]:
    """Return the names of the nodes that only familiarity needs."""
    other = {node.name for node in ancestors(graph.node, PROBABILITIES)}
    return [node.name for node in ancestors(graph.node, FAMILIARITY) if node.name not in other]


def to_fp16(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return the network with 16-bit weights and arithmetic. Inputs, outputs and familiarity stay in float32."""
    precise = _familiarity_nodes(proto.graph)
    converted: onnx.ModelProto = convert_float_to_float16(proto, keep_io_types=True, node_block_list=precise)
    # The converter casts a value once for each node that stays in float32, all under one name.
    nodes = {tuple(node.output): node for node in converted.graph.node}
    # It also casts what one such node gives another to 16 bits and back.
    shortened = {n.output[0]: n.input[0] for n in nodes.values() if _casts_to(n, onnx.TensorProto.FLOAT16)}
    for node in nodes.values():
        if _casts_to(node, onnx.TensorProto.FLOAT):
            node.input[0] = shortened.get(node.input[0], node.input[0])
    used = {name for node in nodes.values() for name in node.input} | {value.name for value in converted.graph.output}
    del converted.graph.node[:]
    converted.graph.node.extend(node for node in nodes.values() if used & set(node.output))
    OnnxModel.graph_topological_sort(converted.graph)  # the converter appends its casts
    return converted


def _casts_to(node: onnx.NodeProto, kind: int) -> bool:
    return node.op_type == "Cast" and any(entry.name == "to" and entry.i == kind for entry in node.attribute)


class _Batches(CalibrationDataReader):  # type: ignore[misc]  # published without types
    """Batches of calibration images, all of one size."""

    def __init__(self, images: Tensor) -> None:
        size = max(n for n in range(1, 65) if len(images) % n == 0)
        self._batches: Iterator[Tensor] = iter(images.split(size))

    def get_next(self) -> dict[str, object] | None:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch.numpy()}
