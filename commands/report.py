"""The report of `test`: metrics.json and plots. The table of `summary`."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from rich.table import Table
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors

from ..contract.class_scores import class_scores
from ..contract.files import atomic_write
from ..datamodules import ImageDataModule
from ..models import ImageClassifier
from ..models.arithmetic import Volume
from ..models.calibration import reliability
from ..models.summary import summarize
from . import plots
from .measure import held_out_temperature, measure
from .repeated import Point

MISTAKES = 25  # images on the sheet of mistakes


class Report(Callback):
    """Callback that collects the logits of all test images, over all devices, and writes the report at the end.

    It keeps only the images of the worst mistakes.

    Args:
        folder: where the files go. Its metrics.csv, if there is one, gives the learning curves.
        details: further fields of metrics.json, such as the dataset, the seed and the command.
    """

    def __init__(self, folder: Path, details: dict[str, Any]) -> None:
        self.folder = folder
        self.details = details
        self.written: list[str] = []
        self._answers: list[tuple[Tensor, Tensor]] = []  # logits and labels
        self._mistakes: list[tuple[Tensor, Tensor, Tensor]] = []  # images, logits and labels of the worst ones

    def on_test_batch_end(  # type: ignore[override]
        self, trainer: Trainer, module: LightningModule, outputs: Tensor, batch: Any, *_: Any
    ) -> None:
        images, labels = batch
        self._answers.append((outputs, labels))
        worst = _worst_mistakes(outputs, labels)
        self._mistakes.append((images[worst], outputs[worst], labels[worst]))
        images, logits, labels = _joined(self._mistakes)
        worst = _worst_mistakes(logits, labels)
        self._mistakes = [(images[worst], logits[worst], labels[worst])]

    def on_test_end(self, trainer: Trainer, module: LightningModule) -> None:
        gathered = [_gather(part) for part in (*_joined(self._answers), *_joined(self._mistakes))]
        self._answers.clear()
        self._mistakes.clear()
        if not trainer.is_global_zero:
            return
        logits, labels, wrong_images, wrong_logits, wrong_labels = gathered
        data: ImageDataModule = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(module, ImageClassifier)
        classes, temperature = data.classes, held_out_temperature(module, data)
        raw, calibrated = logits.softmax(1), (logits / (temperature or 1)).softmax(1)
        measured = measure((logits, calibrated), labels)
        metrics, counts = measured["metrics"], measured["confusion_matrix"]
        scores = dict(zip(classes, class_scores(counts), strict=True))
        more = {
            "temperature": temperature,
            "accuracy_per_class": {name: found.recall for name, found in scores.items()},
            "per_class": {name: asdict(found) for name, found in scores.items()},
        }
        self._write_json({**metrics, **more, **self.details})

        title = f"{type(module).__name__}: {metrics['accuracy']:.2%} of {metrics['n']:,} test images"
        plots.confusion_matrix(np.array(counts), classes, self._path("confusion_matrix.png"), title)
        plots.per_class(scores, self._path("per_class.png"), title)
        curves = {"as trained": reliability(raw, labels)}
        if temperature:
            curves["calibrated"] = measured["reliability"]
        plots.reliability(curves, self._path("reliability.png"), type(module).__name__)
        order = _worst_mistakes(wrong_logits, wrong_labels)
        if len(order):
            probabilities = (wrong_logits / (temperature or 1)).softmax(1)
            captions = [
                f"{classes[p]} {probabilities[i, p]:.0%}\nis {classes[wrong_labels[i]]}"
                for i in order
                for p in [int(wrong_logits[i].argmax())]
            ]
            plots.captioned_images(
                wrong_images[order].numpy(), captions, self._path("mistakes.png"), "Most confidently wrong"
            )
        else:
            (self.folder / "mistakes.png").unlink(missing_ok=True)
        if (self.folder / "metrics.csv").is_file():
            plots.learning_curves(self.folder / "metrics.csv", self._path("learning_curves.png"), type(module).__name__)

    def _write_json(self, content: dict[str, Any]) -> None:
        with atomic_write(self._path("metrics.json")) as temporary:
            temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    def _path(self, name: str) -> Path:
        self.written.append(name)
        return self.folder / name


def summary_table(model: ImageClassifier) -> Table:
    """Return the volume, parameters and multiply-adds of every layer, for one image."""
    table = Table(title=type(model).__name__)
    table.add_column("layer")
    for column in ("volume W × H × D", "parameters", "multiply-adds"):
        table.add_column(column, justify="right")
    depth, height, width = model.input_shape
    table.add_row("input", str(Volume(width, height, depth)), "", "")
    rows = summarize(model)
    for row in rows:
        table.add_row(row.kind, str(row.output), _number(row.parameters), _number(row.multiply_adds))
    table.add_section()
    table.add_row("total", "", _number(sum(r.parameters for r in rows)), _number(sum(r.multiply_adds for r in rows)))
    return table


def _worst_mistakes(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the positions of at most MISTAKES wrong answers, the most confident first."""
    confidence, predicted = logits.softmax(1).max(1)
    wrong = torch.nonzero(predicted != labels).flatten()
    return wrong[confidence[wrong].argsort(descending=True)][:MISTAKES]


def _joined(parts: Sequence[tuple[Tensor, ...]]) -> list[Tensor]:
    return [torch.cat(part) for part in zip(*parts, strict=True)]


def _gather(part: Tensor) -> Tensor:
    """Return the tensors of all devices, concatenated, on the CPU. Their lengths may differ."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        part = torch.cat(gather_all_tensors(part))
    return part.cpu()


def _number(value: int) -> str:
    return f"{value:,}" if value else ""


def seeds_table(points: Sequence[Point]) -> Table:
    """Return a table of the points of a sweep: mean and standard deviation of the accuracy over seeds."""
    table = Table(*points[0].values, "seeds", "validation", "test")
    for point in points:
        scores = [point.percent(score) for score in ("val_accuracy", "test_accuracy")]
        table.add_row(*point.values.values(), str(len(point.rows)), *scores)
    return table
