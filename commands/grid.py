"""The grid of a sweep: its axes, the points that they span, and the training of one point."""

import contextlib
import copy
import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import lightning
import torch

from ..datamodules.batches import ImageDataset
from ..models import ImageClassifier
from ..models.classifier import Diverged
from ..models.export import torch_answers
from .build import OF_DATA, build, fill_from_data, make_data
from .held_out import check_held_out
from .provenance import usable_precision
from .runs import SPLIT

Shown = bool | int | float | str
SEED = "seed"  # name of the axis that repeats a point
SCORES = ("train_accuracy", "val_accuracy", "test_accuracy")
RESULTS = ("status", *SCORES, "train_loss", "seconds", "commit", "error")  # columns of sweep.csv
AT_ONCE = 500  # images that are loaded at once to measure an accuracy


@dataclass
class Axis:
    """One argument and its values.

    Args:
        argument: as on the command line or in the config, e.g. model.learning_rate.
        values: the values in the table and on the heatmap's axis.
        label: name of the axis in the table and on the heatmap; by default that of the argument.
        factor: multiplies a value to give the argument.
    """

    argument: str
    values: list[Any]
    label: str = ""
    factor: float = 1.0

    @property
    def name(self) -> str:
        return self.label or self.argument.rsplit(".", 1)[-1]

    @property
    def choices(self) -> dict[Shown, Any]:
        """The argument's value by the shown value. A list is shown as text."""
        shown = [value if isinstance(value, Shown) else json.dumps(value) for value in self.values]
        return {s: v if self.factor == 1 else v * self.factor for s, v in zip(shown, self.values, strict=True)}


def all_points(grid: Sequence[Axis]) -> list[dict[str, Shown]]:
    """Return every point: the shown value of each axis by its name."""
    names = [axis.name for axis in grid]
    return [dict(zip(names, point, strict=True)) for point in itertools.product(*(axis.choices for axis in grid))]


def has_heatmaps(grid: Sequence[Axis]) -> bool:
    """Return whether a grid has two axes, and none of them repeats a point."""
    return len(grid) == 2 and all(axis.name != SEED for axis in grid)


def check_grid(settings: dict[str, Any], grid: Sequence[Axis]) -> None:
    """Raise ValueError for a grid that cannot be run."""
    if not grid:
        raise ValueError("sweep needs --seeds, such as 0,1,2, or a grid: see configs/digits_sweep.yaml")
    for name in ("callbacks", "plugins", "fast_dev_run"):
        if settings.get("trainer", {}).get(name):
            raise ValueError(f"a sweep takes no trainer.{name}: leave it out of the recipe")
    keys = [_find(settings, axis.argument)[1] for axis in grid]
    fractions = [axis.values for axis, key in zip(grid, keys, strict=True) if key == "val_fraction"]
    if 0 in itertools.chain(*fractions) or not (fractions or make_data(settings["data"]).validates):
        raise ValueError("data.val_fraction is 0, but a sweep chooses the best point on validation images")
    if decided := OF_DATA.keys() & set(keys):
        raise ValueError(
            f"the data decides {', '.join(sorted(decided))}: vary an argument of the data, such as data.size"
        )
    names = [axis.name for axis in grid]
    for axis in grid:
        if names.count(axis.name) > 1:
            raise ValueError(f"two axes of the grid are called {axis.name}: give them labels")
        if axis.name == SEED and axis.argument != "seed_everything":
            raise ValueError(f"the axis {axis.argument} of the grid is called {SEED}: give it a label, or use --seeds")
        if axis.name in RESULTS:
            raise ValueError(f"an axis of the grid is called {axis.name}, as a column of results: give it a label")
        if not axis.values:
            raise ValueError(f"the axis {axis.name} has no values: give some")
        if axis.factor != 1 and not all(isinstance(value, int | float) for value in axis.values):
            raise ValueError(f"the axis {axis.name} has a factor, and values that are no numbers: {axis.values}")
        if len(axis.choices) < len(axis.values):
            raise ValueError(f"a value occurs twice on the axis {axis.name}: {axis.values}")
    _check_starts(settings, dict(zip(keys, grid, strict=True)))


