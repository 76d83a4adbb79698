"""The figures of a classifier on a labelled set."""

import math

from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error, multiclass_confusion_matrix

from .calibration import BINS

Z = 1.959963984540054  # the normal distribution's 97.5% point, for intervals of 95%


def classification_metrics(probabilities: Tensor, labels: Tensor) -> dict[str, float]:
    """accuracy (0-1) with its interval, n, loss (mean cross-entropy, nats) and calibration_error.

    Args:
        probabilities: float [N, classes].
        labels: int64 [N].

    The interval, accuracy_low to accuracy_high, is Wilson's of 95% (JASA 22, 1927). The calibration error is the
    expected one over 15 bins of confidence (Guo et al., arXiv 1706.04599).
    """
    n, classes = probabilities.shape
    right = int((probabilities.argmax(1) == labels).sum())
    low, high = wilson(right, n)
    error = multiclass_calibration_error(probabilities, labels, num_classes=classes, n_bins=BINS)
    of_the_right_class = probabilities.double().gather(1, labels[:, None])
    return {
        "accuracy": right / n,
        "accuracy_low": low,
        "accuracy_high": high,
        "n": n,
        "loss": -of_the_right_class.clamp_min(1e-45).log().mean().item(),
        "calibration_error": error.item(),
    }


def wilson(right: int, n: int) -> tuple[float, float]:
    """Wilson's score interval of 95% for `right` of `n`."""
    share, spread = right / n, Z * Z / n
    centre = share + spread / 2
    margin = Z * math.sqrt(share * (1 - share) / n + spread / (4 * n))
    return max(0.0, (centre - margin) / (1 + spread)), min(1.0, (centre + margin) / (1 + spread))


def confusions(predicted: Tensor, labels: Tensor, classes: int) -> list[list[int]]:
    """How many images of each true class (rows) were taken for each class (columns)."""
    counts: list[list[int]] = multiclass_confusion_matrix(predicted, labels, num_classes=classes).tolist()
    return counts
