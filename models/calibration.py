"""Temperature scaling: probabilities that mean what they say.

Logits are divided by one number, fitted on images that the network was not trained on (Guo et al., "On Calibration of
Modern Neural Networks", arXiv 1706.04599). The likeliest class stays the likeliest.
"""

import math

from scipy.optimize import brentq
from torch import Tensor

BINS = 15  # of confidence, as in the paper
RANGE = (0.01, 100.0)  # of the temperature


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The T at which the network is as sure, on average, as it is right; logits [N, classes], labels int64 [N].

    That is expectation consistency (Clarté et al., arXiv 2303.02644), as good as the least cross-entropy where both
    can be had; but where all held-out images are right the latter would make the network sure of everything. The
    share of right answers is therefore estimated, with Jeffreys' prior: (right + 1/2) / (N + 1).

    Raises ValueError for no images.
    """
    n = len(labels)
    if not n:
        raise ValueError("a temperature is fitted on held-out images: there are none")
    right = (int((logits.argmax(1) == labels).sum()) + 0.5) / (n + 1)

    def too_sure(log_temperature: float) -> float:
        return (logits.double() / math.exp(log_temperature)).softmax(1).amax(1).mean().item() - right

    low, high = map(math.log, RANGE)
    if too_sure(low) <= 0:
        return RANGE[0]
    return RANGE[1] if too_sure(high) >= 0 else math.exp(brentq(too_sure, low, high))


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
