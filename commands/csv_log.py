"""Log the metrics of a run into metrics.csv. A resumed run logs no row twice."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from ..contract.files import atomic_write


class ResumableCSVLogger(Logger):
    """Logger to metrics.csv in a run folder.

    Nothing is written before the first metrics, so a refused resume leaves the file as it was.

    Args:
        run: the run folder.
        step: the step to resume from. Rows of this step and later are dropped.
    """

    def __init__(self, run: Path, step: int | None = None) -> None:
        super().__init__()
        self.file = run / "metrics.csv"
        self.step = step
        self.columns: list[str] = []
        self.rows: list[dict[str, Any]] = []

    @property
    def name(self) -> str:
        return self.file.parent.parent.name

    @property
    def version(self) -> str:
        return self.file.parent.name

    @property
    def save_dir(self) -> str:
        return str(self.file.parent.parent.parent)

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Ignore them: config.yaml holds them."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if not self.columns and self.step is not None:
            self.rows = read_rows(self.file, self.step)
        first = not self.columns
        self.rows.append({"step": step, **metrics})
        columns = sorted({key for row in (self.rows if first else self.rows[-1:]) for key in row} | {*self.columns})
        if columns == self.columns:
            with self.file.open("a", newline="") as file:
                csv.DictWriter(file, columns).writerow(self.rows[-1])
            return
        self.columns = columns
        with atomic_write(self.file) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self.rows)


def read_rows(metrics_csv: Path, before: int) -> list[dict[str, float]]:
    """Return the rows of a metrics.csv of the steps before `before`; none if there is no file."""
    if not metrics_csv.is_file():
        return []
    with metrics_csv.open(newline="") as file:
        rows = [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]
    for row in rows:
        row |= {key: int(row[key]) for key in ("epoch", "step") if key in row}
    return [row for row in rows if row.get("step", before) < before]  # a row without a step was cut short
