"""What is in a zoo folder, by the cards alone."""

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from rich import box
from rich.table import Table
from rich.text import Text

from ..contract.card import ModelCard
from ..contract.model_file import read_card
from ..contract.names import ContractError
from ..contract.zoo_folder import FILE_NAME

MEGABYTE = 1_000_000


class Entry(NamedTuple):
    path: Path
    card: ModelCard
    size: int  # bytes


def files(zoo: Path) -> list[Path]:
    """Every file in a model's place, by name, newest version first."""
    found = [path for path in zoo.glob(f"*/*/{FILE_NAME}") if path.parent.name.isdecimal()]
    return sorted(found, key=lambda path: (path.parent.parent.name, -int(path.parent.name)))


def entries(zoo: Path) -> list[Entry]:
    """The models; files without a readable card are not among them: `verify` says what is wrong with these."""
    found = []
    for path in files(zoo):
        with contextlib.suppress(ContractError, OSError):
            found.append(Entry(path, read_card(path), path.stat().st_size))
    return found


def fitting(
    found: Iterable[Entry], dataset: str = "", max_size: float | None = None, min_accuracy: float | None = None
) -> list[Entry]:
    """Those that fit: part of the dataset's name, megabytes, test accuracy (0-1)."""
    return [
        entry
        for entry in found
        if dataset.lower() in entry.card.dataset_title.lower()
        and (max_size is None or entry.size <= max_size * MEGABYTE)
        and (min_accuracy is None or entry.card.metrics.get("accuracy", 0.0) >= min_accuracy)
    ]


def table(found: Sequence[Entry]) -> Table:
    """A line for each model."""
    title = f"{len(found)} model{'' if len(found) == 1 else 's'}"
    rows = Table(title=title, box=box.SIMPLE_HEAD, padding=0, pad_edge=False)  # fits into 80 columns
    rows.add_column("model", no_wrap=True)
    rows.add_column("tested on")
    for heading in ("accuracy", "parameters", "weights", "MB"):
        rows.add_column(heading, justify="right")
    for _, card, size in found:
        facts = (card.dataset_title, percent(card.metrics.get("accuracy")), f"{card.parameters:,}")
        cells = (f"{card.name}@{card.version}", *facts, card.precision, f"{size / MEGABYTE:.2f}")
        rows.add_row(*map(Text, cells))  # Text: a name in brackets is no markup
    return rows


def percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.2%}"


def interval(card: ModelCard) -> str:
    """Wilson's interval of the test accuracy."""
    low, high = card.metrics.get("accuracy_low"), card.metrics.get("accuracy_high")
    return f"{low:.2%} to {high:.2%}" if low is not None and high is not None else ""
