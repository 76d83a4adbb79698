"""Write a run folder: its config and its logs. Lock it, and remove it if nothing was trained."""

import os
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from lightning import Callback, Trainer
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from ..contract.files import atomic_write
from . import runs
from .csv_log import ResumableCSVLogger


def run_loggers(run: Path, step: int | None = None) -> list[Logger]:
    """Return the TensorBoard and CSV loggers of a run folder.

    Args:
        run: the run folder.
        step: the step of the checkpoint to resume from. What was logged after it is dropped.
    """
    table = ResumableCSVLogger(run, step)
    board = TensorBoardLogger(table.save_dir, table.name, table.version, default_hp_metric=False, purge_step=step)
    return [board, table]  # the first one's log_dir is the Trainer's


class SaveConfig(Callback):
    """Callback that writes config.yaml into the run folder when training starts.

    A resume that fails before leaves the run's config as it was.
    """

    def __init__(self, content: str) -> None:
        self.content = content

    def on_train_start(self, trainer: Trainer, module: Any) -> None:
        folder = trainer.log_dir  # a collective call: every process makes it
        if folder and trainer.is_global_zero:
            with atomic_write(Path(folder, runs.CONFIG)) as temporary:
                temporary.write_text(self.content, "utf-8")


class RunFolder:
    """The run folder that `fit` writes, locked until `close`. Only the first of several processes has one.

    Raises ValueError if another `fit` trains in it.

    Args:
        parent: the folder of all run folders.
        name: the model's name.
        resumed: the run folder to resume; by default a new one is created.
        checkpoint: the checkpoint to resume from.
    """

    def __init__(self, parent: Path, name: str, resumed: Path | None, checkpoint: Path | None) -> None:
        self.is_new = resumed is None
        self.path: Path | None = None
        if getattr(rank_zero_only, "rank", 0) or int(os.environ.get("NODE_RANK", 0)):
            self.loggers: list[Logger] = [TensorBoardLogger(parent, name)]  # the first process's folder is broadcast
            return
        # Absolute, also when it is resumed: Lightning forgets the best checkpoint if the path is written otherwise.
        self.path = (resumed or runs.create_run(parent, name)).absolute()
        self._lock = FileLock(self.path / "lock", timeout=0)
        try:
            self._lock.acquire()
        except Timeout:
            raise ValueError(
                f"another cnnzoo fit trains in {self.path}: wait for it, or leave out --ckpt_path to start a new run"
            ) from None
        for left in (self.path / runs.CHECKPOINTS).glob(".*.ckpt.*"):  # of a process that was killed while it saved
            left.unlink(missing_ok=True)
        content = runs.read_checkpoint(checkpoint) if resumed and checkpoint else {}
        self.loggers = run_loggers(self.path, content.get("global_step"))

    @property
    def has_checkpoint(self) -> bool:
        return self.path is not None and (self.path / runs.CHECKPOINTS / "last.ckpt").is_file()

    def remove_if_unused(self, interrupted: bool = False) -> None:
        """Remove a new folder if training has not started, or was interrupted before the first checkpoint."""
        if self.path is None or not self.is_new or any((self.path / runs.CHECKPOINTS).glob("*.ckpt")):
            return
        if interrupted or not (self.path / runs.CONFIG).is_file():
            runs.remove_run(self.path)

    def close(self) -> None:
        """Unlock the folder, and remove it if training has not started."""
        if self.path:
            self._lock.release()
            self.remove_if_unused()
