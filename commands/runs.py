"""Run folders: runs/<name>/version_k/ with config.yaml, metrics.csv and checkpoints/{best,last}.ckpt."""

import contextlib
import shutil
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import torch
import yaml

CONFIG = "config.yaml"
CHECKPOINTS = "checkpoints"
# What may be another in a run that goes on, or is tested or exported: it changes no step of the training.
FREE = ("compile", "views", "data_dir", "eval_batch_size")


def claim(runs: Path, name: str) -> Path:
    """A new, empty run folder with the next free version, this process's alone."""
    for version in count(max(map(version_of, _all(runs, name)), default=-1) + 1):
        folder = runs / name / f"version_{version}"
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:  # another run was quicker
            continue
    raise AssertionError("unreachable")


def version_of(run: Path) -> int:
    """k of a folder named version_k."""
    return int(run.name.removeprefix("version_"))


def find_checkpoint(wanted: str, run: Path | None, runs: Path, name: str) -> Path:
    """The checkpoint that `wanted` names: a path, or "best" or "last" of `run`, else of the newest run.

    Raises FileNotFoundError, saying where it was looked for.
    """
    if wanted not in ("best", "last"):
        path = Path(wanted)
        if not path.is_file():
            raise FileNotFoundError(f"no checkpoint {path.absolute()}: give a .ckpt file, best or last")
        return path
    for folder in [run] if run else sorted(_all(runs, name), key=version_of, reverse=True):
        path = folder / CHECKPOINTS / f"{wanted}.ckpt"
        if path.is_file() and not (folder / CONFIG).is_file():
            raise FileNotFoundError(f"{folder} has no {CONFIG}, which says what it is: restore it, or remove the run")
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"no {wanted}.ckpt in {run or (runs / name).absolute()}: train first (cnnzoo fit, same --config), "
        "or give --config the run folder, or --ckpt_path a file (last, where nothing was validated)"
    )


def check_checkpoint(path: Path) -> None:
    """Raises ValueError for a file that is not a checkpoint of this project."""
    try:
        entries = _content(path)
        whole = isinstance(entries, dict) and {"network", "state_dict"} <= entries.keys()
    except Exception:  # a foreign file fails in whatever way the unpickler happens to
        whole = False
    if not whole:
        raise ValueError(f"{path} is not a checkpoint written by cnnzoo fit, or is damaged")


def check_data(run: Path, config: dict[str, Any]) -> None:
    """Raises ValueError if the data of a config is split otherwise than the run's own: what it calls test images, or
    validation images, the run may have been trained on."""
    theirs, ours = _settings(run, "data"), _plain(config["data"])
    if theirs["class_path"] != ours["class_path"]:
        return
    for key in ("seed", "val_fraction"):
        if theirs.get(key) != ours.get(key):
            raise ValueError(
                f"{run} was trained with data.{key} {theirs.get(key)}, the config here says {ours.get(key)}: "
                f"other images would be held out. Give --config {run}"
            )


def check_resumed(run: Path, config: dict[str, Any], checkpoint: Path) -> None:
    """Raises ValueError if the network, the data or the seed of a config is not what the run was begun with, or if it
    asks for fewer epochs than the checkpoint has."""
    seed = read_config(run).get("seed_everything")
    if seed != config.get("seed_everything"):
        raise ValueError(
            f"{run} was begun with --seed_everything {seed}, not {config.get('seed_everything')}: go on with "
            f"--config {run}, or leave --ckpt_path out for a new run"
        )
    epoch, wanted = _content(checkpoint)["epoch"] + 1, config["trainer"].get("max_epochs")
    if wanted is not None and 0 <= wanted < epoch:
        raise ValueError(f"{checkpoint} has come to epoch {epoch}: --trainer.max_epochs {wanted} is fewer")
    for part in ("model", "data"):
        theirs, ours = _settings(run, part), _plain(config[part])
        for key in sorted(theirs.keys() | ours.keys()):
            if key not in FREE and theirs.get(key) != ours.get(key):
                raise ValueError(
                    f"{run} was begun with {part}.{key} {theirs.get(key)}, the config here says {ours.get(key)}. Go on "
                    f"with --config {run}, or leave --ckpt_path out for a new run"
                )


def check_classes(checkpoint: Path, classes: Sequence[str]) -> None:
    """Raises ValueError if a network learnt other classes, or in another order."""
    learnt = _content(checkpoint).get("classes", list(classes))
    if learnt != list(classes):
        shown = [", ".join(names[:12]) for names in (learnt, classes)]
        raise ValueError(f"{checkpoint} was trained on the classes {shown[0]}; the data here has {shown[1]}")


def read_config(run: Path) -> dict[str, Any]:
    """A run's resolved configuration. Raises ValueError if its config.yaml is damaged."""
    path = run / CONFIG
    with contextlib.suppress(yaml.YAMLError):
        config = yaml.safe_load(path.read_text())
        if isinstance(config, dict) and {"model", "data"} <= config.keys():
            return config
    raise ValueError(f"{path} is damaged: it holds no network and data. Restore it, or remove the run")


def _settings(run: Path, part: str) -> dict[str, Any]:
    return _plain(read_config(run)[part])


def _content(checkpoint: Path) -> dict[str, Any]:
    return torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)


def _plain(part: dict[str, Any]) -> dict[str, Any]:
    """Class, by its short name, and arguments."""
    return {"class_path": part["class_path"].rpartition(".")[2], **part.get("init_args", {})}


def remove_unless_begun(run: Path) -> None:
    """Removes a run folder without a checkpoint, and the folders around it if they are empty then."""
    if (run / CHECKPOINTS).is_dir():
        return
    shutil.rmtree(run, ignore_errors=True)
    with contextlib.suppress(OSError):
        for folder in (run.parent, run.parent.parent):
            folder.rmdir()


def run_of(path: Path) -> Path | None:
    """The run folder that a checkpoint or a config lies in, if it lies in one."""
    for folder in list(path.absolute().parents)[:2]:
        if (folder / CONFIG).is_file() and (folder / CHECKPOINTS).is_dir():
            return folder
    return None


def _all(runs: Path, name: str) -> list[Path]:
    return [run for run in (runs / name).glob("version_*") if run.name.removeprefix("version_").isdecimal()]
