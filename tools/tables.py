"""Write the generated parts of README.md and docs/: `make tables`. With --check, fail if one is stale.

- README.md: the recipes, from the first lines of configs/; the models, from the cards of the shipped files.
- docs/architecture.md: the files of each room, from the first lines of their docstrings.
- docs/zoo.md, docs/pictures/robustness.png and front.png: from the cards.
- docs/familiarity.md: from the cards and the figures in benchmarks/ (tools/familiarity_page.py).
- docs/results.md: from docs/results/ (tools/results.py).
- docs/speed.md: from the figures in benchmarks/ (tools/speed_page.py).
- docs/training.md: the speeds, from benchmarks/training.json (tools/training_table.py).
- docs/leaderboard.md: from benchmarks/leaderboard.json, after the first measurement (tools/leaderboard_page.py).
"""

import argparse
import ast
import re
import subprocess
import sys
from pathlib import Path

import familiarity_page
import leaderboard_page
import pictures
import results
import speed_page
from markdown_table import table
from training_table import training_table

from cnnzoo.commands.cards import Entry, entries
from cnnzoo.contract.facts import (
    class_accuracies,
    corrupted_accuracy,
    counted,
    facts,
    megabytes,
    percent,
    worst_confusions,
)
from cnnzoo.contract.zoo_folder import FILE_NAME

ROOT = Path(__file__).parent.parent
ZOO = ROOT / "zoo"
ROOMS = {
    **{room: f"{room}/*.py" for room in ("contract", "datamodules", "models", "tools")},
    "serve": "serve/*.py serve/routes/*.py",
    "commands": "commands/*.py train.py __main__.py",
}
HEAD = """# The zoo

The model cards of the models that come with cnnzoo. `make tables` wrote this page from the cards. `cnnzoo card NAME`
shows one in a terminal. `cnnzoo verify --metrics` measures accuracy, calibration, corruptions and familiarity again. It
needs PyTorch, MNIST, and the JPEG q75 copy of CIFAR-10.

![Accuracy under eleven kinds of corruption, by severity](pictures/robustness.png)

The accuracy at each severity is of up to 2,000 test images, evenly spread. All other accuracies are of the whole test
set. The networks were trained on distorted and noisy images, too. The recipes differ in how much noise there was.
"""


