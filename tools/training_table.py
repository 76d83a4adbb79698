"""The table of training speeds in docs/training.md, from benchmarks/training.json: `make tables`."""

import json
from pathlib import Path

from markdown_table import table

ROOT = Path(__file__).parent.parent
NETWORKS = {"cifar10": "CIFAR-10", "mnist": "MNIST", "digits": "digits"}
SIDES = {"lecture": "lecture's way", "bare": "bare loop", "fit": "`fit`, float32", "bf16": "`fit`, bf16"}
RATIOS = {
    "float32 ÷ lecture": ("fit", "lecture"),
    "bf16 ÷ lecture": ("bf16", "lecture"),
    "`fit` ÷ bare": ("fit", "bare"),
}


def training_table() -> str:
    """Return the seconds an epoch of each way to train, and their ratios."""
    found = json.loads((ROOT / "benchmarks/training.json").read_text())["results"]
    measured = {one["network"]: one["sides"] for one in found}
    rows = []
    for network, title in NETWORKS.items():
        seconds = {name: side["seconds_an_epoch"] for name, side in measured[network].items()}
        ratios = [f"{seconds[a] / seconds[b]:.2f}" if a in seconds else "–" for a, b in RATIOS.values()]
        rows.append([title, *(f"{seconds[side]:.2f}" if side in seconds else "–" for side in SIDES), *ratios])
    return table(["network", *SIDES.values(), *RATIOS], rows)
