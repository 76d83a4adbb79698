"""The grid of a sweep: its axes, and the points that they span."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Shown = bool | int | float | str


@dataclass
class Axis:
    """One argument and the values it takes.

    Args:
        argument: as on the command line or in the config, e.g. model.learning_rate.
        values: what the axis shows.
        label: the axis' name in table and picture; the argument's own by default.
        factor: what a value is multiplied by to become the argument.
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
        """What the axis shows, a list as text, and what the argument is set to there."""
        shown = [value if isinstance(value, Shown) else json.dumps(value) for value in self.values]
        return {s: v if self.factor == 1 else v * self.factor for s, v in zip(shown, self.values, strict=True)}


def all_points(grid: Sequence[Axis]) -> list[dict[str, Shown]]:
    """What every axis shows, for each point."""
    names = [axis.name for axis in grid]
    return [dict(zip(names, point, strict=True)) for point in itertools.product(*(axis.choices for axis in grid))]


def place(config: dict[str, Any], argument: str) -> tuple[dict[str, Any], str]:
    """Where in a resolved recipe an argument is: the mapping that holds it, and its key there.

    As on the command line, init_args may be left out: model.learning_rate. Raises ValueError if there is none.
    """
    *path, last = argument.split(".")
    here: Any = config
    for key in path:
        here = _inside(here, key).get(key) if isinstance(here, dict) else None
    found = _inside(here, last) if isinstance(here, dict) else {}
    if last not in found:
        raise ValueError(f"the recipe has no argument {argument}: give one such as model.learning_rate")
    return found, last


def _inside(here: dict[str, Any], key: str) -> dict[str, Any]:
    return here if key in here else here.get("init_args") or {}


def check(config: dict[str, Any], grid: Sequence[Axis]) -> None:
    """Raises ValueError for a grid that cannot be run."""
    if not grid:
        raise ValueError("sweep needs a grid: see configs/digits_sweep.yaml")
    places = [place(config, axis.argument) for axis in grid]
    fractions = [axis.values for axis, (_, key) in zip(grid, places, strict=True) if key == "val_fraction"]
    if 0 in [config["data"].get("init_args", {}).get("val_fraction"), *itertools.chain(*fractions)]:
        raise ValueError("a sweep chooses on validation images: data.val_fraction is 0")
    names = [axis.name for axis in grid]
    for axis in grid:
        if names.count(axis.name) > 1:
            raise ValueError(f"two axes of the grid are called {axis.name}: give them labels")
        if len(axis.choices) < len(axis.values):
            raise ValueError(f"a value comes twice on the axis {axis.name}: {axis.values}")
