"""Measurements that calibrate a network and fill the card of an exported file."""

from collections.abc import Sequence
from typing import Any

import torch
from rich.progress import track
from torch import Tensor

from ..contract.card import Number, Robustness
from ..datamodules import ImageDataModule
from ..datamodules.corruptions import CORRUPTIONS, corrupt
from ..datamodules.warp import Fill
from ..models import ImageClassifier
from ..models.calibration import fit_temperature, reliability
from ..models.export import Answers, OnnxFile, torch_logits
from ..models.metrics import classification_metrics, confusions

SEVERITIES = range(1, 6)
CHUNK = 100  # images that are corrupted at once
FEWEST = 100  # held-out images for a temperature; fewer give a random one


def held_out_temperature(model: ImageClassifier, data: ImageDataModule) -> float | None:
    """Return the temperature fitted on the validation split, or None if it has fewer than `FEWEST` images."""
    data.setup("validate")
    held_out = data.splits["val"]
    if len(held_out) < FEWEST:
        return None
    images, labels = held_out[torch.arange(len(held_out))]
    return fit_temperature(torch_logits(model, images), labels)


def measure(answers: Answers, labels: Tensor) -> dict[str, Any]:
    """Return the card's metrics, confusion_matrix and reliability, from the answers to the test images."""
    logits, probabilities = answers
    metrics = classification_metrics(probabilities, labels)
    before = classification_metrics(logits.softmax(1), labels)
    metrics["calibration_error_before"] = before["calibration_error"]
    return {
        "metrics": metrics,
        "confusion_matrix": confusions(logits.argmax(1), labels, logits.shape[1]),
        "reliability": reliability(probabilities, labels),
    }


def robustness(
    file: OnnxFile, data: ImageDataModule, count: int, kinds: Sequence[str] = tuple(CORRUPTIONS)
) -> Robustness | None:
    """Return the accuracy under each kind of corruption on `count` test images, evenly spaced.

    Returns None for a count of 0. Raises ValueError for a negative count or an unknown kind.
    """
    if unknown := set(kinds) - CORRUPTIONS.keys():
        raise ValueError(f"no corruption is called {', '.join(sorted(unknown))}: there are {', '.join(CORRUPTIONS)}")
    if count < 0:
        raise ValueError(f"corruption_images is {count}: expected a number of images from 0 up")
    if not count:
        return None
    images, labels = data.load(train=False)
    chosen = torch.linspace(0, len(labels) - 1, min(count, len(labels))).long()
    images, labels = images[chosen], labels[chosen]
    fill: Fill = "mirror" if data.prepare_image == "photo" else "black"
    table: dict[str, list[Number]] = {name: [] for name in kinds}
    for name, severity in track([(name, severity) for name in kinds for severity in SEVERITIES], "Corruptions"):
        correct = 0
        for start in range(0, len(labels), CHUNK):
            chunk = slice(start, start + CHUNK)
            predicted = file.answers(corrupt(images[chunk], name, severity, fill, start))[0].argmax(1)
            correct += int((predicted == labels[chunk]).sum())
        table[name].append(correct / len(labels))
    return {"images": len(labels), "accuracy": table}
