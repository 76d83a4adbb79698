"""`cnnzoo list` and `cnnzoo card`: show the model cards of a zoo folder in the terminal."""

import contextlib
import sys
from collections.abc import Iterable, Sequence
from json import dumps, loads
from pathlib import Path
from typing import NamedTuple

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ..contract.card import ModelCard, Robustness
from ..contract.class_scores import class_scores
from ..contract.facts import MEGABYTE, counted, facts, megabytes, percent, worst_confusions
from ..contract.model_file import read_card, read_model
from ..contract.names import ContractError, naming
from ..contract.zoo_folder import ZooFolder, find_file, open_zoo, read_listed
from . import UsageError, console, say

BAR = 20  # characters
LARGE_DROP = 0.1  # of accuracy; shown in red


def list_models(
    *,
    dataset: str = "",
    max_size: float | None = None,
    min_accuracy: float | None = None,
    json: bool = False,
    zoo: Path | None = None,
) -> None:
    """List the models of a zoo folder.

    Args:
        dataset: only models whose dataset's name contains this
        max_size: only files of at most this many megabytes
        min_accuracy: only models with at least this test accuracy (0-1)
        json: print a list with the card of each model, its file and its size in bytes
        zoo: the zoo folder (default: CNNZOO_ZOO, else zoo/, else the models that come with cnnzoo)
    """
    if max_size is not None and not max_size >= 0:
        raise UsageError(f"--max_size is {max_size:g}: expected a number from 0")
    if min_accuracy is not None and not 0 <= min_accuracy <= 1:
        raise UsageError(f"--min_accuracy is {min_accuracy:g}: expected a number from 0 to 1")
    folder = open_zoo(zoo)
    found = entries(folder.path)
    shown = matching(found, dataset, max_size, min_accuracy)
    if json:
        print(
            dumps([loads(card.to_json()) | {"path": str(path), "bytes": size} for path, card, size in shown], indent=2)
        )
    else:
        console.print(_models(shown))
        if found and not shown:
            titles = ", ".join(dict.fromkeys(entry.card.dataset_title for entry in found))
            say(f"none of the {len(found)} models matches; their datasets are {titles}")
    if unreadable := len(folder.files()) - len(found):
        text = f"and {unreadable} without a readable card: cnnzoo verify says what is wrong"
        print(text, file=sys.stderr) if json else say(text)


def show_card(model: str, /, *, json: bool = False, zoo: Path | None = None) -> None:
    """Show a model card.

    Args:
        model: NAME, NAME@VERSION or an ONNX file
        json: print the whole card as JSON
        zoo: the zoo folder (default: CNNZOO_ZOO, else zoo/ and then the models that come with cnnzoo)
    """
    path = find_file(model, zoo)
    with naming(path):
        card = read_model(read_listed(path))
    if json:
        print(dumps(loads(card.to_json())))  # in ASCII: the recipe in a card may have control characters
    else:
        console.print(_page(card, path.stat().st_size))


class Entry(NamedTuple):
    """A zoo file and its card."""

    path: Path
    card: ModelCard
    size: int  # bytes


def entries(zoo: Path) -> list[Entry]:
    """Return the models of a zoo folder with a valid card, by name and the newest version first."""
    found = []
    folder = ZooFolder(zoo)
    for path in map(folder.file, folder.ids()):
        with contextlib.suppress(ContractError, OSError):
            found.append(Entry(path, read_card(path), path.stat().st_size))
    return found


def matching(
    found: Iterable[Entry], dataset: str = "", max_size: float | None = None, min_accuracy: float | None = None
) -> list[Entry]:
    """Return the entries that match part of a dataset's name, a maximum size (MB) and a minimum test accuracy (0-1)."""
    return [
        entry
        for entry in found
        if dataset.lower() in entry.card.dataset_title.lower()
        and (max_size is None or entry.size <= max_size * MEGABYTE)
        and (min_accuracy is None or entry.card.metrics.get("accuracy", 0.0) >= min_accuracy)
    ]


def _models(found: Sequence[Entry]) -> Table:
    table = Table(title=counted(len(found), "model"), box=box.SIMPLE_HEAD, padding=0, pad_edge=False)  # 80 columns
    table.add_column("model", no_wrap=True)
    table.add_column("tested on")
    for heading in ("accuracy", "parameters", "precision", "MB"):
        table.add_column(heading, justify="right")
    for _, card, size in found:
        cells = (
            f"{card.name}@{card.version}",
            card.dataset_title,
            percent(card.metrics.get("accuracy")),
            f"{card.parameters:,}",
            card.precision,
            megabytes(size),
        )
        table.add_row(*map(Text, cells))  # Text, so that a name in brackets is no markup
    return table


def _page(card: ModelCard, size: int) -> Group:
    table = Table(show_header=False, box=None)
    for label, text in facts(card, size).items():
        table.add_row(Text(label, style="bold"), Text(text))
    title = Text(f"{card.name}@{card.version}")
    parts: list[RenderableType] = [Panel(Text(card.summary), title=title, title_align="left"), table]
    if card.confusion_matrix:
        parts.append(_classes(card))
    if worst_confusions(card):
        parts.append(_confusions(card))
    if card.robustness:
        parts.append(_robustness(card.robustness, card.metrics.get("accuracy", 1.0)))
    return Group(*parts)


def _classes(card: ModelCard) -> Table:
    table = Table("class", "images", "precision", "recall", "F1", "", title="Accuracy by class", title_justify="left")
    for name, scores in zip(card.classes, class_scores(card.confusion_matrix), strict=False):
        shares = (f"{share:.1%}" for share in (scores.precision, scores.recall, scores.f1))
        table.add_row(Text(name), f"{scores.images:,}", *shares, Text("█" * round(BAR * scores.f1), style="green"))
    return table


def _confusions(card: ModelCard) -> Table:
    table = Table("true class", "predicted", "images", title="Most frequent errors", title_justify="left")
    for true, predicted, images in worst_confusions(card):
        table.add_row(Text(true), Text(predicted), f"{images:,}")
    return table


def _robustness(found: Robustness, clean: float) -> Table:
    title = f"Accuracy on {counted(found['images'], 'corrupted image')}, by severity"
    table = Table("", title=title, title_justify="left")
    for severity in range(1, 6):
        table.add_column(str(severity), justify="right")
    for name, shares in found["accuracy"].items():
        cells = [Text(f"{share:.1%}", style="red" if share < clean - LARGE_DROP else "") for share in shares]
        table.add_row(Text(name), *cells)
    return table
