"""A model card for people, in the terminal."""

from pathlib import Path

from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ..contract.card import ModelCard, Robustness
from ..contract.model_file import read_model
from ..contract.names import ContractError
from .listing import MEGABYTE, interval, percent

CONFUSIONS = 5  # that are shown
BAR = 20  # characters


def read(path: Path) -> ModelCard:
    """The card in a file, wherever it lies. Raises ContractError for one without."""
    try:
        return read_model(path.read_bytes())
    except ContractError as error:
        raise ContractError(f"{path}: {error}") from None


def page(card: ModelCard, size: int) -> Group:
    """All that matters of a card; size in bytes."""
    between = interval(card)
    parts: list[Panel | Table | Text] = [
        Panel(Text(card.summary), title=f"{card.name}@{card.version}", title_align="left"),
        _facts({"For": card.intended_use, "Limits": card.limitations}),
        _facts({
            "Test accuracy": percent(card.metrics.get("accuracy")) + (f" (95%: {between})" if between else ""),
            "Data": ", ".join(filter(None, (card.dataset_title, card.dataset.get("source")))),
            "Licences": f"weights {card.license}; data {card.dataset.get('license', 'not stated')}",
            "Size": f"{card.parameters:,} parameters, {card.multiply_adds:,} multiply-adds an image, {card.precision}, "
            f"{size / MEGABYTE:.2f} MB",
            "Calibration": _calibration(card),
            "Made by": _made(card),
        }),
    ]  # fmt: skip
    if card.confusion_matrix:
        parts.append(_per_class(card))
    if worst_confusions(card):
        parts.append(_confusions(card))
    if card.robustness:
        parts.append(_robustness(card.robustness, card.metrics.get("accuracy", 1.0)))
    return Group(*parts)


def worst_confusions(card: ModelCard, count: int = CONFUSIONS) -> list[tuple[str, str, int]]:
    """(true class, taken for, how often), the most frequent first."""
    pairs = [
        (card.classes[i], card.classes[j], n)
        for i, row in enumerate(card.confusion_matrix)
        for j, n in enumerate(row)
        if i != j and n
    ]
    return sorted(pairs, key=lambda pair: -pair[2])[:count]


def _facts(facts: dict[str, str]) -> Table:
    table = Table(show_header=False, box=None)
    for name, text in facts.items():
        if text:
            table.add_row(Text(name, style="bold"), Text(text))
    return table


def _calibration(card: ModelCard) -> str:
    after, before = (card.metrics.get(f"calibration_error{which}") for which in ("", "_before"))
    if after is None:
        return ""
    was = f"; {before:.4f} before, at temperature 1" if before is not None else ""
    return f"expected error {after:.4f} at temperature {card.temperature:.3f}{was}"


def _made(card: ModelCard) -> str:
    made = card.training
    epochs = f"{made['epochs']} epochs" if "epochs" in made else ""
    minutes = f"{made['seconds'] / 60:.1f} minutes" if "seconds" in made else ""
    seed = f"seed {card.seed}" if card.seed is not None else ""
    commit = f"commit {(made.get('commit') or '')[:12]}" if made.get("commit") else ""
    parts = made.get("command") or card.command, seed, epochs, minutes, made.get("hardware"), commit, card.date[:10]
    return ", ".join(str(part) for part in parts if part)


def _per_class(card: ModelCard) -> Table:
    table = Table("class", "right", "", title="Accuracy by class", title_justify="left")
    for name, row, number in zip(card.classes, card.confusion_matrix, range(len(card.classes)), strict=True):
        share = row[number] / max(1, sum(row))
        table.add_row(Text(name), f"{share:.1%}", Text("█" * round(BAR * share), style="green"))
    return table


def _confusions(card: ModelCard) -> Table:
    table = Table("is", "taken for", "times", title="Most often confused", title_justify="left")
    for true, taken, times in worst_confusions(card):
        table.add_row(Text(true), Text(taken), str(times))
    return table


def _robustness(found: Robustness, clean: float) -> Table:
    table = Table(title=f"Accuracy on corrupted images ({found['images']:,}), by severity", title_justify="left")
    for heading in ("", "1", "2", "3", "4", "5"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, shares in found["accuracy"].items():
        cells = [Text(f"{share:.1%}", style="red" if share < clean - 0.1 else "") for share in shares]
        table.add_row(Text(name), *cells)
    return table
