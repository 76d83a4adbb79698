"""How a network was made: command, code, machine and time. It travels in the checkpoint."""

import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from .hardware import processor


class Provenance(Callback):
    """Keeps, over stops and resumptions, the first command and the seconds that training took in all."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}
        self._before = 0.0  # seconds of the runs that this one goes on from

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._start = time.monotonic()
        own = {"command": command(), "commit": commit(), "hardware": hardware(trainer), "precision": trainer.precision}
        self._made = {**own, **self._made}

    def state_dict(self) -> dict[str, Any]:
        return {**self._made, "seconds": self._before + time.monotonic() - self._start}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._made, self._before = dict(state), state["seconds"]


def made(checkpoint: str | Path) -> dict[str, Any]:
    """What `Provenance` kept in a checkpoint: command, commit, hardware, precision, epochs, seconds."""
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    return {**content["callbacks"].get("Provenance", {}), "epochs": content["epoch"] + 1}


def command() -> str:
    """The command line of this process, as one would type it."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def commit() -> str | None:
    """The git commit of this code, with "-dirty" if it was changed since; None where it is not in git."""
    folder = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", folder, *words], capture_output=True, text=True, check=True).stdout

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)  # an installed copy inside some other repository
        return git("describe", "--always", "--abbrev=40", "--exclude=*", "--dirty").strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def hardware(trainer: Trainer) -> str:
    """What the training runs on: the devices, as their makers call them."""
    device = trainer.strategy.root_device
    if device.type != "cuda":
        return processor()
    count = trainer.world_size
    return f"{count} GPU{'s' if count > 1 else ''}, {torch.cuda.get_device_name(device)}"
