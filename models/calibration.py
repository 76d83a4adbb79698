"""Temperature scaling: divide logits by one number, fitted on held-out images, to calibrate probabilities.

Guo et al., "On Calibration of Modern Neural Networks", arXiv 1706.04599. The predicted class does not change.
"""

import math

import torch.nn.functional as F
from scipy.optimize import brentq, minimize_scalar
from torch import Tensor

BINS = 15  # of confidence, as in the paper
RANGE = (0.01, 100.0)  # of the temperature


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Return the T that minimizes the cross-entropy of logits / T; logits [N, classes], labels int64 [N].

    If all held-out images are correct, T tends to 0. So the mean confidence is capped at (N + 1/2) / (N + 1), the
    estimate by Jeffreys' prior from N correct answers of N.

    Raises ValueError for no images, or for logits that are not finite.
    """
    n = len(labels)
    if not n:
        raise ValueError("there are no held-out images to fit a temperature on: set data.val_fraction above 0")
    logits = logits.double()
    if not logits.isfinite().all():
        raise ValueError("the network's logits are not all finite: training has diverged, lower the learning rate")

    def loss(log_temperature: float) -> float:
        return F.cross_entropy(logits / math.exp(log_temperature), labels).item()

    def overconfidence(log_temperature: float) -> float:
        return (logits / math.exp(log_temperature)).softmax(1).amax(1).mean().item() - (n + 0.5) / (n + 1)

    low, high = map(math.log, RANGE)
    if overconfidence(high) > 0:
        return RANGE[1]
    if overconfidence(low) > 0:
        low = brentq(overconfidence, low, high)
    return math.exp(minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6}).x)


def reliability(probabilities: Tensor, labels: Tensor) -> list[tuple[float, float, int]]:
    """Return (mean confidence, accuracy, images) of each non-empty bin of confidence, lowest confidence first."""
    confidence, predicted = probabilities.double().max(1)
    correct = (predicted == labels).double()
    bins = (confidence * BINS).ceil().clamp(1, BINS)
    rows = []
    for number in bins.unique():
        inside = bins == number
        rows.append((confidence[inside].mean().item(), correct[inside].mean().item(), int(inside.sum())))
    return rows
