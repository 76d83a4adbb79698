"""Seconds an epoch of `cnnzoo fit`, compared with the lecture's way and with a bare loop over the same batches.

    CNNZOO_DATA=<folder> python benchmarks/training.py [--networks digits mnist cifar10] [--images 6400] [--rounds 5]
    CNNZOO_DATA=<folder> python benchmarks/training.py --options "--model.compile true"
    CNNZOO_DATA=<folder> python benchmarks/training.py --against ../checkout-of-an-older-commit

- lecture: a DataLoader, transforms of one image, and a plain loop with `loss.item()` in every step, after the
  lecture's PyTorch code. All sides take its optimizer and batch size.
- bare: a loop over this project's batches without Lightning.
- fit: `cnnzoo fit` of the lecture's recipe; bf16: the same with `--trainer.precision bf16-mixed`,
  if the processor has bfloat16.
- options: `cnnzoo fit` with the options in --options.

--against times `fit` of this checkout and of another one, run by that checkout's .venv, for the lecture's recipes and
for this project's, and prints ratios of medians.

Sides take turns. Each turn is a process of its own that trains on `--images` images, after a tenth of warm-up; only
training steps are timed. Prints medians and writes benchmarks/training.json.
"""

import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from common import machine, options, output_of, python_of, run_alone, save, show, take_turns
from PIL import Image
from stopwatch import fit
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from cnnzoo.commands.provenance import usable_precision
from cnnzoo.datamodules import CIFAR10DataModule, DigitsDataModule, ImageDataModule, MNISTDataModule
from cnnzoo.models import create_model


class Recipe(NamedTuple):
    """The lecture's recipe for a dataset."""

    model: str
    data: type[ImageDataModule]
    epoch: int  # images
    batch: int  # images
    transforms: list[Any]  # after `ToTensor`
    optimizer: dict[str, Any]


ADAM = {"optimizer": "adam", "learning_rate": 0.001}
NORMALIZE = transforms.Normalize((0.1307,), (0.3081,))
RECIPES = {
    "digits": Recipe("digits_cnn", DigitsDataModule, 1437, 100, [], {"optimizer": "sgd", "learning_rate": 0.01}),
    "mnist": Recipe("mnist_cnn", MNISTDataModule, 60_000, 64, [NORMALIZE], ADAM),
    "cifar10": Recipe("cifar10_cnn", CIFAR10DataModule, 50_000, 32, [], ADAM),
}
BASELINES = ("lecture", "bare", "fit")  # the denominators of the ratios


class PerSample(Dataset[tuple[torch.Tensor, int]]):
    """Dataset like torchvision's: from array to PIL to transformed tensor, one image at a time."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor, transform: Callable[[Any], torch.Tensor]) -> None:
        self.images, self.labels, self.transform = images.permute(0, 2, 3, 1).numpy(), labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.images[index].squeeze())), int(self.labels[index])


def lecture(network: str, steps: int, warm_up: int) -> float:
    """Train in the lecture's way and return seconds."""
    recipe = RECIPES[network]
    data = recipe.data()
    data.prepare_data()
    transform = transforms.Compose([transforms.ToTensor(), *recipe.transforms])
    loader = DataLoader(PerSample(*data.load(train=True), transform), batch_size=recipe.batch, shuffle=True)
    model = create_model(recipe.model).network.to(memory_format=torch.contiguous_format)
    make = torch.optim.Adam if recipe.optimizer["optimizer"] == "adam" else torch.optim.SGD
    optimizer = make(model.parameters(), lr=recipe.optimizer["learning_rate"])
    criterion = torch.nn.CrossEntropyLoss()
    running_loss = 0.0

    def step(images: torch.Tensor, labels: torch.Tensor) -> None:
        nonlocal running_loss
        optimizer.zero_grad()
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()
        running_loss += loss.item()

    model.train()
    return time_steps(step, loader, steps, warm_up)


def bare(network: str, steps: int, warm_up: int) -> float:
    """Train on this project's batches without Lightning and return seconds."""
    recipe = RECIPES[network]
    torch.set_num_threads(torch.get_num_threads())  # as `fit` does: MKL then keeps that number
    model = create_model(recipe.model, **recipe.optimizer)
    data = recipe.data(batch_size=recipe.batch, val_fraction=0)
    data.prepare_data()
    data.setup("fit")
    configured: Any = model.configure_optimizers()
    optimizer = configured["optimizer"] if isinstance(configured, dict) else configured

    def step(images: torch.Tensor, labels: torch.Tensor) -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()

    model.train()
    return time_steps(step, data.train_dataloader(), steps, warm_up)


