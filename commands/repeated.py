"""The points of a sweep, each repeated with several seeds: mean and standard deviation."""

import csv
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..contract.files import atomic_write
from .grid import SEED, Axis

Row = dict[str, str]
"""A line of sweep.csv."""


class Point(NamedTuple):
    """The rows of a point, one for each seed."""

    values: Row
    rows: list[Row]

    def mean(self, score: str) -> float:
        """Return the mean of a column, such as val_accuracy."""
        return statistics.mean(float(row[score]) for row in self.rows)

    def percent(self, score: str) -> str:
        """Return the mean of an accuracy in percent, with the standard deviation if there are several seeds."""
        spread = statistics.stdev(float(row[score]) for row in self.rows) if len(self.rows) > 1 else None
        return f"{self.mean(score):.2%}" + ("" if spread is None else f" ± {100 * spread:.2f}")


def seed_axis(seeds: str) -> Axis:
    """Return the axis for seeds such as "0,1,2". Raises ValueError for anything else."""
    words = [word.strip() for word in seeds.split(",")]
    if not all(word.isdecimal() and int(word) < 2**32 for word in words):
        raise ValueError(f"--seeds is {seeds}: give whole numbers below 2³², such as 0,1,2")
    return Axis("seed_everything", [int(word) for word in words], SEED)


def points(table: Path, grid: Sequence[Axis]) -> list[Point]:
    """Return the points in sweep.csv whose training succeeded with every seed. Raises ValueError if there are none."""
    names = [axis.name for axis in grid if axis.name != SEED]
    groups: dict[tuple[str, ...], list[Row]] = {}
    with table.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            groups.setdefault(tuple(row[name] for name in names), []).append(row)
    found = [
        Point(dict(zip(names, values, strict=True)), rows)
        for values, rows in groups.items()
        if all(row["status"] == "ok" for row in rows)
    ]
    if not found:
        raise ValueError(f"no point of {table} succeeded with every seed: see its columns status and error")
    return found


def best(found: Sequence[Point]) -> Point:
    """Return the point with the highest mean validation accuracy; of equal ones, that with the lowest training loss."""
    return max(found, key=lambda point: (point.mean("val_accuracy"), -point.mean("train_loss")))


def write(found: Sequence[Point], facts: dict[str, Any], path: Path) -> None:
    """Write the accuracies and the commit of every point and seed as JSON, for docs/results.md.

    Args:
        facts: what is the same for all points: command, dataset, hardware, epochs, precision.
    """
    columns = ("val_accuracy", "test_accuracy", "seconds")
    entries = [
        {
            "values": point.values,
            "runs": [
                {SEED: int(row[SEED]), **{key: float(row[key]) for key in columns}, "commit": row["commit"] or None}
                for row in point.rows
            ],
        }
        for point in found
    ]
    with atomic_write(path) as temporary:
        text = json.dumps(facts | {"points": entries}, indent=2, ensure_ascii=False)
        temporary.write_text(f"{text}\n", encoding="utf-8")
