"""How a network was made: command, code, machine and time. It travels in the checkpoint."""

import shlex
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from ..contract.card import Training
from .hardware import processor

RECIPE = ("name", "seed_everything", "pretrained", "model", "data", "trainer")
PLACES = ("--runs", "--zoo", "--data.data_dir")  # options that say where, not how


class Provenance(Callback):
    """Keeps, over stops and resumptions, the first command and the seconds that training took in all."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}
        self._before = 0.0  # seconds of the runs that this one goes on from

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._start = time.monotonic()
        own: dict[str, Any] = {
            "command": command(),
            "commit": commit(),
            "hardware": hardware(trainer),
            "precision": trainer.precision,
        }
        before = self._made.get("command")
        self._made = {**own, **self._made}
        if before and not _options(own["command"]) <= _options(before):  # such as a higher max_epochs
            self._made["command"] = f"{before} && {own['command']}"

    def state_dict(self) -> dict[str, Any]:
        return {**self._made, "seconds": self._before + time.monotonic() - self._start}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._made, self._before = dict(state), state["seconds"]


def made(checkpoint: str | Path) -> Training:
    """What `Provenance` kept of a checkpoint's run: command, commit, hardware, precision, epochs, seconds."""
    last = Path(checkpoint).with_name("last.ckpt")  # the best one is not the end
    checkpoint = last if last.is_file() else checkpoint
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    kept = content["callbacks"].get("Provenance", {})
    if "command" in kept:
        kept["command"] = " && ".join(_without_places(shlex.split(one)) for one in kept["command"].split(" && "))
    return {**kept, "epochs": content["epoch"] + 1}


def command() -> str:
    """The command line of this process, as one would type it, but for where it read and wrote."""
    return _without_places([Path(sys.argv[0]).name, *sys.argv[1:]])


def recipe(config: dict[str, Any]) -> dict[str, Any]:
    """What of a resolved configuration says how a network is made, but for where its data lay."""
    kept: dict[str, Any] = {key: config[key] for key in RECIPE if config.get(key) is not None}
    kept["trainer"] = {flag: value for flag, value in config.get("trainer", {}).items() if value is not None}
    if "data_dir" in kept.get("data", {}).get("init_args", {}):
        kept["data"] = {**kept["data"], "init_args": {**kept["data"]["init_args"], "data_dir": None}}
    return kept


def _options(command: str) -> set[tuple[str, str]]:
    """What a command sets, but for the run that it is about."""
    words = shlex.split(command)
    about = ("--config", "-c", "--ckpt_path")
    return {(key, value) for key, value in pairwise(words) if key.startswith("-") and key not in about}


def _without_places(words: list[str]) -> str:
    pairs = zip(words, ["", *words], strict=False)
    return shlex.join(word for word, before in pairs if not {word.partition("=")[0], before} & set(PLACES))


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