def time_steps(step: Callable[..., None], loader: Iterable[Any], steps: int, warm_up: int) -> float:
    """Return the seconds for `steps` steps after the warm-up, with as many epochs as that takes."""
    done, start = 0, time.perf_counter()
    while True:
        for batch in loader:
            if done == warm_up:
                start = time.perf_counter()
            step(*batch)
            done += 1
            if done == warm_up + steps:
                return time.perf_counter() - start


def cnnzoo_fit(config: str, network: str, extra: list[str], python: str, steps: int, warm_up: int) -> float:
    """Run `cnnzoo fit` and return seconds for `steps` steps."""
    recipe = RECIPES[network]
    total = steps + warm_up
    flags = ["--data.val_fraction", "0", "--trainer.limit_train_batches", str(total)]
    flags += ["--trainer.max_epochs", str(-(-total // (recipe.epoch // recipe.batch)))]
    figures = fit(config, *flags, *extra, warm_up=warm_up, python=Path(python))
    return figures["seconds"] * steps / figures["steps"]


def measure(network: str, sides: Mapping[str, Callable[..., float]], images: int, rounds: int) -> dict[str, Any]:
    """Return seconds an epoch and microseconds a step of each side, medians over the rounds."""
    recipe = RECIPES[network]
    steps = max(1, images // recipe.batch)
    times = take_turns({name: partial(side, steps, -(-steps // 10)) for name, side in sides.items()}, rounds)
    results = {}
    for name, values in times.items():
        value = statistics.median(values)
        results[name] = {
            "seconds_an_epoch": value * recipe.epoch / (steps * recipe.batch),
            "microseconds_a_step": value / steps * 1e6,
            "seconds": values,
        }
    return {"network": network, "sides": results}


def compare(checkout: Path, networks: list[str], images: int, rounds: int) -> None:
    """Print the ratio of this checkout's `fit` to another one's."""
    rows = []
    for network in networks:
        for config in (f"{network}_lecture", network):
            pythons = {"this": sys.executable, "against": str(python_of(checkout))}
            sides = {name: partial(cnnzoo_fit, config, network, [], python) for name, python in pythons.items()}
            ours, theirs = (s["microseconds_a_step"] for s in measure(network, sides, images, rounds)["sides"].values())
            rows.append([config, f"{ours:,.0f}", f"{theirs:,.0f}", f"{ours / theirs:.3f}"])
    show(f"this checkout ÷ {checkout}", ("recipe", "µs/step", "against", "ratio"), rows)


def main() -> None:
    """Measure, print and save."""
    parser = options(__doc__, __file__)
    parser.add_argument("--networks", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--images", type=int, default=6400, help="images a turn (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--options", type=shlex.split, help="add fit with these options")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="compare with another checkout's fit alone")
    args = parser.parse_args()
    if args.against:
        compare(args.against, args.networks, args.images, args.rounds)
        return
    extras: dict[str, list[str]] = {"fit": []}
    if usable_precision("bf16-mixed", "cpu") == "bf16-mixed":  # else `fit` would train in float32
        extras["bf16"] = ["--trainer.precision", "bf16-mixed"]
    extras |= {"options": args.options} if args.options else {}
    results, rows = [], []
    for network in args.networks:
        sides: dict[str, Callable[..., float]] = {
            "lecture": partial(run_alone, lecture, network),
            "bare": partial(run_alone, bare, network),
        }
        for name, extra in extras.items():
            sides[name] = partial(cnnzoo_fit, f"{network}_lecture", network, extra, sys.executable)
        results.append(measure(network, sides, args.images, args.rounds))
        seconds = {name: side["seconds_an_epoch"] for name, side in results[-1]["sides"].items()}
        for name, side in results[-1]["sides"].items():
            ratios = ["" if base == name else f"{seconds[name] / seconds[base]:.2f}" for base in BASELINES]
            figures = f"{side['seconds_an_epoch']:.2f}", f"{side['microseconds_a_step']:.0f}"
            rows.append([network, name, *figures, *ratios])
    report = {"machine": machine() | {"torch": torch.__version__}, "images": args.images, "results": results}
    save(output_of(parser, args, "rounds"), report)
    show("training", ("network", "side", "s/epoch", "µs/step", *(f"÷ {base}" for base in BASELINES)), rows)


if __name__ == "__main__":
    main()
