"""Run folders: runs/<name>/version_k/ with config.yaml, metrics.csv and checkpoints/{best,last}.ckpt."""

import contextlib
import copy
import os
import shutil
from collections.abc import Iterable, Sequence
from itertools import count
from pathlib import Path
from shlex import quote
from typing import Any

import torch
import yaml
from jsonargparse import ArgumentError

from ..contract.facts import counted
from .build import settings_parser

CONFIG = "config.yaml"
CHECKPOINTS = "checkpoints"
SAVED = ("best.ckpt", "last.ckpt")
# Arguments of the network and the data that change no training step: a run may be resumed, tested or exported with
# another value. Of the other settings only seed_everything and pretrained are compared.
RESUMABLE = ("compile", "views", "data_dir", "eval_batch_size")
# Settings of the trainer that say how long a run trains.
LENGTH = ("max_epochs", "max_steps", "max_time", "limit_train_batches")
SPLIT = ("seed", "val_fraction", "test_fraction")  # arguments of the data that decide which images are held out
SHOWN = 4  # differing settings, and runs, that a message lists


class NoCheckpoint(FileNotFoundError):
    """Error for runs that have no checkpoint yet."""


Settings = dict[str, Any]
"""A resolved configuration, as read from YAML."""

Differences = dict[str, tuple[Any, Any]]
"""By setting, such as model.learning_rate: the run's value and the given value."""


def create_run(runs: Path, name: str) -> Path:
    """Create and return an empty run folder with the next free version, safe against concurrent runs."""
    for version in count(max(map(_version, _all_runs(runs, name)), default=-1) + 1):
        folder = runs / name / f"version_{version}"
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            if not folder.exists():  # a folder above it is no folder, such as a dangling link
                raise
    raise AssertionError("unreachable")


def remove_run(run: Path) -> None:
    """Remove a run folder, and the folders around it if they are empty then."""
    shutil.rmtree(run, ignore_errors=True)
    with contextlib.suppress(OSError):
        for folder in (run.parent, run.parent.parent):
            folder.rmdir()


def run_of(path: Path) -> Path | None:
    """Return the run folder that holds a config or a checkpoint, or None for a file elsewhere."""
    path = path.absolute()
    folders = path.parents[:2] if path.suffix == ".ckpt" else [path.parent] if path.name == CONFIG else []
    for folder in folders:
        is_run = folder.name.startswith("version_") or any((folder / CHECKPOINTS / name).is_file() for name in SAVED)
        if is_run and (folder / CONFIG).is_file():
            return folder
    return None


def find_checkpoint(wanted: str, run: Path | None, runs: Path, name: str, settings: Settings) -> Path:
    """Return the checkpoint that `wanted` names.

    Args:
        wanted: the path of a file, "best" or "last".
        run: the run folder to take "best" or "last" from; by default the newest run with these settings.
        runs: the folder of all run folders.
        name: the model's name.
        settings: the settings that the run must have. Runs of the same length are preferred.

    Raises NoCheckpoint if no run has one, FileNotFoundError for a missing file, and ValueError if all runs have other
    settings.
    """
    if wanted not in ("best", "last"):
        path = Path(wanted)
        if not path.is_file():
            there = path.absolute() if wanted else "is named by an empty --ckpt_path"
            raise FileNotFoundError(f"no checkpoint {there}: give a .ckpt file, best or last")
        return path
    relative = Path(CHECKPOINTS, f"{wanted}.ckpt")
    newest_first = sorted(_all_runs(runs, name), key=_version, reverse=True)
    found = [one for one in ([run] if run else newest_first) if (one / relative).is_file()]
    if not found:
        raise NoCheckpoint(
            f"no {wanted}.ckpt in {run or (runs / name).absolute()}: train first (cnnzoo fit, same --config), "
            "or give --config a run folder, or --ckpt_path a file (last, if nothing was validated)"
        )
    if run:
        return run / relative
    differing = {one: differences(one, settings) for one in found}
    matching = [one for one in found if not differing[one]]
    if not matching:
        listed = "\n".join(f"  {one.name}: {describe(differing[one])}" for one in found[:SHOWN])
        raise ValueError(
            f"no run in {(runs / name).absolute()} has these settings:\n{listed}\n"
            f"To use one give its folder, such as --config {quote(os.path.relpath(found[0]))}. "
            "Or train one (cnnzoo fit without --ckpt_path)"
        )
    return next((one for one in matching if _length(read_config(one)) == _length(settings)), matching[0]) / relative


def differences(run: Path, settings: Settings) -> Differences:
    """Compare the network, data, seed and initial weights of a run with the given ones, except RESUMABLE settings."""
    differing = compare(_flat(_completed(read_config(run))), _flat(settings))
    # If a class differs, only that is reported: the arguments of another class mean something else.
    others = [part for part in ("model", "data") if part in differing]
    return {key: pair for key, pair in differing.items() if key in others or key.partition(".")[0] not in others}


def compare(theirs: Settings, ours: Settings) -> Differences:
    """Return the differing leaves of two trees of settings, by their dotted names."""
    theirs, ours = _leaves("", theirs), _leaves("", ours)
    pairs = {key: (theirs.get(key), ours.get(key)) for key in sorted(theirs.keys() | ours.keys())}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def describe(differing: Differences) -> str:
    """Return differences as text: model.learning_rate 0.003, not 0.5; …"""
    texts = [f"{key} {theirs}, not {ours}" for key, (theirs, ours) in differing.items()]
    more = [f"and {len(texts) - SHOWN} more"] if len(texts) > SHOWN else []
    return "; ".join(texts[:SHOWN] + more)


