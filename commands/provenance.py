"""Provenance of a trained network, and the machine it was trained on: command, commit, hardware, time."""

import ctypes
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import torch
from lightning import Callback, LightningModule, Trainer

from ..contract.card import Training
from ..contract.facts import counted
from ..contract.machine import cores, cpuinfo
from .runs import epochs_of, read_checkpoint

RECIPE = ("name", "seed_everything", "pretrained", "model", "data", "trainer")
# Options that do not say how the network is trained, but where files are, and how a sweep is shared out. The URL of a
# storage may have a password.
PATH_OPTIONS = (
    "--runs", "--zoo", "--data.data_dir", "--data.init_args.data_dir", "--output", "--storage", "--workers",
)  # fmt: skip
PLACES = ("logger", "default_root_dir")  # settings of the trainer that say where something is written
LENGTH_KEY = "length"  # of a run's max_epochs, max_steps and limit_train_batches
RUN_OPTIONS = ("--config", "-c", "--ckpt_path")  # options that choose a run


class Provenance(Callback):
    """Callback that keeps the first command and the total training time in the checkpoint, over all resumes."""

    def __init__(self) -> None:
        self._kept: dict[str, Any] = {}
        self._seconds_before = 0.0  # of the runs that this one resumes
        self._start = time.monotonic()  # again when training starts; a learning rate finder saves a checkpoint before

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._start = time.monotonic()
        own: dict[str, Any] = {
            "command": command(),
            "commit": commit(),
            "hardware": hardware(trainer),
            "precision": trainer.precision,
            LENGTH_KEY: [trainer.max_epochs, trainer.max_steps, trainer.limit_train_batches],
        }
        before, length = self._kept.get("command"), self._kept.get(LENGTH_KEY, own[LENGTH_KEY])
        self._kept = {**own, **self._kept, LENGTH_KEY: own[LENGTH_KEY]}
        if before and (length != own[LENGTH_KEY] or not _options(own["command"]) <= _options(before)):
            self._kept["command"] = f"{before} && {own['command']}"

    def state_dict(self) -> dict[str, Any]:
        return {**self._kept, "seconds": self._seconds_before + time.monotonic() - self._start}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._kept, self._seconds_before = dict(state), state["seconds"]


def training_provenance(checkpoint: str | Path) -> Training:
    """Return what `Provenance` kept of a checkpoint's run, with the number of epochs."""
    last = Path(checkpoint).with_name("last.ckpt")  # the best checkpoint is not the end of the run
    content = read_checkpoint(last if last.is_file() else Path(checkpoint))
    kept = content.get("callbacks", {}).get("Provenance", {})  # some have the weights alone
    kept.pop(LENGTH_KEY, None)
    if "command" in kept:
        kept["command"] = " && ".join(_without_paths(shlex.split(one)) for one in kept["command"].split(" && "))
    return cast(Training, {**kept, "epochs": epochs_of(content)})


def command() -> str:
    """Return the command line of this process as a user types it, without PATH_OPTIONS."""
    program = Path(sys.argv[0])
    own = program.stem in ("cnnzoo", "train", "__main__")  # python train.py and python -m cnnzoo are cnnzoo
    return _without_paths(["cnnzoo" if own else program.name, *sys.argv[1:]])


def recipe(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the part of resolved settings that says how a network is trained.

    Without the data's folder, and without loggers, whose URLs may have a password.
    """
    kept: dict[str, Any] = {key: settings[key] for key in RECIPE if settings.get(key) is not None}
    trainer = settings.get("trainer", {})
    kept["trainer"] = {flag: trainer[flag] for flag in trainer if flag not in PLACES and trainer[flag] is not None}
    if "data_dir" in kept.get("data", {}).get("init_args", {}):
        kept["data"] = {**kept["data"], "init_args": {**kept["data"]["init_args"], "data_dir": None}}
    return kept


def commit() -> str | None:
    """Return the git commit of this code, with "-dirty" if it was changed since; None outside its repository.

    Changes in zoo/ do not count: an export makes them.
    """
    folder = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", folder, *words], capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)  # fails for an installed copy in another repository
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)zoo")
        return git("rev-parse", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def hardware(trainer: Trainer, threads: int | None = None) -> str:
    """Return the number and the vendor's name of the devices that a trainer uses: all cores, or so many threads."""
    device = trainer.strategy.root_device
    if device.type not in ("cpu", "cuda"):
        return counted(trainer.world_size, f"{device.type.upper()} device")
    if device.type == "cpu":
        return f"{counted(threads or cores(), 'core')}, {cpuinfo('model name') or 'unknown processor'}"
    return f"{counted(trainer.world_size, 'GPU')}, {torch.cuda.get_device_name(device)}"


def usable_precision(wanted: str | None, accelerator: str | None) -> str | None:
    """Return `wanted`, but 32-true instead of bf16-mixed on a device without bfloat16 in hardware.

    Args:
        wanted: the Trainer's precision.
        accelerator: the Trainer's accelerator: cpu, cuda, gpu, mps or auto.
    """
    if wanted != "bf16-mixed":
        return wanted
    if accelerator not in ("cpu", "cuda"):
        found = torch.accelerator.current_accelerator(check_available=True)
        accelerator = found.type if found else "cpu"
    return wanted if has_bfloat16(accelerator) else "32-true"


def has_bfloat16(device: str) -> bool:
    """Return whether a device (cpu or cuda) computes bfloat16 in hardware. Other devices are taken not to."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    flags = (cpuinfo("flags") or cpuinfo("Features")).split()
    return device == "cpu" and not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(flags)


def keep_threads() -> None:
    """Fix the number of threads, so that the same sums are rounded the same way in every step.

    MKL may use fewer threads in some steps. PyTorch forbids that (MKL_DYNAMIC) only if the number is set.
    """
    torch.set_num_threads(torch.get_num_threads())


def keep_freed_memory() -> None:
    """Tell glibc not to return freed memory to the kernel; do nothing on other systems.

    Every step frees and allocates the same hundreds of megabytes. Without this a SpeedNet step takes 1.35 of the time
    (benchmarks/freed_memory.py), since the memory comes back page by page.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for parameter, value in ((-4, 0), (-1, -1)):  # M_MMAP_MAX and M_TRIM_THRESHOLD of malloc.h
            mallopt(parameter, value)


def _words(words: list[str]) -> Iterator[str]:
    """Split --key=value into two words."""
    for word in words:
        yield from word.split("=", 1) if word.startswith("--") else [word]


def _options(command: str) -> set[tuple[str, str]]:
    """Return the options of a command and their values, without RUN_OPTIONS."""
    words = _words(shlex.split(command))
    return {(key, value) for key, value in pairwise(words) if key.startswith("-") and key not in RUN_OPTIONS}


def _without_paths(words: list[str]) -> str:
    split = list(_words(words))
    pairs = zip(split, ["", *split], strict=False)
    return shlex.join(word for word, before in pairs if not {word, before} & set(PATH_OPTIONS))
