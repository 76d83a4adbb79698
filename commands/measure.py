"""What an exported file is worth, by ONNX Runtime's answers: the figures of its card."""

from typing import Any

import torch
from rich.progress import track
from torch import Tensor

from ..datamodules import ImageDataModule
from ..datamodules.augment import Fill
from ..datamodules.corruptions import CORRUPTIONS, corrupt
from ..models.calibration import reliability
from ..models.export import Answers, OnnxFile
from ..models.metrics import classification_metrics, confusions

SEVERITIES = range(1, 6)


def measure(answers: Answers, labels: Tensor) -> dict[str, Any]:
    """The card's metrics, confusion_matrix and reliability, from the answers to the test images."""
    logits, probabilities = answers
    metrics = classification_metrics(probabilities, labels)
    before = classification_metrics(logits.softmax(1), labels)
    metrics["calibration_error_before"] = before["calibration_error"]
    return {
        "metrics": metrics,
        "confusion_matrix": confusions(logits.argmax(1), labels, logits.shape[1]),
        "reliability": [list(row) for row in reliability(probabilities, labels)],
    }


def robustness(file: OnnxFile, data: ImageDataModule, count: int) -> dict[str, Any]:
    """The card's robustness: accuracy under every corruption, on at most `count` test images, evenly spread.

    Empty for a count of 0.
    """
    if not count:
        return {}
    images, labels = data.load(train=False)
    chosen = torch.linspace(0, len(labels) - 1, min(count, len(labels))).long()
    images, labels = images[chosen], labels[chosen]
    fill: Fill = "mirror" if data.prepare_picture == "photo" else "black"
    table: dict[str, list[float]] = {name: [] for name in CORRUPTIONS}
    for name, severity in track([(name, severity) for name in CORRUPTIONS for severity in SEVERITIES], "Corruptions"):
        predicted = file.answers(corrupt(images, name, severity, fill))[0].argmax(1)
        table[name].append((predicted == labels).double().mean().item())
    return {"images": len(labels), "accuracy": table}
