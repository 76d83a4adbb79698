"""Write docs/leaderboard.md from benchmarks/leaderboard.json."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markdown_table import table

ROOT = Path(__file__).parent.parent
HEAD = """# Leaderboard

How long two CPU cores train to an accuracy. `make tables` wrote this page from
[leaderboard.json](../benchmarks/leaderboard.json).

```sh
# measure a recipe beside the record, and enter it; the other targets are cifar10-90, cifar10-92 and cifar10-93
taskset -c 0,1 python benchmarks/leaderboard.py mnist-99.5 --change "without noise, 3 epochs" -- \\
  --config mnist_speednet --trainer.max_epochs 3 --data.augmentation.noise 0
```

The rules:

- Two cores and no GPU. All training images, no other data and no pretrained weights. The time is that of the training
  steps: the loading of the data, the set-up of the network and the test are not counted.
- Settings are chosen on held-out training images. A test image is seen once, at the end.
- The mean accuracy over at least five seeds is above the target, with p < 0.01 (t-test).
- It is faster than the record, which is trained again in turns with it, with p < 0.01 (Mann-Whitney test).

The benchmark adds `--data.val_fraction 0` and the seeds to a command, and tests the last checkpoint. Start it in a
clone without changes.

Views of a test image may be averaged. Minutes and accuracy are median, range and mean over the seeds.
"""
TITLES = {
    "mnist-99.5": "MNIST: 99.5%", "cifar10-90": "CIFAR-10: 90%", "cifar10-92": "CIFAR-10: 92%",
    "cifar10-93": "CIFAR-10: 93%",
}  # fmt: skip


def pages() -> dict[Path, str]:
    """Return the expected text of docs/leaderboard.md; nothing before the first measurement."""
    path = ROOT / "benchmarks/leaderboard.json"
    if not path.is_file():
        return {}
    board = json.loads(path.read_text())
    parts = [HEAD]
    for target, title in TITLES.items():
        lists = board.get(target)
        if not lists:
            continue
        parts += [f"## {title}", _records(lists["records"])]
        if lists["tried"]:
            parts += ["Tried, and no record:", _tried(lists["tried"])]
    if missing := [title for target, title in TITLES.items() if not board.get(target, {}).get("records")]:
        tried = "[training.md](training.md) has what was tried on held-out images."
        parts += ["## No record yet", f"{'; '.join(missing)}. {tried}"]
    return {ROOT / "docs/leaderboard.md": "\n\n".join(part.strip() for part in parts) + "\n"}


def _records(entries: Sequence[dict[str, Any]]) -> str:
    if not entries:
        return "No record yet."
    heads = ["what is new", "minutes", "accuracy", "data", "command", "date", "commit"]
    rows = [[*_measured(entry), entry["runs"][0]["data"], f"`cnnzoo fit {entry['command']}`", entry["date"],
             entry["runs"][0]["commit"][:8]] for entry in reversed(entries)]  # fmt: skip
    return table(heads, rows)


def _tried(entries: Sequence[dict[str, Any]]) -> str:
    heads = ["what was tried", "minutes", "accuracy", "why it is no record", "data", "command", "date", "commit"]
    rows = [
        [
            *_measured(entry),
            entry["why"],
            entry["runs"][0]["data"],
            f"`cnnzoo fit {entry['command']}`",
            entry["date"],
            entry["runs"][0]["commit"][:8],
        ]
        for entry in reversed(entries)
    ]
    return table(heads, rows)


def _measured(entry: dict[str, Any]) -> list[str]:
    """Return what changed, the median and range of the minutes, and the mean and deviation of the accuracy."""
    minutes = [run["minutes"] for run in entry["runs"]]
    accuracy = [run["accuracy"] for run in entry["runs"]]
    time = f"{statistics.median(minutes):.1f} ({min(minutes):.1f} to {max(minutes):.1f})"
    return [entry["change"], time, f"{statistics.mean(accuracy):.2%} ± {100 * statistics.stdev(accuracy):.2f}"]
