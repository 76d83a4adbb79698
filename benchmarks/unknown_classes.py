"""Can a network tell that a picture shows none of its classes? Train on six classes of CIFAR-10, ask about the others.

    python benchmarks/unknown_classes.py                                # cifar10_speednet_long; hours on two cores
    python benchmarks/unknown_classes.py --config cifar10_speednet --flags --model.label_smoothing 0

Prints the AUROC of each score of benchmarks/scores.py: held-out images of the six classes against training images of
the other four, which no network has seen. Writes benchmarks/unknown_classes.json. Resumes a stopped training.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import scores
import torch
import yaml
from common import options, save, show
from sklearn.metrics import roc_auc_score
from torch import Tensor

from cnnzoo.commands import runs
from cnnzoo.commands.build import build
from cnnzoo.datamodules import CIFAR10DataModule
from cnnzoo.datamodules.batches import evenly_spaced

KNOWN = 6
TRAIN = 10_000  # images on which scores are fitted
UNKNOWN = 4000  # images of unknown classes
RUNS = Path("build/unknown_classes")


class SixClasses(CIFAR10DataModule):
    """CIFAR-10 without its last four classes: frog, horse, ship and truck."""

    classes = CIFAR10DataModule.classes[:KNOWN]  # type: ignore[assignment]  # ten names in its type

    def load(self, train: bool) -> tuple[Tensor, Tensor]:
        images, labels = super().load(train)
        known = labels < KNOWN
        return images[known], labels[known]


def train(config: str, flags: list[str]) -> Path:
    """Train, or continue to train, and return the run folder."""
    own = ["--data", "unknown_classes.SixClasses", "--model.num_classes", str(KNOWN), "--name", "network"]
    folder = RUNS / " ".join([config, *flags]).replace("/", "_")
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
    images, classes = CIFAR10DataModule(data.data_dir).load(train=True)
    others = images[classes >= KNOWN]
    others = others[evenly_spaced(UNKNOWN, len(others))]  # of all four classes, which stand in order
    known, held, unknown = (scores.see(model, part) for part in (train[spread][0], held_images, others))
    found = {"accuracy": (held.logits.argmax(1) == labels).double().mean().item()}
    strange = torch.cat([torch.zeros(len(held.logits)), torch.ones(len(unknown.logits))])
    for name, score in scores.fit(model, known, train[spread][1], held).items():
        found[name] = float(roc_auc_score(strange, torch.cat([score(held), score(unknown)])))
    return found


def main() -> None:
    """Train, measure, print and save."""
    parser = options(__doc__, __file__)
    parser.add_argument("--config", default="cifar10_speednet_long", help="a shipped recipe")
    parser.add_argument("--flags", nargs=argparse.REMAINDER, default=[], help="options for cnnzoo fit; must come last")
    args = parser.parse_args()
    found = measure(train(args.config, args.flags))
    show(args.config, ["score", "AUROC"], [[name, f"{value:.3f}"] for name, value in found.items()])
    results = yaml.safe_load(args.output.read_text()) if args.output.is_file() else {}
    save(args.output, results | {" ".join([args.config, *args.flags]): found})


if __name__ == "__main__":
    main()
