"""Write the checkpoints of a training atomically: a killed process leaves the one before."""

import os
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import CheckpointIO, TorchCheckpointIO
from torch import Tensor

from ..contract.files import atomic_write

BEST: dict[str, Any] = {
    "filename": "best",
    "monitor": "val_accuracy",
    "mode": "max",
    "save_top_k": 1,
    "enable_version_counter": False,
}


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoint writer that survives a kill: the previous checkpoint stays until the new one is complete.

    Lightning's own writer moves a temporary file, which is not atomic between two file systems.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        with atomic_write(Path(path)) as temporary, temporary.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())


def with_atomic_checkpoints(plugins: Any) -> list[Any]:
    """Return a Trainer's plugins, with `AtomicCheckpointIO` unless one of them writes checkpoints."""
    given = plugins if isinstance(plugins, list) else [plugins] if plugins else []
    return given if any(isinstance(one, CheckpointIO) for one in given) else [*given, AtomicCheckpointIO()]


class _Movable(ModelCheckpoint):
    """Lightning's ModelCheckpoint, but it finds its checkpoint again in a run folder that was moved.

    Lightning's forgets the best checkpoint there, and replaces it by a worse one.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        here = Path(self.dirpath or "")
        if (here / f"{self.filename}.ckpt").is_file():
            paths = {key: _moved(state_dict[key], here) for key in ("best_model_path", "kth_best_model_path")}
            scores = {_moved(path, here): score for path, score in state_dict["best_k_models"].items()}
            state_dict = {**state_dict, **paths, "best_k_models": scores, "dirpath": self.dirpath}
        super().load_state_dict(state_dict)


def _moved(path: str, folder: Path) -> str:
    return str(folder / Path(path).name) if path else path


class Best(_Movable):
    """Checkpoint of the best epoch. Of equally good ones the last is kept.

    With few validation images a network soon classifies all of them correctly, and still improves.
    """

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        if super().check_monitor_top_k(trainer, current):
            return True
        return current is not None and bool(current == self.best_k_models[self.kth_best_model_path])


def check_best(options: dict[str, Any]) -> None:
    """Raise ValueError for options of `Best` with which best.ckpt would not be the best checkpoint."""
    for name in ("dirpath", "filename", "save_top_k"):
        if options[name] != BEST.get(name):
            raise ValueError(f"checkpoint.{name} is {options[name]}: fit keeps one best checkpoint, as best.ckpt")
    monitor = options["monitor"]
    if not monitor:
        raise ValueError("checkpoint.monitor is null: give a metric, such as val_accuracy")
    for ending, mode, best in (("loss", "min", "lowest"), ("accuracy", "max", "highest")):
        if monitor.endswith(ending) and options["mode"] != mode:
            raise ValueError(f"the best {monitor} is the {best}: give --checkpoint.mode {mode}, too")


class Last(_Movable):
    """Checkpoint at the end of every epoch. Lightning tells its state from that of a user's callback by its class."""


class WithinEpoch(_Movable):
    """Checkpoint every so many steps, or one step later if a validation follows the step.

    If Lightning resumed from a checkpoint between a step and its validation, it would skip the validation, and at the
    end of an epoch the row in the log, too. There the end of the epoch saves one. If a validation follows the later
    step, too, the checkpoint is saved all the same. A training that diverges keeps its last good checkpoint.

    Args:
        every: number of steps.
    """

    def __init__(self, every: int, **options: Any) -> None:
        super().__init__(every_n_train_steps=1, **options)
        self.every = every
        self._due = False

    def on_train_batch_end(self, trainer: Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.is_last_batch:
            self._due = False
        if trainer.is_last_batch or (batch_idx + 1) % trainer.accumulate_grad_batches:  # this batch was no step
            return
        late = self._due
        self._due = late or trainer.global_step % self.every == 0
        waits = _is_validated(trainer, batch_idx) and not late
        if self._due and not waits and not module.diverges():
            self._due = False
            super().on_train_batch_end(trainer, module, outputs, batch, batch_idx)


def _is_validated(trainer: Trainer, batch_idx: int) -> bool:
    """Return whether a validation within the epoch follows a batch, if validations are counted in batches."""
    epochs, every = trainer.check_val_every_n_epoch, trainer.val_check_batch
    if not trainer.enable_validation or not isinstance(every, int) or (epochs and (trainer.current_epoch + 1) % epochs):
        return False
    return ((batch_idx if epochs else trainer.fit_loop.total_batch_idx) + 1) % every == 0


def last_checkpoints(every: int | None) -> list[ModelCheckpoint]:
    """Return callbacks that save last.ckpt at the end of every epoch and, if given, `every` so many steps."""
    # ModelCheckpoint(save_last=True) would save it only together with a new best checkpoint.
    common: dict[str, Any] = {"filename": "last", "enable_version_counter": False}
    at_epoch_end = Last(**common, save_on_train_epoch_end=True)
    return [at_epoch_end, WithinEpoch(every, **common)] if every else [at_epoch_end]
