"""The figures of a classifier on a labelled set."""

import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error


def classification_metrics(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """accuracy (0–1), n, loss (mean cross-entropy, nats) and calibration_error of logits [N, classes].

    The calibration error is the expected one over 15 bins of confidence (Guo et al., arXiv 1706.04599).
    """
    probabilities = logits.softmax(1)
    error = multiclass_calibration_error(probabilities, labels, num_classes=logits.shape[1], n_bins=15)
    return {
        "accuracy": (logits.argmax(1) == labels).double().mean().item(),
        "n": len(labels),
        "loss": F.cross_entropy(logits.double(), labels).item(),
        "calibration_error": error.item(),
    }
