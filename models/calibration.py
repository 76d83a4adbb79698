"""Temperature scaling: probabilities that mean what they say.

Logits are divided by one number, fitted on images that the network was not trained on (Guo et al., "On Calibration of
Modern Neural Networks", arXiv 1706.04599). The likeliest class stays the likeliest.
"""

import math

import torch.nn.functional as F
from scipy.optimize import brentq, minimize_scalar
from torch import Tensor

BINS = 15  # of confidence, as in the paper
RANGE = (0.01, 100.0)  # of the temperature


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The T for which the cross-entropy of logits / T is least; logits [N, classes], labels int64 [N].

    Where every held-out image is right that would be 0, and the network sure of everything. So it is never surer, on
    average, than N right answers out of N support: (N + 1/2) / (N + 1), by Jeffreys' prior.

    Raises ValueError for no images, or for logits that are no numbers.
    """
    n = len(labels)
    if not n:
        raise ValueError("a temperature is fitted on held-out images: there are none")
    logits = logits.double()
    if not logits.isfinite().all():
        raise ValueError("the network's logits are not all finite: it has diverged, train it anew")

    def loss(log_temperature: float) -> float:
        return F.cross_entropy(logits / math.exp(log_temperature), labels).item()

    def too_sure(log_temperature: float) -> float:
        return (logits / math.exp(log_temperature)).softmax(1).amax(1).mean().item() - (n + 0.5) / (n + 1)

    low, high = map(math.log, RANGE)
    if too_sure(high) > 0:
        return RANGE[1]
    if too_sure(low) > 0:
        low = brentq(too_sure, low, high)
    return math.exp(minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6}).x)


def reliability(probabilities: Tensor, labels: Tensor) -> list[tuple[float, float, int]]:
    """(mean confidence, accuracy, images) of each bin of confidence that has images, from the least sure."""
    confidence, predicted = probabilities.double().max(1)
    right = (predicted == labels).double()
    bins = (confidence * BINS).ceil().clamp(1, BINS)
    rows = []
    for number in bins.unique():
        inside = bins == number
        rows.append((confidence[inside].mean().item(), right[inside].mean().item(), int(inside.sum())))
    return rows
