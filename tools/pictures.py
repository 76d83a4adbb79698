"""docs/pictures/robustness.png and front.png, from the cards of the shipped models."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure  # not pyplot, which has global state and opens windows
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from PIL import Image

from cnnzoo.commands.cards import Entry
from cnnzoo.contract.facts import corrupted_accuracy
from cnnzoo.contract.files import atomic_write

FOLDER = Path(__file__).parent.parent / "docs/pictures"
COLUMNS = 3
COSTS = {"multiply_adds": "million multiply-adds for an image", "bytes": "MB of the file"}
SHARES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998)  # marked on the axis of accuracy


class Picture(NamedTuple):
    """A plot of figures in the cards. Its PNG Description holds the figures as JSON."""

    name: str
    figures: Callable[[list[Entry]], dict[str, Any]]
    draw: Callable[[dict[str, Any]], Figure]

    @property
    def path(self) -> Path:
        return FOLDER / self.name

    def is_stale(self, found: list[Entry]) -> bool:
        """Return whether the file is missing or was drawn from other figures."""
        if not self.path.is_file():
            return True
        with Image.open(self.path) as image:
            return image.info.get("Description") != json.dumps(self.figures(found))

    def save(self, found: list[Entry]) -> None:
        """Draw the picture and write its file."""
        figures = self.figures(found)
        with atomic_write(self.path) as temporary:
            self.draw(figures).savefig(temporary, dpi=120, format="png", metadata={"Description": json.dumps(figures)})


def _by_severity(found: list[Entry]) -> dict[str, dict[str, list[float]]]:
    """Return by fp32 model and by corruption the accuracy from severity 1 upwards."""
    return {
        card.name: card.robustness["accuracy"] for _, card, _ in found if card.robustness and card.precision == "fp32"
    }


def _draw_severities(models: dict[str, dict[str, list[float]]]) -> Figure:
    """Draw a panel for each corruption with a line for each model."""
    corruptions = list(dict.fromkeys(name for table in models.values() for name in table))
    rows = -(-len(corruptions) // COLUMNS)
    figure = Figure(figsize=(9, 0.6 + 2.4 * rows), layout="constrained")
    panels = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False).ravel()
    for ax in panels[len(corruptions) :]:
        ax.axis("off")
    for ax, corruption in zip(panels, corruptions, strict=False):
        for number, (model, table) in enumerate(models.items()):
            if corruption in table:
                severities = range(1, len(table[corruption]) + 1)
                ax.plot(severities, table[corruption], "o-", color=f"C{number}", markersize=3, label=model)
        ax.set_title(corruption.replace("_", " "), fontsize=10)
        ax.set_ylim(0, 1.02)
        ax.grid(alpha=0.3)
    figure.supxlabel("severity", fontsize=10)
    figure.supylabel("accuracy", fontsize=10)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=9)
    return figure


def _costs(found: list[Entry]) -> dict[str, list[dict[str, Any]]]:
    """Return by dataset the accuracy, the mean accuracy under all corruptions, and the costs of each model."""
    datasets: dict[str, list[dict[str, Any]]] = {}
    for _, card, size in found:
        row = {
            "model": card.name, "precision": card.precision, "accuracy": card.metrics["accuracy"],
            "corrupted": corrupted_accuracy(card), "multiply_adds": card.multiply_adds, "bytes": size,
        }  # fmt: skip
        datasets.setdefault(card.dataset_title, []).append(row)
    return datasets


def _draw_costs(datasets: dict[str, list[dict[str, Any]]]) -> Figure:
    """Draw a row of panels for each dataset: accuracy over multiply-adds and over the file's size."""
    datasets = {title: rows for title, rows in datasets.items() if len(rows) > 1}
    figure = Figure(figsize=(9, 0.7 + 3.2 * len(datasets)), layout="constrained")
    panels = figure.subplots(len(datasets), len(COSTS), sharex="col", sharey="row", squeeze=False)
    for (title, rows), line in zip(datasets.items(), panels, strict=True):
        for ax, (cost, label) in zip(line, COSTS.items(), strict=True):
            for number, row in enumerate(rows):
                _draw_model(ax, row, row[cost] / 1e6, f"C{number}")
            ax.set_xscale("log")
            ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            ax.margins(x=0.15, y=0.15)
            ax.set_xlabel(label, fontsize=9)
            ax.grid(alpha=0.3)
        _mark_accuracies(line[0])
        line[0].set_title(title, fontsize=10, loc="left")
        line[1].legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
    figure.supylabel("accuracy: ● test images, ○ mean over all corruptions", fontsize=10)
    return figure


def _draw_model(ax: Axes, row: dict[str, Any], cost: float, color: str) -> None:
    """Draw a filled mark for the test images, an open one for the corrupted images, and a line between them."""
    mark = "o" if row["precision"] == "fp32" else "s"
    shares = [row["accuracy"], *([row["corrupted"]] if row["corrupted"] is not None else [])]
    errors = [max(1 - share, 1e-4) for share in shares]
    ax.plot([cost] * len(errors), errors, color=color, linewidth=1)
    ax.plot([cost], errors[:1], mark, color=color, label=row["model"])
    ax.plot([cost] * len(errors[1:]), errors[1:], mark, color=color, markerfacecolor="white")


def _mark_accuracies(ax: Axes) -> None:
    """Let equal steps of the vertical axis be equal ratios of the error, with the accuracy as labels."""
    ax.set_yscale("log")
    ax.invert_yaxis()
    ax.yaxis.set_major_locator(FixedLocator([1 - share for share in SHARES]))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda error, _: f"{100 * (1 - error):g}%"))


PICTURES = (
    Picture("robustness.png", _by_severity, _draw_severities),
    Picture("front.png", _costs, _draw_costs),
)
