"""Seconds an epoch of `cnnzoo fit`, compared with the lecture's way and with a bare loop over the same batches.

    CNNZOO_DATA=<folder> python benchmarks/training.py [--networks digits mnist cifar10] [--images 6400] [--rounds 5]
    CNNZOO_DATA=<folder> python benchmarks/training.py --against ../checkout-of-an-older-commit

- lecture: the lecture's way (benchmarks/lecture.py). All sides take its optimizer and batch size.
- bare: a loop over this project's batches without Lightning.
- fit: `cnnzoo fit` of the lecture's recipe; bf16: the same with `--trainer.precision bf16-mixed`.
- unfused, compiled (--ablate): `fit` without the fused optimizer, and through torch.compile.
- keras (--keras): the lecture's Keras networks, in an environment in build/keras.

--against times `fit` of this checkout and of another one, run by that checkout's .venv, for the lecture's recipes and
for this project's, and prints ratios of medians.

Sides take turns. Each turn is a process of its own that trains on `--images` images, after a tenth of warm-up; only
training steps are timed. Prints medians and writes benchmarks/training.json.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from common import HERE, machine, options, python_of, run_alone, save, show, take_turns
from lecture import RECIPES, time_steps, train
from stopwatch import fit

from cnnzoo.models import create_model

KERAS = HERE.parent / "build/keras"
BASELINES = ("lecture", "bare", "fit")  # the denominators of the ratios
FIT_SIDES = {"fit": [], "bf16": ["--trainer.precision", "bf16-mixed"]}
ABLATED = {"unfused": ["--trainer.callbacks+=stopwatch.Unfused"], "compiled": ["--model.compile", "true"]}


def lecture(network: str, steps: int, warm_up: int) -> float:
    """Train in the lecture's way and return seconds."""
    recipe = RECIPES[network]
    model = create_model(recipe.model).network.to(memory_format=torch.contiguous_format)
    images, labels = _images(network)
    return train(model, recipe.loader(images, labels), recipe.optimizer(model), steps, warm_up)


def bare(network: str, steps: int, warm_up: int) -> float:
    """Train on this project's batches without Lightning and return seconds."""
    recipe = RECIPES[network]
    torch.set_num_threads(torch.get_num_threads())  # as `fit` does: MKL then keeps that number
    model = create_model(recipe.model, **recipe.options)
    data = recipe.data(batch_size=recipe.batch, val_fraction=0)
    data.prepare_data()
    data.setup("fit")
    configured = model.configure_optimizers()
    optimizer = configured["optimizer"] if isinstance(configured, dict) else configured

    def step(images: torch.Tensor, labels: torch.Tensor) -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()

    model.train()
    return time_steps(step, data.train_dataloader(), steps, warm_up)


def keras(network: str, steps: int, warm_up: int) -> float:
    """Train the lecture's Keras network for an epoch of as many images, and return seconds."""
    recipe = RECIPES[network]
    images, labels = (tensor[: steps * recipe.batch] for tensor in _images(network))
    scale = 255 / 16 if network == "digits" else 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "images.npz")
        np.savez(path, images=images.permute(0, 2, 3, 1).numpy() / scale, labels=labels.numpy())
        command = [KERAS / "bin/python", HERE / "keras_networks.py", network, path]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])["seconds"] * steps * recipe.batch / len(images)


def cnnzoo_fit(config: str, network: str, extra: list[str], python: str, steps: int, warm_up: int) -> float:
    """Run `cnnzoo fit` and return seconds for `steps` steps."""
    recipe = RECIPES[network]
    total = steps + warm_up
    flags = ["--data.val_fraction", "0", "--trainer.limit_train_batches", str(total)]
    flags += ["--trainer.max_epochs", str(-(-total // (recipe.epoch // recipe.batch)))]
    figures = fit(config, *flags, *extra, warm_up=warm_up, python=Path(python))
    return figures["seconds"] * steps / figures["steps"]


def _images(network: str) -> tuple[torch.Tensor, torch.Tensor]:
    data = RECIPES[network].data()
    data.prepare_data()
    return data.load(train=True)


def _install_keras() -> None:
    if not (KERAS / "bin/python").exists():
        subprocess.run([sys.executable, "-m", "venv", KERAS], check=True)
        subprocess.run([KERAS / "bin/pip", "install", "--quiet", "tensorflow-cpu"], check=True)


def sides_of(network: str, names: list[str]) -> dict[str, Callable[..., float]]:
    """Return the functions that train a network, by side."""
    functions = {"lecture": lecture, "bare": bare, "keras": keras}
    sides: dict[str, Callable[..., float]] = {}
    for name in names:
        if name in functions and (name, network) != ("keras", "mnist"):  # the lecture has no Keras network for MNIST
            sides[name] = partial(run_alone, functions[name], network)
        elif name not in functions:
            extra = {**FIT_SIDES, **ABLATED}[name]
            sides[name] = partial(cnnzoo_fit, f"{network}_lecture", network, extra, sys.executable)
    return sides


def measure(network: str, sides: dict[str, Callable[..., float]], images: int, rounds: int) -> dict[str, Any]:
    """Return seconds an epoch, microseconds a step and ratios of each side."""
    recipe = RECIPES[network]
    steps = max(1, images // recipe.batch)
    turns = {name: partial(side, steps, -(-steps // 10)) for name, side in sides.items()}
    times = take_turns(turns, rounds)
    results = {}
    for name, values in times.items():
        value = statistics.median(values)
        bases = [base for base in BASELINES if base != name and base in times]
        results[name] = {
            "seconds_an_epoch": value * recipe.epoch / (steps * recipe.batch),
            "microseconds_a_step": value / steps * 1e6,
            "ratios": {base: value / statistics.median(times[base]) for base in bases},
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
    parser.add_argument("--ablate", action="store_true", help="add fit without what helped, and with torch.compile")
    parser.add_argument("--keras", action="store_true", help="add the lecture's Keras networks")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="compare with another checkout's fit alone")
    args = parser.parse_args()
    if args.against:
        compare(args.against, args.networks, args.images, args.rounds)
        return
    if args.keras:
        _install_keras()
    names = ["lecture", "bare", *FIT_SIDES, *list(ABLATED) * args.ablate, *["keras"] * args.keras]
    results = [measure(n, sides_of(n, names), args.images, args.rounds) for n in args.networks]
    save(args.output, {"machine": machine() | {"torch": torch.__version__}, "images": args.images, "results": results})
    rows = []
    for result in results:
        for name, side in result["sides"].items():
            ratios = [f"{side['ratios'][base]:.2f}" if base in side["ratios"] else "" for base in BASELINES]
            figures = f"{side['seconds_an_epoch']:.2f}", f"{side['microseconds_a_step']:.0f}"
            rows.append([result["network"], name, *figures, *ratios])
    show("training", ("network", "side", "s/epoch", "µs/step", *(f"÷ {base}" for base in BASELINES)), rows)


if __name__ == "__main__":
    main()
