"""Seconds a step: this project's `fit` against the lecture's way, and against a bare loop over the same batches.

    CNNZOO_DATA=<folder> python benchmarks/training.py [--networks digits mnist cifar10] [--images 6400] [--repeats 5]

The lecture's way is written afresh here, after its PyTorch code: torchvision's dataset, per-sample transforms, a
DataLoader, a plain loop with `loss.item()` in every step. Its optimiser and batch size are used on all three sides.
The sides take turns; each turn trains on `--images` images, and medians are reported. Prints a table and writes
benchmarks/training.json.
"""

import argparse
import json
import logging
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import lightning
import torch
import torch.nn.functional as F
from lightning import Callback
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from cnnzoo.datamodules import CIFAR10DataModule, DigitsDataModule, ImageDataModule, MNISTDataModule
from cnnzoo.models import ImageClassifier, create_model

# (name, data, batch size, transforms, optimiser) of the lecture's recipes
RECIPES: dict[str, tuple[str, type[ImageDataModule], int, list[Any], dict[str, Any]]] = {
    "digits": ("digits_cnn", DigitsDataModule, 100, [], {"optimizer": "sgd", "learning_rate": 0.01}),
    "mnist": (
        "mnist_cnn",
        MNISTDataModule,
        64,
        [transforms.Normalize((0.1307,), (0.3081,))],
        {"optimizer": "adam", "learning_rate": 0.001},
    ),
    "cifar10": ("cifar10_cnn", CIFAR10DataModule, 32, [], {"optimizer": "adam", "learning_rate": 0.001}),
}


class PerSample(Dataset[tuple[torch.Tensor, int]]):
    """As torchvision's datasets do: one image at a time, from array to PIL to transformed tensor."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor, transform: Callable[[Any], torch.Tensor]) -> None:
        self.images, self.labels, self.transform = images.permute(0, 2, 3, 1).numpy(), labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        pixels = self.images[index]
        return self.transform(Image.fromarray(pixels.squeeze())), int(self.labels[index])


def lecture_loop(network: torch.nn.Module, loader: DataLoader[Any], recipe: dict[str, Any], steps: int) -> float:
    """Seconds for `steps` steps of the lecture's training loop."""
    make = torch.optim.Adam if recipe["optimizer"] == "adam" else torch.optim.SGD
    optimizer = make(network.parameters(), lr=recipe["learning_rate"])
    criterion = torch.nn.CrossEntropyLoss()
    network.train()
    running_loss, batches = 0.0, _forever(loader)
    start = time.perf_counter()
    for _ in range(steps):
        data, target = next(batches)
        optimizer.zero_grad()
        loss = criterion(network(data), target)
        loss.backward()
        optimizer.step()
        running_loss += loss.item()
    return time.perf_counter() - start


def bare_loop(model: ImageClassifier, loader: Iterable[Any], steps: int) -> float:
    """Seconds for `steps` steps over this project's batches, without Lightning."""
    configured = model.configure_optimizers()
    optimizer = configured["optimizer"] if isinstance(configured, dict) else configured
    model.train()
    batches = _forever(loader)
    start = time.perf_counter()
    for _ in range(steps):
        images, labels = next(batches)
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
    return time.perf_counter() - start


class Stopwatch(Callback):
    """Seconds from the first training batch to the end of the last."""

    seconds = 0.0

    def on_train_epoch_start(self, *_: Any) -> None:
        self.start = time.perf_counter()

    def on_train_epoch_end(self, *_: Any) -> None:
        self.seconds += time.perf_counter() - self.start


def fit(model: ImageClassifier, data: ImageDataModule, steps: int) -> float:
    """Seconds for `steps` steps of `fit`, as the command line runs it but for the files it writes."""
    per_epoch = len(data.train_dataloader())
    watch = Stopwatch()
    trainer = lightning.Trainer(
        max_epochs=max(1, steps // per_epoch),
        limit_train_batches=min(steps, per_epoch),
        limit_val_batches=0,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[watch],
    )
    trainer.fit(model, data)
    return watch.seconds * steps / trainer.global_step


def _forever(loader: Iterable[Any]) -> Any:
    while True:
        yield from loader


def measure(network: str, images: int, repeats: int) -> dict[str, Any]:
    name, data_module, batch, extra, recipe = RECIPES[network]
    data = data_module(batch_size=batch, val_fraction=0)
    data.prepare_data()
    data.setup("fit")
    train = data.parts["train"]
    steps = max(1, images // batch)
    transform = transforms.Compose([transforms.ToTensor(), *extra])
    loader = DataLoader(PerSample(train.images, train.labels, transform), batch_size=batch, shuffle=True)
    sides: dict[str, Callable[[], float]] = {
        "lecture": lambda: lecture_loop(create_model(name).network, loader, recipe, steps),
        "bare": lambda: bare_loop(create_model(name, **recipe), data.train_dataloader(), steps),
        "fit": lambda: fit(create_model(name, **recipe), data, steps),
    }
    times: dict[str, list[float]] = {side: [] for side in sides}
    for turn in range(repeats + 1):
        for side, run in sides.items():
            seconds = run()
            if turn:  # the first is a warm-up
                times[side].append(seconds)
    epoch = len(train) / (steps * batch)
    median = {side: statistics.median(values) for side, values in times.items()}
    return {
        "network": name,
        "seconds_an_epoch": {side: value * epoch for side, value in median.items()},
        "fit_over_lecture": statistics.median(f / s for f, s in zip(times["fit"], times["lecture"], strict=True)),
        "fit_over_bare": statistics.median(f / b for f, b in zip(times["fit"], times["bare"], strict=True)),
        "microseconds_a_step": {side: value / steps * 1e6 for side, value in median.items()},
        "raw_seconds": times,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--images", type=int, default=6400, help="images a turn (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="counted turns (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    results = [measure(network, args.images, args.repeats) for network in args.networks]
    machine = {"cores": os.cpu_count(), "machine": platform.machine(), "torch": torch.__version__}
    args.output.write_text(json.dumps({"machine": machine, "images": args.images, "results": results}, indent=2) + "\n")

    table = Table("network", "lecture s/epoch", "bare loop", "fit", "fit ÷ lecture", "fit ÷ bare")
    for result in results:
        seconds = result["seconds_an_epoch"]
        table.add_row(
            result["network"],
            *(f"{seconds[side]:.2f}" for side in ("lecture", "bare", "fit")),
            f"{result['fit_over_lecture']:.2f}",
            f"{result['fit_over_bare']:.2f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