def main() -> None:
    """Write what is stale, or report it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if something is stale")
    check = parser.parse_args().check
    stale = {path: text for path, text in pages().items() if not path.is_file() or path.read_text() != text}
    redraw = [picture for picture in pictures.PICTURES if picture.is_stale(shipped())]
    names = [str(path.relative_to(ROOT)) for path in (*stale, *(picture.path for picture in redraw))]
    if check and names:
        sys.exit(f"stale: {', '.join(names)}; run make tables")
    for path, text in stale.items():
        path.write_text(text)
    for picture in redraw:
        picture.save(shipped())
    print(f"wrote {', '.join(names)}" if names else "nothing was stale")


def pages() -> dict[Path, str]:
    """Return the expected text of each generated page. Exits if there are no models or no markers."""
    found = shipped()
    if not found:
        sys.exit(f"{ZOO} has no models: run `git checkout zoo`")
    readme, architecture, training = ROOT / "README.md", ROOT / "docs/architecture.md", ROOT / "docs/training.md"
    parts = {name: files(folders) for name, folders in ROOMS.items()}
    sections = "\n".join(section(entry) for entry in found)
    return {
        readme: replace_parts(readme, {"recipes": recipes(), "models": overview(found)}),
        architecture: replace_parts(architecture, parts),
        training: replace_parts(training, {"speeds": training_table()}),
        ROOT / "docs/zoo.md": f"{HEAD}\n{overview(found)}\n{sections}\n",
        **results.pages(),
        **familiarity_page.pages(found),
        **leaderboard_page.pages(),
        **speed_page.pages(),
    }


def replace_parts(page: Path, parts: dict[str, str]) -> str:
    """Return a page with new lines between each pair of markers. Exits if a pair is missing or not unique."""
    text = page.read_text()
    for name, part in parts.items():
        begin, end = f"<!-- {name}: make tables -->", f"<!-- /{name} -->"
        found = re.split(f"({begin}|{end})", text)
        if found[1::2] != [begin, end]:
            sys.exit(f"{page.name} must have the lines {begin} and {end} once each")
        text = f"{found[0]}{begin}\n{part}\n{end}{found[-1]}"
    return text


def files(patterns: str) -> str:
    """Return a table of Python files and the first paragraph of their docstrings."""
    rows = []
    for path in (path for pattern in patterns.split() for path in sorted(ROOT.glob(pattern))):
        paragraph = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")[0]
        rows.append((f"`{path.relative_to(ROOT)}`", " ".join(paragraph.split())))
    return table(["file", "what it does"], rows, text=2)


def shipped() -> list[Entry]:
    """Return the models in zoo/ that git tracks, or all in a copy without git. Exits if one is missing or damaged."""
    if not (ROOT / ".git").exists():
        return entries(ZOO)
    tracked = subprocess.run(["git", "ls-files", "-z", "zoo"], cwd=ROOT, capture_output=True, text=True, check=True)
    paths = {ROOT / name for name in tracked.stdout.split("\0") if name.endswith(FILE_NAME)}
    found = [entry for entry in entries(ZOO) if entry.path in paths]
    if lost := sorted(str(path.relative_to(ROOT)) for path in paths - {entry.path for entry in found}):
        sys.exit(f"missing or damaged: {', '.join(lost)}; run `git checkout zoo`")
    return found


def recipes() -> str:
    """Return a table of the shipped recipes: name, and the first sentence of the file."""
    rows = []
    for path in sorted((ROOT / "configs").glob("*.yaml")):
        comment = re.match(r"(?:#.*\n)+", path.read_text())
        words = re.sub(r"\n#\s*", " ", comment[0].removeprefix("#")).strip() if comment else ""
        sentence = re.match(r".*?\.(?= |$)", words)
        rows.append((f"`{path.stem}`", sentence[0] if sentence else words))
    return table(["recipe", "what it trains"], rows, text=2)


def overview(found: list[Entry]) -> str:
    """Return a table with a row for each model."""
    heads = ["name", "tested on", "accuracy", "corrupted", "calibration error", "parameters"]
    heads += ["million multiply-adds", "MB"]
    rows = [
        (
            f"`{card.name}`",
            f"{card.dataset_title}, {counted(int(card.metrics['n']), 'image')}",
            percent(card.metrics["accuracy"]),
            percent(corrupted_accuracy(card)),
            f"{card.metrics['calibration_error']:.4f}",
            f"{card.parameters:,}",
            f"{card.multiply_adds / 1e6:,.2f}" if card.multiply_adds else "–",
            megabytes(size),
        )
        for _, card, size in found
    ]
    return table(heads, rows, text=2)


def section(entry: Entry) -> str:
    """Return the section of a model in docs/zoo.md."""
    card = entry.card
    classes = ", ".join(f"{name} {share:.1%}" for name, share in class_accuracies(card))
    errors = "; ".join(f"{true} as {predicted} ({images})" for true, predicted, images in worst_confusions(card))
    lines = [f"\n## {card.name}, version {card.version}\n", f"{card.summary}.\n"]
    shown = facts(card, entry.size)
    shown["Command"] = f"`{shown['Command']}`"
    lines += [f"- **{label}**: {text}" for label, text in shown.items()]
    lines += [f"- **Accuracy by class**: {classes}", f"- **Most frequent errors**: {errors or 'none'}"]
    if card.robustness:
        heads = [f"accuracy on {counted(card.robustness['images'], 'image')}, severity", *"12345"]
        rows = [(name, *(f"{share:.1%}" for share in row)) for name, row in card.robustness["accuracy"].items()]
        lines += ["", table(heads, rows)]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
