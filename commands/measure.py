"""What an exported file is worth, by ONNX Runtime's answers: the figures of its card."""

from typing import Any

import torch
from rich.progress import track
from torch import Tensor

from ..contract.card import Number, Robustness
from ..datamodules import ImageDataModule
from ..datamodules.augment import Fill
from ..datamodules.corruptions import CORRUPTIONS, corrupt
from ..models.calibration import reliability
from ..models.export import Answers, OnnxFile
from ..models.metrics import classification_metrics, confusions

SEVERITIES = range(1, 6)
PART = 100  # images that are corrupted at once


def measure(answers: Answers, labels: Tensor) -> dict[str, Any]:
    """The card's metrics, confusion_matrix and reliability, from the answers to the test images."""
    logits, probabilities = answers
    metrics = classification_metrics(probabilities, labels)
    before = classification_metrics(logits.softmax(1), labels)
    metrics["calibration_error_before"] = before["calibration_error"]
    return {
        "metrics": metrics,
        "confusion_matrix": confusions(logits.argmax(1), labels, logits.shape[1]),
        "reliability": reliability(probabilities, labels),
    }


def robustness(file: OnnxFile, data: ImageDataModule, count: int) -> Robustness | None:
    """Accuracy under every corruption, on at most `count` test images, evenly spread; None for a count of 0."""
    if count < 0:
        raise ValueError(f"corruption_images is a number of images from 0 up, not {count}")
    if not count:
        return None
    images, labels = data.load(train=False)
    chosen = torch.linspace(0, len(labels) - 1, min(count, len(labels))).long()
    images, labels = images[chosen], labels[chosen]
    fill: Fill = "mirror" if data.prepare_image == "photo" else "black"
    table: dict[str, list[Number]] = {name: [] for name in CORRUPTIONS}
    for name, severity in track([(name, severity) for name in CORRUPTIONS for severity in SEVERITIES], "Corruptions"):
        right = 0
        for start in range(0, len(labels), PART):
            part = slice(start, start + PART)
            predicted = file.answers(corrupt(images[part], name, severity, fill, start))[0].argmax(1)
            right += int((predicted == labels[part]).sum())
        table[name].append(right / len(labels))
    return {"images": len(labels), "accuracy": table}
