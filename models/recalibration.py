"""Fit the distribution of familiarity again, in a file whose network was changed after the fit."""

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx.numpy_helper import from_array, to_array
from torch import Tensor

from ..contract.names import INPUT
from .familiarity import apart

AT_ONCE = 100  # images


def refit_familiarity(proto: onnx.ModelProto, images: Tensor) -> None:
    """Change the steps of familiarity in `proto` so that it is evenly distributed on held-out images again.

    Args:
        images: the held-out images, uint8 [N, C, H, W].
    """
    tensors = {tensor.name: tensor for tensor in proto.graph.initializer}
    upper, width, share = (tensors[f"familiarity.{name}"] for name in ("upper", "width", "share"))
    levels = 1 - np.append(0, np.cumsum(to_array(share), dtype=np.float64))  # familiarity at the ends of the steps
    quantiles = np.quantile(_strangeness(proto, images), np.clip(1 - levels, 0, 1))
    again = apart(torch.from_numpy(quantiles), torch.from_numpy(levels)).numpy()
    for tensor, values in ((upper, again[1:]), (width, np.diff(again))):
        tensor.CopyFrom(from_array(values.astype(np.float32), tensor.name))


def _strangeness(proto: onnx.ModelProto, images: Tensor) -> np.ndarray:
    """Return the images' strangeness, float64 [N], which the file compares with the steps."""
    upper = {"familiarity.upper"}
    upper |= {n.output[0] for n in proto.graph.node if n.op_type == "Cast" and n.input[0] in upper}  # of an fp16 file
    (name,) = (n.input[1] for n in proto.graph.node if n.op_type == "Sub" and n.input[0] in upper)
    opened = onnx.ModelProto()
    opened.CopyFrom(proto)
    opened.graph.output.append(onnx.ValueInfoProto(name=name))
    session = ort.InferenceSession(opened.SerializeToString(), providers=["CPUExecutionProvider"])
    found = [session.run([name], {INPUT: batch.numpy()})[0] for batch in images.split(AT_ONCE)]
    return np.concatenate(found).ravel().astype(np.float64)
