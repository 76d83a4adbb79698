"""Fit the distribution of familiarity again, in a file whose network was changed after the fit."""

import numpy as np
import onnx
import torch
from onnx.numpy_helper import from_array, to_array
from torch import Tensor

from .familiarity import apart


def refit_familiarity(proto: onnx.ModelProto, found: Tensor) -> None:
    """Change the steps of familiarity in `proto` so that it is evenly distributed on held-out images again.

    Args:
        found: the file's familiarity of the held-out images, float32 [N].
    """
    tensors = {tensor.name: tensor for tensor in proto.graph.initializer}
    upper, width, share = (tensors[f"familiarity.{name}"] for name in ("upper", "width", "share"))
    knots = np.append(to_array(upper)[0] - to_array(width)[0], to_array(upper)).astype(np.float64)
    levels = 1 - np.append(0, np.cumsum(to_array(share), dtype=np.float64))  # familiarity at the knots
    strangeness = np.interp(-found.double().numpy(), -levels, knots)
    quantiles = np.quantile(strangeness, np.clip(1 - levels, 0, 1))
    again = apart(torch.from_numpy(quantiles), torch.from_numpy(levels)).numpy()
    for tensor, values in ((upper, again[1:]), (width, np.diff(again))):
        tensor.CopyFrom(from_array(values.astype(np.float32), tensor.name))
