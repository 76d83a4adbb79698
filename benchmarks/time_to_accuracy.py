"""Seconds of training until validation accuracy reaches what the lecture's recipe ends with.

    CNNZOO_DATA=<folder> python benchmarks/time_to_accuracy.py [--data mnist cifar10] [--seeds 0 1 2]

The lecture's recipe runs in the lecture's way (benchmarks/training.py) for its ten epochs; what it ends with is the
target. Then this project's recipes, shortened, run as `fit` runs them. Both train on the same 90% of the training
images and are validated on the rest after every epoch; only training is timed. Prints a table and writes
benchmarks/time_to_accuracy.json.
"""

import argparse
import json
import logging
import multiprocessing
import statistics
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import lightning
import torch
import yaml
from lightning import Callback, Trainer
from rich.console import Console
from rich.table import Column, Table
from torch.utils.data import DataLoader
from torchvision import transforms
from training import RECIPES, PerSample, lecture_loop, plain_optimizer

from cnnzoo.commands.config import build, find_config
from cnnzoo.commands.hardware import keep_threads, precision
from cnnzoo.commands.memory import keep_freed_memory
from cnnzoo.models import create_model

LECTURE_EPOCHS = 10
HELD_OUT = 0.1  # of the training images
# Recipe and epochs, of this project, for each dataset.
OURS = {"mnist": [("mnist", 3), ("mnist_speednet", 3)], "cifar10": [("cifar10", 6)]}
Curve = list[tuple[float, float]]  # (seconds of training so far, validation accuracy) after each epoch


class Clock(Callback):
    """Notes seconds of training and validation accuracy after every epoch."""

    def __init__(self) -> None:
        self.curve: Curve = []
        self.seconds = 0.0

    def on_train_epoch_start(self, *_: Any) -> None:
        self.start = time.perf_counter()

    def on_validation_start(self, *_: Any) -> None:
        self.seconds += time.perf_counter() - self.start

    def on_validation_end(self, trainer: Trainer, *_: Any) -> None:
        self.curve.append((self.seconds, trainer.callback_metrics["val_accuracy"].item()))


def ours(recipe: str, epochs: int, seed: int) -> Curve:
    _quiet()
    keep_freed_memory()
    keep_threads()
    config = yaml.safe_load(find_config(recipe).read_text())
    config["seed_everything"] = seed
    config["data"]["init_args"] |= {"seed": seed, "val_fraction": HELD_OUT}
    model, data = build(config)
    clock = Clock()
    options = config["trainer"] | {"max_epochs": epochs, "callbacks": [clock], "accelerator": "cpu"}
    options["precision"] = precision(options.get("precision"), "cpu")
    quiet = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    lightning.Trainer(**options, **dict.fromkeys(quiet, False), num_sanity_val_steps=0).fit(model, data)
    return clock.curve


def lecture(dataset: str, seed: int) -> Curve:
    _quiet()
    name, data_module, batch, extra, recipe = RECIPES[dataset]
    torch.manual_seed(seed)
    data = data_module(seed=seed, val_fraction=HELD_OUT)
    data.prepare_data()
    data.setup("fit")
    images, labels = data.splits["train"][torch.arange(len(data.splits["train"]))]
    transform = transforms.Compose([transforms.ToTensor(), *extra])
    loader = DataLoader(PerSample(images, labels, transform), batch_size=batch, shuffle=True)
    model = create_model(name)
    network = model.network.to(memory_format=torch.contiguous_format)
    optimizer = plain_optimizer(network, recipe)
    seconds, curve = 0.0, []
    for _ in range(LECTURE_EPOCHS):
        seconds += lecture_loop(network, loader, optimizer, len(loader))
        network.eval()
        with torch.inference_mode():
            hits = [(model(x).argmax(1) == y).sum().item() for x, y in data.val_dataloader()]
        curve.append((seconds, sum(hits) / len(data.splits["val"])))
    return curve


def alone(function: Callable[..., Curve], *arguments: Any) -> Curve:
    """In a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


def reached(curve: Curve, target: float) -> float | None:
    return next((seconds for seconds, accuracy in curve if accuracy >= target), None)


def _quiet() -> None:
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=OURS, default=list(OURS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()

    results = []
    table = Table("data", "target", "its s", Column("recipe", no_wrap=True), "s", "ratio", "runs")
    table.title = "Until it is as good as the lecture's: medians over seeds"
    for dataset in args.data:
        runs = []
        for seed in args.seeds:
            base = alone(lecture, dataset, seed)
            target = base[-1][1]
            runs.append({"seed": seed, "target": target, "lecture": base})
            for recipe, epochs in OURS[dataset]:
                runs[-1][recipe] = alone(ours, recipe, epochs, seed)
        for recipe, epochs in OURS[dataset]:
            times = [reached(run[recipe], run["target"]) for run in runs]
            whole = [run["lecture"][-1][0] for run in runs]
            found = [(t, w) for t, w in zip(times, whole, strict=True) if t is not None]
            seconds = f"{statistics.median(t for t, _ in found):.0f}" if found else "never"
            ratio = f"{statistics.median(t / w for t, w in found):.3f}" if found else "-"
            target = statistics.mean(run["target"] for run in runs)
            cells = [dataset, f"{target:.2%}", f"{statistics.median(whole):.0f}", f"{recipe}, {epochs} epochs", seconds]
            table.add_row(*cells, ratio, f"{len(found)} of {len(runs)}")
        results.append({"data": dataset, "runs": runs})
    args.output.write_text(json.dumps({"results": results}, indent=2) + "\n")
    Console().print(table)


if __name__ == "__main__":
    main()
