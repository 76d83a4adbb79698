"""docs/pictures/robustness.png: accuracy over severity, from the cards of the shipped fp32 models."""

import json
from pathlib import Path

from matplotlib.figure import Figure  # not pyplot, which has global state and opens windows
from PIL import Image

from cnnzoo.commands.cards import Entry
from cnnzoo.contract.files import atomic_write

PLOT = Path(__file__).parent.parent / "docs/pictures/robustness.png"
COLUMNS = 3


def tables(found: list[Entry]) -> dict[str, dict[str, list[float]]]:
    """Return by model and by corruption the accuracy from severity 1 upwards."""
    return {
        card.name: card.robustness["accuracy"] for _, card, _ in found if card.robustness and card.precision == "fp32"
    }


def is_stale(found: list[Entry]) -> bool:
    """Return whether the plot is missing or was drawn from other figures. Its PNG Description holds them as JSON."""
    if not PLOT.is_file():
        return True
    with Image.open(PLOT) as image:
        return image.info.get("Description") != json.dumps(tables(found))


def draw(found: list[Entry]) -> None:
    """Draw a panel for each corruption with a line for each model."""
    models = tables(found)
    corruptions = list(dict.fromkeys(name for table in models.values() for name in table))
    rows = -(-len(corruptions) // COLUMNS)
    figure = Figure(figsize=(9, 0.6 + 2.4 * rows), layout="constrained")
    panels = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False).ravel()
    for ax, corruption in zip(panels, corruptions, strict=False):
        for number, (model, table) in enumerate(models.items()):
            severities = range(1, len(table[corruption]) + 1)
            ax.plot(severities, table[corruption], "o-", color=f"C{number}", markersize=3, label=model)
        ax.set_title(corruption, fontsize=10)
        ax.set_ylim(0, 1.02)
        ax.grid(alpha=0.3)
    figure.supxlabel("severity", fontsize=10)
    figure.supylabel("accuracy", fontsize=10)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(models), fontsize=9)
    with atomic_write(PLOT) as temporary:
        figure.savefig(temporary, dpi=120, format="png", metadata={"Description": json.dumps(models)})
