"""Seconds an epoch: this project's `fit` against the lecture's way, and against a bare loop over the same batches.

    CNNZOO_DATA=<folder> python benchmarks/training.py [--networks digits mnist cifar10] [--images 6400] [--repeats 5]

The lecture's way is written afresh here, after its PyTorch code: torchvision's dataset, per-sample transforms, a
DataLoader, a plain loop with `loss.item()` in every step. Its optimiser and batch size are used on all sides. Each
side is a process of its own; they take turns, each turn trains on `--images` images, and medians are reported.
bf16 is `fit --trainer.precision bf16-mixed`, as this project's recipes train where the hardware has it.
--ablate adds `fit` without the memory allocator's setting, without the fused optimiser, and through torch.compile
(compiled in the first turn, which is not counted); --keras the lecture's Keras networks, in an environment of their
own that is made in build/keras. Prints a table and writes benchmarks/training.json.
"""

import argparse
import json
import logging
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
import torch.nn.functional as F
from lightning import Callback
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from cnnzoo.commands.hardware import has_bfloat16, keep_threads
from cnnzoo.commands.memory import keep_freed_memory
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
KERAS = Path(__file__).parent.parent / "build" / "keras"
BASELINES = ("lecture", "bare", "fit")  # what the others are ratios of
ABLATED = ("memory_returned", "unfused", "compiled")
SIZES = {"digits": 1437, "mnist": 60_000, "cifar10": 50_000}  # images of an epoch


class PerSample(Dataset[tuple[torch.Tensor, int]]):
    """As torchvision's datasets do: one image at a time, from array to PIL to transformed tensor."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor, transform: Callable[[Any], torch.Tensor]) -> None:
        self.images, self.labels, self.transform = images.permute(0, 2, 3, 1).numpy(), labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        pixels = self.images[index]
        return self.transform(Image.fromarray(pixels.squeeze())), int(self.labels[index])


def lecture_loop(network: torch.nn.Module, loader: DataLoader[Any], optimizer: Optimizer, steps: int) -> float:
    """Seconds for `steps` steps of the lecture's training loop."""
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


def plain_optimizer(network: torch.nn.Module, recipe: dict[str, Any]) -> Optimizer:
    make = torch.optim.Adam if recipe["optimizer"] == "adam" else torch.optim.SGD
    return make(network.parameters(), lr=recipe["learning_rate"])


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


class Unfused(Callback):
    def on_train_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        for group in trainer.optimizers[0].param_groups:
            group["fused"] = False


def fit(
    model: ImageClassifier, data: ImageDataModule, steps: int, precision: Any = "32-true", *more: Callback
) -> float:
    """Seconds for `steps` steps of `fit`, as the command line runs it but for the files it writes."""
    per_epoch = len(data.train_dataloader())
    watch = Stopwatch()
    trainer = lightning.Trainer(
        max_epochs=max(1, steps // per_epoch),
        limit_train_batches=min(steps, per_epoch),
        limit_val_batches=0,
        precision=precision,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[watch, *more],
    )
    trainer.fit(model, data)
    return watch.seconds * steps / trainer.global_step


def keras(dataset: str, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Seconds that the lecture's Keras network takes for these images."""
    scale = 255 / 16 if dataset == "digits" else 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "images.npz")
        np.savez(path, images=images.permute(0, 2, 3, 1).numpy() / scale, labels=labels.numpy())
        script = Path(__file__).with_name("keras_networks.py")
        done = subprocess.run([KERAS / "bin/python", script, dataset, path], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])["seconds"]


def _install_keras() -> None:
    if not (KERAS / "bin/python").exists():
        subprocess.run([sys.executable, "-m", "venv", KERAS], check=True)
        subprocess.run([KERAS / "bin/pip", "install", "--quiet", "tensorflow-cpu"], check=True)


def _forever(loader: Iterable[Any]) -> Any:
    while True:
        yield from loader


