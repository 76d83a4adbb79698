"""Can a network tell that a picture shows none of its classes? Train on six classes, ask about the other four.

    python benchmarks/unknown_classes.py                                # cifar10_speednet_long; hours on two cores
    python benchmarks/unknown_classes.py --config cifar10_speednet --unknown airplane automobile ship truck
    python benchmarks/unknown_classes.py --config mnist
    python benchmarks/unknown_classes.py --config cifar10_speednet --flags --model.label_smoothing 0  # last, if given

Prints the AUROC of each score of benchmarks/scores.py: held-out images of the known classes against training images of
the others, which no network has seen. Writes benchmarks/unknown_classes.json. Resumes a stopped training.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import scores
import torch
import yaml
from common import options, save, show
from sklearn.metrics import roc_auc_score
from torch import Tensor

from cnnzoo.commands import runs
from cnnzoo.commands.build import build
from cnnzoo.datamodules import CIFAR10DataModule, ImageDataModule, MNISTDataModule
from cnnzoo.datamodules.batches import evenly_spaced

LEFT_OUT = {"CIFAR10DataModule": ["frog", "horse", "ship", "truck"], "MNISTDataModule": ["6", "7", "8", "9"]}
TRAIN = 10_000  # images on which scores are fitted
UNKNOWN = 4000  # images of unknown classes
RUNS = Path("build/unknown_classes")


class LeavesOut(ImageDataModule):
    """A dataset without some of its classes.

    Args:
        unknown: names of the classes to leave out.
        kwargs: see the dataset.
    """

    def __init__(self, unknown: list[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if wrong := set(unknown) - set(self.classes):
            raise ValueError(f"no class is called {', '.join(sorted(wrong))}: there are {', '.join(self.classes)}")
        self.unknown = [number for number, name in enumerate(self.classes) if name in unknown]
        self.known = [number for number, name in enumerate(self.classes) if name not in unknown]
        self.classes = tuple(self.classes[number] for number in self.known)  # type: ignore[misc]  # no property there

    def load(self, train: bool) -> tuple[Tensor, Tensor]:
        images, labels = super().load(train)
        numbers = torch.tensor(self.known)
        known = torch.isin(labels, numbers)
        return images[known], torch.searchsorted(numbers, labels[known])

    def strangers(self) -> Tensor:
        """Return training images of all unknown classes."""
        images, labels = super().load(train=True)
        found = images[torch.isin(labels, torch.tensor(self.unknown))]
        return found[evenly_spaced(UNKNOWN, len(found))]  # CIFAR-10's classes stand in order


class SomeOfCIFAR10DataModule(LeavesOut, CIFAR10DataModule):
    """CIFAR-10 without some of its classes."""


class SomeOfMNISTDataModule(LeavesOut, MNISTDataModule):
    """MNIST without some of its digits."""


def train(name: str, config: str, dataset: str, unknown: list[str], flags: list[str]) -> Path:
    """Train, or continue to train, and return the run folder."""
    data = ["--data", f"unknown_classes.SomeOf{dataset}", "--data.unknown", json.dumps(unknown)]
    own = [*data, "--name", "network"]
    folder = RUNS / name.replace("/", "_")
    words = ["fit", "--config", config, *own, "--runs", str(folder), "--ckpt_path", "last", *flags]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    subprocess.run([sys.executable, "-m", "cnnzoo", *words], check=True, env=environment)
    return max((folder / "network").glob("version_*"), key=lambda folder: (folder / "metrics.csv").stat().st_mtime)


def measure(run: Path) -> dict[str, float]:
    """Return the accuracy on held-out images of the known classes, and the AUROC of each score."""
    model, data = build(runs.read_config(run))
    model.load_state_dict(runs.read_checkpoint(run / "checkpoints/last.ckpt")["state_dict"])
    data.setup("validate")
    train, held_out = data.splits["train"], data.splits["val"]
    spread = evenly_spaced(TRAIN, len(train))
    held_images, labels = held_out[:]
    strangers = data.strangers()  # type: ignore[attr-defined]  # of LeavesOut, which is imported under another name
    known, held, unknown = (scores.see(model, part) for part in (train[spread][0], held_images, strangers))
    found = {"accuracy": (held.logits.argmax(1) == labels).double().mean().item()}
    strange = torch.cat([torch.zeros(len(held.logits)), torch.ones(len(unknown.logits))])
    for name, score in scores.fit(model, known, train[spread][1], held).items():
        found[name] = float(roc_auc_score(strange, torch.cat([score(held), score(unknown)])))
    return found


def main() -> None:
    """Train, measure, print and save."""
    parser = options(__doc__, __file__)
    parser.add_argument("--config", default="cifar10_speednet_long", help="a shipped recipe for MNIST or CIFAR-10")
    parser.add_argument("--unknown", nargs="+", metavar="CLASS", help="default: the last four")
    parser.add_argument("--flags", nargs=argparse.REMAINDER, default=[], help="options for cnnzoo fit; must come last")
    args = parser.parse_args()
    recipe = yaml.safe_load((Path(__file__).parents[1] / f"configs/{args.config}.yaml").read_text())
    dataset = recipe["data"]["class_path"]
    unknown = args.unknown or LEFT_OUT[dataset]
    name = " ".join([args.config, *args.flags, *(["without", *args.unknown] if args.unknown else [])])
    found = measure(train(name, args.config, dataset, unknown, args.flags))
    show(name, ["score", "AUROC"], [[score, f"{value:.3f}"] for score, value in found.items()])
    results = yaml.safe_load(args.output.read_text()) if args.output.is_file() else {}
    save(args.output, results | {name: {"unknown": ", ".join(unknown)} | found})


if __name__ == "__main__":
    main()
