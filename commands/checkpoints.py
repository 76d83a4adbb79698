"""Atomic checkpoints, and a CSV log that survives a resume."""

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from ..contract.files import atomic_write


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoint writer that survives a kill: the previous checkpoint stays until the new one is complete.

    Lightning's own writer moves a temporary file, which is not atomic between two file systems.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        with atomic_write(Path(path)) as temporary, temporary.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())


class Best(ModelCheckpoint):
    """Lightning's ModelCheckpoint, but of equally good checkpoints it keeps the last.

    With few validation images a network soon classifies all of them correctly, and still improves.
    """

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        if super().check_monitor_top_k(trainer, current):
            return True
        return current is not None and bool(current == self.best_k_models[self.kth_best_model_path])


class WithinEpoch(ModelCheckpoint):
    """Checkpoint every so many steps, except at the last step of an epoch.

    There the end of the epoch saves one. If Lightning resumed from a checkpoint between the two, it would skip the
    validation and the epoch's row in the log.
    """

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        if not trainer.is_last_batch:
            super().on_train_batch_end(trainer, *args)


def last_checkpoints(every: int | None) -> list[ModelCheckpoint]:
    """Return callbacks that save last.ckpt at the end of every epoch and, if given, `every` so many steps."""
    # ModelCheckpoint(save_last=True) would save it only together with a new best checkpoint.
    common: dict[str, Any] = {"filename": "last", "enable_version_counter": False}
    at_epoch_end = ModelCheckpoint(**common, save_on_train_epoch_end=True)
    return [at_epoch_end, WithinEpoch(**common, every_n_train_steps=every)] if every else [at_epoch_end]


def run_loggers(run: Path, step: int | None = None) -> list[Logger]:
    """Return the TensorBoard and CSV loggers of a run folder.

    Args:
        run: the run folder.
        step: the step of the checkpoint to resume from. What was logged after it is dropped.
    """
    run = run.absolute()  # ModelCheckpoint forgets the best checkpoint if a resumed run's path is written differently
    number = run.name.removeprefix("version_")
    version = int(number) if number.isdecimal() else run.name  # the progress bar shows it
    board = TensorBoardLogger(run.parent.parent, run.parent.name, version, default_hp_metric=False, purge_step=step)
    return [board, ResumableCSVLogger(run, step)]  # the first one's log_dir is the Trainer's


class ResumableCSVLogger(Logger):
    """Logger to metrics.csv in a run folder.

    Nothing is written before the first metrics, so a refused resume leaves the file as it was.

    Args:
        run: the run folder.
        step: the step to resume from. Rows of this step and later are dropped.
    """

    def __init__(self, run: Path, step: int | None = None) -> None:
        super().__init__()
        self.file = run / "metrics.csv"
        self.step = step
        self.columns: list[str] = []
        self.rows: list[dict[str, Any]] = []

    @property
    def name(self) -> str:
        return self.file.parent.parent.name

    @property
    def version(self) -> str:
        return self.file.parent.name

    @property
    def save_dir(self) -> str:
        return str(self.file.parent.parent.parent)

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Ignore them: config.yaml holds them."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if not self.columns and self.step is not None:
            self.rows = read_rows(self.file, self.step)
        first = not self.columns
        self.rows.append({"step": step, **metrics})
        columns = sorted({key for row in (self.rows if first else self.rows[-1:]) for key in row} | {*self.columns})
        if columns == self.columns:
            with self.file.open("a", newline="") as file:
                csv.DictWriter(file, columns).writerow(self.rows[-1])
            return
        self.columns = columns
        with atomic_write(self.file) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self.rows)


def read_rows(metrics_csv: Path, before: int) -> list[dict[str, float]]:
    """Return the rows of a metrics.csv of the steps before `before`; none if there is no file."""
    if not metrics_csv.is_file():
        return []
    with metrics_csv.open(newline="") as file:
        rows = [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]
    for row in rows:
        row |= {key: int(row[key]) for key in ("epoch", "step") if key in row}
    return [row for row in rows if row.get("step", before) < before]  # a row without a step was cut short