def check_resumable(run: Path, settings: Settings, checkpoint: Path) -> None:
    """Raise ValueError if a run cannot be resumed with these settings.

    It cannot if the settings differ, or if they ask for fewer epochs than the checkpoint has.
    """
    if differing := differences(run, settings):
        raise ValueError(
            f"{run} was started with {describe(differing)}: resume with --config {quote(str(run))}, "
            "or leave out --ckpt_path to start a new run"
        )
    content, wanted = read_checkpoint(checkpoint), settings["trainer"].get("max_epochs")
    if "optimizer_states" not in content:
        raise ValueError(f"{checkpoint} has the weights alone: resume with --ckpt_path last")
    epochs = content["epoch"] + 1  # with the one that was stopped
    if wanted is not None and 0 <= wanted < epochs:
        has = f"{checkpoint} has {counted(epochs, 'epoch')}"
        raise ValueError(f"{has}, --trainer.max_epochs {wanted} is fewer: give at least {epochs}")


def check_same_settings(run: Path, settings: Settings) -> None:
    """Raise ValueError if a run was trained with other settings: its checkpoint is of another recipe."""
    if differing := differences(run, settings):
        relative = os.path.relpath(run)
        raise ValueError(
            f"{relative} was trained with {describe(differing)}. Give --config {quote(relative)} to use its own"
        )


def check_same_split(run: Path, settings: Settings) -> None:
    """Raise ValueError if the held-out images are not those of the run: it may have been trained on them."""
    differing = differences(run, settings)
    split: Differences = {f"data.{key}": differing[f"data.{key}"] for key in SPLIT if f"data.{key}" in differing}
    if split:
        relative = os.path.relpath(run)
        raise ValueError(
            f"{relative} was trained with {describe(split)}: other images would be held out. "
            f"Give --config {quote(relative)}"
        )


def check_checkpoint(path: Path) -> None:
    """Raise ValueError for a file that is not a checkpoint of this project."""
    try:
        entries = read_checkpoint(path)
        complete = isinstance(entries, dict) and {"network", "state_dict"} <= entries.keys()
    except OSError:  # such as no permission to read it
        raise
    except Exception:  # the unpickler fails in many ways
        complete = False
    if not complete:
        raise ValueError(f"{path} is not a checkpoint written by cnnzoo fit, or is damaged")


def check_classes(checkpoint: Path, classes: Sequence[str]) -> None:
    """Raise ValueError if a network was trained on other classes, or on the same in another order."""
    trained = read_checkpoint(checkpoint).get("classes", list(classes))
    if trained != list(classes):
        shown = [", ".join(names[:12]) for names in (trained, classes)]
        raise ValueError(f"{checkpoint} was trained on the classes {shown[0]}; the data here has {shown[1]}")


def read_config(run: Path) -> Settings:
    """Return a run's settings. Raises FileNotFoundError or ValueError if its config.yaml is missing or damaged."""
    path = run / CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"{run} has no {CONFIG} with its settings: restore it, or remove the run")
    with contextlib.suppress(yaml.YAMLError):
        settings = yaml.safe_load(path.read_text("utf-8"))
        if isinstance(settings, dict) and {"model", "data"} <= settings.keys():
            return settings
    raise ValueError(f"{path} is damaged: expected settings of a model and its data. Restore it, or remove the run")


def trained_settings(run: Path | None, settings: Settings) -> Settings:
    """Return the settings of a run, with the RESUMABLE arguments of the model from `settings`.

    Without a run, return `settings`.
    """
    if run is None:
        return settings
    trained, given = copy.deepcopy(read_config(run)), settings["model"].get("init_args", {})
    trained["model"].setdefault("init_args", {}).update({key: given[key] for key in RESUMABLE if key in given})
    return trained


def _all_runs(runs: Path, name: str) -> Iterable[Path]:
    return [run for run in (runs / name).glob("version_*") if run.name.removeprefix("version_").isdecimal()]


def _version(run: Path) -> int:
    return int(run.name.removeprefix("version_"))


def _length(settings: Settings) -> list[Any]:
    return [settings.get("trainer", {}).get(flag) for flag in LENGTH]


def _completed(settings: Settings) -> Settings:
    """Add the defaults of arguments that settings lack: a run of an older version has none of the newer ones."""
    parser = settings_parser()
    try:
        parsed = parser.parse_object({part: settings[part] for part in ("model", "data")})
    except ArgumentError:  # an argument that no longer exists, or a class of the user's that cannot be imported
        return settings
    completed: Settings = yaml.safe_load(parser.dump(parsed))
    return settings | completed


def _flat(settings: Settings) -> Settings:
    flat = {key: settings.get(key) for key in ("seed_everything", "pretrained")}
    for part in ("model", "data"):
        flat[part] = settings[part]["class_path"].rpartition(".")[2]
        arguments = settings[part].get("init_args", {})
        flat |= _leaves(part, {key: value for key, value in arguments.items() if key not in RESUMABLE})
    return flat


def _leaves(prefix: str, settings: Settings) -> Settings:
    leaves: Settings = {}
    for key, value in settings.items():
        name = f"{prefix}.{key}" if prefix else key
        leaves |= _leaves(name, value) if isinstance(value, dict) else {name: value}
    return leaves


def epochs_of(content: dict[str, Any]) -> int:
    """Return how many epochs a checkpoint has finished."""
    return int(content["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"])


def read_checkpoint(checkpoint: Path) -> dict[str, Any]:
    """Return the content of a checkpoint, on the CPU. Its tensors are memory-mapped."""
    content: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    return content
