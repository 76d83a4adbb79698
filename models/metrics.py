"""Metrics of a classifier on a labeled set."""

from scipy.stats import binomtest
from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error, multiclass_confusion_matrix

from ..contract.class_scores import balanced_accuracy
from .calibration import BINS


def classification_metrics(probabilities: Tensor, labels: Tensor) -> dict[str, float]:
    """Return accuracy and balanced_accuracy (0-1), n, loss (mean cross-entropy, nats) and calibration_error.

    The balanced accuracy is the mean over the classes. The interval of the accuracy, accuracy_low to accuracy_high, is
    Wilson's 95% interval (JASA 22, 1927). The calibration error is the expected one over 15 bins of confidence (Guo et
    al., arXiv 1706.04599); TorchMetrics gives a confidence of exactly 1 a bin of its own.

    Args:
        probabilities: float [N, classes].
        labels: int64 [N].
    """
    n, classes = probabilities.shape
    correct = int((probabilities.argmax(1) == labels).sum())
    low, high = wilson(correct, n)
    error = multiclass_calibration_error(probabilities, labels, num_classes=classes, n_bins=BINS)
    of_true_class = probabilities.double().gather(1, labels[:, None])
    return {
        "accuracy": correct / n,
        "accuracy_low": low,
        "accuracy_high": high,
        "balanced_accuracy": balanced_accuracy(confusions(probabilities.argmax(1), labels, classes)),
        "n": n,
        "loss": -of_true_class.clamp_min(1e-45).log().mean().item(),
        "calibration_error": error.item(),
    }


def wilson(correct: int, n: int) -> tuple[float, float]:
    """Return Wilson's 95% interval of the share `correct` of `n`."""
    interval = binomtest(correct, n).proportion_ci(confidence_level=0.95, method="wilson")
    return float(interval.low), float(interval.high)


def confusions(predicted: Tensor, labels: Tensor, classes: int) -> list[list[int]]:
    """Return the number of images by true class (rows) and predicted class (columns)."""
    counts: list[list[int]] = multiclass_confusion_matrix(predicted, labels, num_classes=classes).tolist()
    return counts