def _check_starts(settings: dict[str, Any], axes: dict[str, Axis]) -> None:
    """Raise ValueError if a point starts from weights, or has a teacher, that were trained on images it holds out.

    Args:
        axes: the grid, by the last word of each argument.
    """
    teacher = settings.get("model", {}).get("init_args", {}).get("teacher")
    base = {"pretrained": settings.get("pretrained"), "teacher": teacher}
    starts = [axes[key].choices.values() if key in axes else [start] for key, start in base.items()]
    splits = [axis for key, axis in axes.items() if key in (*SPLIT, "seed_everything")]
    for start in filter(None, itertools.chain(*starts)):
        for values in itertools.product(*(axis.choices.values() for axis in splits)):
            point = _replaced(settings, dict(zip((axis.argument for axis in splits), values, strict=True)))
            check_held_out(start, make_data(point["data"]))


def run_point(settings: dict[str, Any], arguments: dict[str, Any]) -> dict[str, float]:
    """Train a recipe with some arguments replaced, and return the training loss and the accuracy on all splits.

    Args:
        settings: the resolved recipe.
        arguments: value by argument, such as model.learning_rate. seed_everything is the seed of the data, too.
    """
    settings = _replaced(settings, arguments)
    fill_from_data(settings["model"], make_data(settings["data"]))
    model, data = build(settings)
    trainer = make_trainer(settings["trainer"])
    scores = {"train_loss": math.nan}
    with contextlib.suppress(Diverged):
        trainer.fit(model, data)
        scores["train_loss"] = trainer.callback_metrics["train_loss"].item()
    data.setup("test")
    for split in ("train", "val", "test"):
        scores[f"{split}_accuracy"] = _accuracy(model, data.splits[split])
    return scores


def _replaced(settings: dict[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
    settings = copy.deepcopy(settings)
    if "seed_everything" in arguments:
        arguments = {"data.seed": arguments["seed_everything"], **arguments}
    for argument, value in arguments.items():
        holder, key = _find(settings, argument)
        holder[key] = value
    return settings


def _accuracy(model: ImageClassifier, split: ImageDataset) -> float:
    correct = 0
    for positions in torch.arange(len(split)).split(AT_ONCE):  # a split of photos is larger than the memory
        images, labels = split[positions]
        correct += int((torch_answers(model, images)[0].argmax(1) == labels).sum())
    return correct / len(split)


def _find(settings: dict[str, Any], argument: str) -> tuple[dict[str, Any], str]:
    """Return the mapping in a resolved recipe that holds an argument, and its key there.

    As on the command line, init_args may be left out: model.learning_rate. Raises ValueError if there is none.
    """
    *path, last = argument.split(".")
    holder: Any = settings
    for key in path:
        holder = _level(holder, key).get(key) if isinstance(holder, dict) else None
    found = _level(holder, last) if isinstance(holder, dict) else {}
    if last not in found:
        raise ValueError(f"the recipe has no argument {argument}: give one such as model.learning_rate")
    return found, last


def _level(settings: dict[str, Any], key: str) -> dict[str, Any]:
    return settings if key in settings else settings.get("init_args") or {}


def make_trainer(options: dict[str, Any]) -> lightning.Trainer:
    """Return the trainer of a point: with the options of a recipe, but without output, validation and more devices."""
    kept = {k: v for k, v in options.items() if v is not None}
    kept["precision"] = usable_precision(kept.get("precision"), kept.get("accelerator"))
    own = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "limit_val_batches": 0,  # the point is measured once, at the end
        "devices": 1,  # for more, Lightning would start the whole command again
        "num_nodes": 1,
        "strategy": "auto",
    }
    return lightning.Trainer(**kept | own)
