"""What `test` leaves behind: metrics.json, confusion matrix, reliability, the worst mistakes, learning curves."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors

from ..datamodules import ImageDataModule
from ..models import ImageClassifier
from ..models.calibration import reliability
from ..models.metrics import classification_metrics, confusions
from . import plots
from .measure import held_out_temperature

MISTAKES = 25  # images on the sheet of mistakes


class Report(Callback):
    """Collects every test image's logits, over all devices, and writes the report at the end.

    Args:
        folder: where the files go.
        details: what else metrics.json says (the dataset, the seed, the command ...).
        metrics_csv: the run's history, for the learning curves; left out if it is not there.
    """

    def __init__(self, folder: Path, details: dict[str, Any], metrics_csv: Path) -> None:
        self.folder = folder
        self.details = details
        self.metrics_csv = metrics_csv
        self.written: list[str] = []
        self._batches: list[tuple[Tensor, Tensor, Tensor]] = []

    def on_test_batch_end(  # type: ignore[override]
        self, trainer: Trainer, module: LightningModule, outputs: Tensor, batch: Any, *_: Any
    ) -> None:
        self._batches.append((batch[0], outputs, batch[1]))

    def on_test_end(self, trainer: Trainer, module: LightningModule) -> None:
        images, logits, labels = (torch.cat(part) for part in zip(*self._batches, strict=True))
        self._batches.clear()
        worst = _most_confidently_wrong(logits, labels)
        parts = [_gather(part) for part in (logits, labels, images[worst], logits[worst], labels[worst])]
        if not trainer.is_global_zero:
            return
        logits, labels, wrong_images, wrong_logits, wrong_labels = parts
        data: ImageDataModule = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(module, ImageClassifier)
        classes, temperature = data.classes, held_out_temperature(module, data)
        raw, calibrated = logits.softmax(1), (logits / (temperature or 1)).softmax(1)
        metrics = classification_metrics(calibrated, labels)
        metrics["calibration_error_before"] = classification_metrics(raw, labels)["calibration_error"]
        counts = np.array(confusions(logits.argmax(1), labels, len(classes)))
        per_class = {c: counts[i, i] / max(1, counts[i].sum()) for i, c in enumerate(classes)}
        more = {"temperature": temperature, "accuracy_per_class": per_class}
        self._write_json({**metrics, **more, **self.details})

        title = f"{type(module).__name__}: {metrics['accuracy']:.2%} of {metrics['n']:,} test images"
        plots.confusion_matrix(counts, classes, self._path("confusion_matrix.png"), title)
        curves = {"as trained": reliability(raw, labels)}
        if temperature:
            curves["calibrated"] = reliability(calibrated, labels)
        plots.reliability(curves, self._path("reliability.png"), type(module).__name__)
        order = _most_confidently_wrong(wrong_logits, wrong_labels)
        if len(order):
            probabilities = (wrong_logits / (temperature or 1)).softmax(1)
            captions = [
                f"{classes[p]} {probabilities[i, p]:.0%}\nis {classes[wrong_labels[i]]}"
                for i in order
                for p in [int(wrong_logits[i].argmax())]
            ]
            plots.sheet(wrong_images[order].numpy(), captions, self._path("mistakes.png"), "Most confidently wrong")
        else:
            (self.folder / "mistakes.png").unlink(missing_ok=True)
        if self.metrics_csv.is_file():
            plots.learning_curves(self.metrics_csv, self._path("learning_curves.png"), type(module).__name__)

    def _write_json(self, content: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = self.folder / ".metrics.json"
        unfinished.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        unfinished.replace(self._path("metrics.json"))

    def _path(self, name: str) -> Path:
        self.written.append(name)
        return self.folder / name


def _most_confidently_wrong(logits: Tensor, labels: Tensor) -> Tensor:
    """Positions of at most MISTAKES wrong answers, the most confident first."""
    confidence, predicted = logits.softmax(1).max(1)
    wrong = torch.nonzero(predicted != labels).flatten()
    return wrong[confidence[wrong].argsort(descending=True)][:MISTAKES]


def _gather(part: Tensor) -> Tensor:
    """The parts of all devices after one another, on the CPU; they may differ in length."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        part = torch.cat(gather_all_tensors(part))
    return part.cpu()
