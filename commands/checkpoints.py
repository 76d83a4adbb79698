"""Write the checkpoints of a training atomically: a killed process leaves the one before."""

import os
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
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
