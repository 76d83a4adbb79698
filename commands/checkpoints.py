"""Checkpoints that are whole or not there, and histories that go on where a checkpoint was made."""

import csv
import os
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor

from .runs import version_of


class WholeCheckpoints(TorchCheckpointIO):
    """Writes beside the target and renames, so that a killed process leaves the checkpoint before it.

    Lightning's own goes through a temporary file elsewhere, and a move between two file systems can
    be cut short.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            with unfinished.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)


class Best(ModelCheckpoint):
    """Lightning's, but of checkpoints that are equally good it keeps the last: where few images are held out a network
    soon gets all of them right, and goes on learning."""

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        if super().check_monitor_top_k(trainer, current):
            return True
        return current is not None and bool(current == self.best_k_models[self.kth_best_model_path])


class WithinEpoch(ModelCheckpoint):
    """Saves last.ckpt every so many steps, but for an epoch's last step: the epoch's end saves after it, and
    what Lightning resumes between the two skips the validation and the epoch's row in the history."""

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        if not trainer.is_last_batch:
            super().on_train_batch_end(trainer, *args)


def last(every: int | None) -> list[ModelCheckpoint]:
    """Callbacks that save last.ckpt at the end of every epoch, and `every` so many steps within it."""
    # Of their own, because ModelCheckpoint(save_last=True) saves it only beside a new best one.
    common: dict[str, Any] = {"filename": "last", "enable_version_counter": False}
    at_epoch_end = ModelCheckpoint(**common, save_on_train_epoch_end=True)
    return [at_epoch_end, WithinEpoch(**common, every_n_train_steps=every)] if every else [at_epoch_end]


def loggers(run: Path, step: int | None = None) -> list[Any]:
    """The CSV and TensorBoard loggers of a run folder.

    `step`: of the checkpoint that the run goes on from; what was logged after it is dropped, since
    it will be logged again.
    """
    run = run.absolute()  # ModelCheckpoint forgets its best one where a resumed run's folder is written otherwise
    place = (run.parent.parent, run.parent.name, version_of(run))
    return [History(*place, step), TensorBoardLogger(*place, default_hp_metric=False, purge_step=step)]


class History(CSVLogger):
    """metrics.csv, going on after the row of `step`, if it is given.

    Nothing is written before Lightning logs for the first time: by then the run is set up.
    """

    def __init__(self, root: Path, name: str, version: int, step: int | None) -> None:
        super().__init__(root, name, version, flush_logs_every_n_steps=1)
        self._step = step

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        if self._experiment is None:
            kept = [] if self._step is None else _rows_until(Path(self.log_dir, "metrics.csv"), self._step)
            super().experiment.metrics = kept  # it has deleted the file of the earlier run
            self.save()
        return self._experiment


def _rows_until(metrics_csv: Path, step: int) -> list[dict[str, float]]:
    if not metrics_csv.is_file():
        return []
    with metrics_csv.open(newline="") as file:
        rows = [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]
    for row in rows:
        row |= {key: int(row[key]) for key in ("epoch", "step") if key in row}
    return [row for row in rows if row.get("step", step) < step]  # a row without one was cut short
