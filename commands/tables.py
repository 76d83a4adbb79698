"""The model tables of README.md and docs/zoo.md, from the cards of the models that cnnzoo ships: `make tables`."""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

from PIL import Image

from ..contract.card import ModelCard
from ..contract.facts import MEGABYTE, interval, percent, worst_confusions
from ..contract.zoo_folder import FILE_NAME, SHIPPED
from .listing import Entry, entries

ROOT = SHIPPED.parent
PICTURE = ROOT / "docs/pictures/robustness.png"
BEGIN, END = "<!-- models: make tables -->", "<!-- /models -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail where a table is not what the cards say"
    )
    check = parser.parse_args().check
    stale = {path: text for path, text in pages().items() if not path.is_file() or path.read_text() != text}
    wanted = robustness(shipped())
    redraw = not PICTURE.is_file() or Image.open(PICTURE).info.get("Description") != json.dumps(wanted)
    names = ", ".join(str(path.relative_to(ROOT)) for path in (*stale, PICTURE) if path in stale or redraw)
    if check and names:
        sys.exit(f"{names}: not what the cards in {SHIPPED} say; make tables")
    for path, text in stale.items():
        path.write_text(text)
    if redraw:
        from . import plots  # only now: the check draws nothing

        plots.robustness(wanted, PICTURE)
    print(f"Wrote {names}" if names else "Nothing was stale")


def pages() -> dict[Path, str]:
    """What the pages should be, by path. Exits where there is nothing to say, or no place to say it."""
    found = shipped()
    readme = ROOT / "README.md"
    parts = re.split(f"({BEGIN}|{END})", readme.read_text())
    if not found or parts[1::2] != [BEGIN, END]:
        sys.exit(f"{SHIPPED} has no models, or README.md not the lines {BEGIN} and {END} once each")
    return {
        readme: f"{parts[0]}{BEGIN}\n{overview(found)}\n{END}{parts[-1]}",
        ROOT / "docs/zoo.md": "\n".join([HEAD, overview(found), *(section(entry) for entry in found)]) + "\n",
    }


def robustness(found: list[Entry]) -> dict[str, dict[str, list[float]]]:
    """What the networks withstand, for the picture; those with fewer bits are left out."""
    return {
        card.name: card.robustness["accuracy"] for _, card, _ in found if card.robustness and card.precision == "fp32"
    }


def shipped() -> list[Entry]:
    """The models that git has in zoo/ (after `git add`); what was exported there besides is not among them. All of
    them in a copy without git. Exits where one is missing or has no card."""
    if not (ROOT / ".git").exists():
        return entries(SHIPPED)
    known = subprocess.run(["git", "ls-files", "-z", "zoo"], cwd=ROOT, capture_output=True, text=True, check=True)
    paths = {ROOT / name for name in known.stdout.split("\0") if name.endswith(FILE_NAME)}
    found = [entry for entry in entries(SHIPPED) if entry.path in paths]
    if lost := sorted(str(path.relative_to(ROOT)) for path in paths - {entry.path for entry in found}):
        sys.exit(f"{', '.join(lost)}: missing, or damaged; `git checkout zoo` restores what git has")
    return found


HEAD = """# The zoo

What the models that come with cnnzoo say of themselves: `make tables` wrote this page from their cards. `cnnzoo card
NAME` shows one in a terminal, `cnnzoo verify --metrics` measures everything again.

![Accuracy under noise, blur, JPEG, brightness, rotation and translation, by severity](pictures/robustness.png)

Each severity was measured on up to 2,000 test images, evenly spread; the accuracies below are of all of them.
SpeedNet's first layer whitens: it enlarges what varies little over the training images, and noise with it, which
`cifar10_cnn` and `mnist_cnn` withstand better. A brighter background misleads `mnist_cnn`, and not `mnist_speednet`.
"""


def overview(found: list[Entry]) -> str:
    """A line for each model."""
    lines = [
        "| name | tested on | accuracy | 95% interval | calibration error | parameters | MB |",
        "| --- | --- | ---: | --- | ---: | ---: | ---: |",
    ]
    for _, card, size in found:
        facts = (
            f"`{card.name}`", _tested(card), percent(card.metrics["accuracy"]), interval(card),
            f"{card.metrics['calibration_error']:.4f}", f"{card.parameters:,}", f"{size / MEGABYTE:.2f}",
        )  # fmt: skip
        lines.append(f"| {' | '.join(facts)} |")
    return "\n".join(lines)


def section(entry: Entry) -> str:
    """All that matters of one card."""
    card = entry.card
    made = card.training
    before = card.metrics["calibration_error_before"]
    counts = card.confusion_matrix
    shares = [f"{name} {counts[i][i] / max(1, sum(counts[i])):.1%}" for i, name in enumerate(card.classes)]
    confused = [f"{taken} for a true {true} ({times}×)" for true, taken, times in worst_confusions(card)]
    lines = [
        f"\n## {card.name}, version {card.version}\n",
        f"{card.summary}.\n",
        f"*For:* {card.intended_use} *Limits:* {card.limitations}\n",
        f"- **Made by** `{made.get('command', card.command)}`: {made['epochs']} epochs, "
        f"{made['seconds'] / 60:.1f} minutes on {made['hardware']}, commit {str(made.get('commit'))[:12]}; "
        f"weights as {card.precision}",
        f"- **Licences**: weights {card.license}; data {card.dataset.get('license')} ({card.dataset.get('source')})",
        f"- **Calibration**: error {card.metrics['calibration_error']:.4f} at temperature {card.temperature:.3f}, "
        f"{before:.4f} without",
        f"- **By class**: {', '.join(shares)}",
        f"- **Says wrongly, most often**: {', '.join(confused) or 'nothing'}",
    ]
    if card.robustness:
        lines += ["", f"| accuracy, {card.robustness['images']:,} images, severity | 1 | 2 | 3 | 4 | 5 |"]
        lines += ["| --- | ---: | ---: | ---: | ---: | ---: |"]
        for name, row in card.robustness["accuracy"].items():
            lines.append(f"| {name} | {' | '.join(f'{share:.1%}' for share in row)} |")
    return "\n".join(lines)


def _tested(card: ModelCard) -> str:
    return f"{card.dataset_title}, {card.metrics['n']:,} images"


if __name__ == "__main__":
    main()