class Side:
    """One way of training, in a process of its own: what one sets up for the process is not the others'."""

    def __init__(self, side: str, network: str, images: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.process = ProcessPoolExecutor(1, context, _prepare, (side, network, images))

    def seconds(self) -> float:
        """For one turn of as many images."""
        return self.process.submit(_turn).result()


_run: Callable[[], float]


def _prepare(side: str, dataset: str, images: int) -> None:
    global _run
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    name, data_module, batch, extra, recipe = RECIPES[dataset]
    data = data_module(batch_size=batch, val_fraction=0)
    data.prepare_data()
    data.setup("fit")
    train, steps = data.splits["train"], max(1, images // batch)
    if side not in ("lecture", "keras"):
        keep_threads()
        if side != "memory_returned":
            keep_freed_memory()
    if side == "lecture":
        transform = transforms.Compose([transforms.ToTensor(), *extra])
        loader = DataLoader(PerSample(train.images, train.labels, transform), batch_size=batch, shuffle=True)
        network = create_model(name).network.to(memory_format=torch.contiguous_format)
        optimizer = plain_optimizer(network, recipe)
        _run = lambda: lecture_loop(network, loader, optimizer, steps)  # noqa: E731
    elif side == "keras":
        n = min(images, len(train))
        _run = lambda: keras(dataset, train.images[:n], train.labels[:n]) * steps * batch / n  # noqa: E731
    elif side == "bare":
        _run = lambda: bare_loop(create_model(name, **recipe), data.train_dataloader(), steps)  # noqa: E731
    else:
        precision = "bf16-mixed" if side == "bf16" else "32-true"
        compiled = create_model(name, **recipe, compile=True) if side == "compiled" else None
        more = [Unfused()] * (side == "unfused")
        _run = lambda: fit(compiled or create_model(name, **recipe), data, steps, precision, *more)  # noqa: E731


def _turn() -> float:
    return _run()


def measure(network: str, names: list[str], images: int, repeats: int) -> dict[str, Any]:
    names = [name for name in names if (name, network) != ("keras", "mnist")]  # the lecture has none
    processes = {name: Side(name, network, images) for name in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(repeats + 1):
        for name, side in processes.items():
            seconds = side.seconds()
            if turn:  # the first is a warm-up
                times[name].append(seconds)
    for side in processes.values():
        side.process.shutdown()
    batch, epoch = RECIPES[network][2], SIZES[network]
    steps = max(1, images // batch)
    median = {name: statistics.median(values) for name, values in times.items()}
    sides = {
        name: {
            "seconds_an_epoch": value * epoch / (steps * batch),
            "microseconds_a_step": value / steps * 1e6,
            "ratios": {base: _ratio(times[name], times[base]) for base in BASELINES if base != name},
            "seconds": times[name],
        }
        for name, value in median.items()
    }
    return {"network": network, "sides": sides}


def _ratio(ours: list[float], theirs: list[float]) -> float:
    return statistics.median(one / other for one, other in zip(ours, theirs, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--images", type=int, default=6400, help="images a turn (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="counted turns (default: %(default)s)")
    parser.add_argument("--ablate", action="store_true", help="also what helped left out, and torch.compile")
    parser.add_argument("--keras", action="store_true", help="also the lecture's Keras networks")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    if args.keras:
        _install_keras()
    names = [*BASELINES, *["bf16"] * has_bfloat16("cpu"), *ABLATED * args.ablate, *["keras"] * args.keras]

    results = [measure(network, names, args.images, args.repeats) for network in args.networks]
    machine = {"cores": os.cpu_count(), "machine": platform.machine(), "torch": torch.__version__}
    args.output.write_text(json.dumps({"machine": machine, "images": args.images, "results": results}, indent=2) + "\n")

    table = Table("network", "way", "s/epoch", "µs/step", *(f"÷ {base}" for base in BASELINES))
    for result in results:
        for name, side in result["sides"].items():
            ratios = [f"{side['ratios'][base]:.2f}" if base in side["ratios"] else "" for base in BASELINES]
            figures = f"{side['seconds_an_epoch']:.2f}", f"{side['microseconds_a_step']:.0f}"
            table.add_row(result["network"], name, *figures, *ratios)
        table.add_section()
    Console().print(table)


if __name__ == "__main__":
    main()
