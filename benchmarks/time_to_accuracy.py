"""Seconds of training until the validation accuracy reaches the final one of the lecture's recipe.

    CNNZOO_DATA=<folder> python benchmarks/time_to_accuracy.py [--data mnist cifar10] [--seeds 0 1 2]

The target is the validation accuracy after the lecture's ten epochs in the lecture's way (benchmarks/lecture.py).
Then `cnnzoo fit` runs this project's recipes, shortened. All train on the same 90% of the training images and are
validated on the rest after every epoch; only training steps are timed. Prints a table and writes
benchmarks/time_to_accuracy.json.
"""

import statistics

import torch
from common import options, run_alone, save, show
from lecture import RECIPES, train
from stopwatch import fit

from cnnzoo.models import create_model

LECTURE_EPOCHS = 10
HELD_OUT = 0.1  # of the training images
OURS = {"mnist": [("mnist", 3), ("mnist_speednet", 3)], "cifar10": [("cifar10", 6)]}  # recipes and their epochs
Curve = list[tuple[float, float]]  # (seconds of training so far, validation accuracy) after each epoch


def ours(recipe: str, epochs: int, seed: int) -> Curve:
    """Train one of this project's recipes."""
    seeds = ["--seed_everything", str(seed), "--data.seed", str(seed)]
    flags = ["--data.val_fraction", str(HELD_OUT), "--trainer.max_epochs", str(epochs)]
    return fit(recipe, *seeds, *flags)["curve"]


def lecture(dataset: str, seed: int) -> Curve:
    """Train the lecture's recipe in the lecture's way."""
    recipe = RECIPES[dataset]
    torch.manual_seed(seed)
    data = recipe.data(seed=seed, val_fraction=HELD_OUT)
    data.prepare_data()
    data.setup("fit")
    model = create_model(recipe.model)
    network = model.network.to(memory_format=torch.contiguous_format)
    optimizer = recipe.optimizer(network)
    loader = recipe.loader(*data.splits["train"][torch.arange(len(data.splits["train"]))])
    seconds, curve = 0.0, []
    for _ in range(LECTURE_EPOCHS):
        seconds += train(network, loader, optimizer, len(loader), warm_up=0)
        network.eval()
        with torch.inference_mode():
            hits = [(model(x).argmax(1) == y).sum().item() for x, y in data.val_dataloader()]
        curve.append((seconds, sum(hits) / len(data.splits["val"])))
    return curve


def reached(curve: Curve, target: float) -> float | None:
    """Return the seconds after which a curve reaches an accuracy."""
    return next((seconds for seconds, accuracy in curve if accuracy >= target), None)


def main() -> None:
    """Measure, print and save."""
    parser = options(__doc__, __file__)
    parser.add_argument("--data", nargs="+", choices=OURS, default=list(OURS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    args = parser.parse_args()
    results, rows = [], []
    for dataset in args.data:
        runs = []
        for seed in args.seeds:
            base = run_alone(lecture, dataset, seed)
            curves = {recipe: ours(recipe, epochs, seed) for recipe, epochs in OURS[dataset]}
            runs.append({"seed": seed, "target": base[-1][1], "lecture": base, **curves})
        whole = [run["lecture"][-1][0] for run in runs]
        target = statistics.mean(run["target"] for run in runs)
        for recipe, epochs in OURS[dataset]:
            times = [reached(run[recipe], run["target"]) for run in runs]
            found = [(t, w) for t, w in zip(times, whole, strict=True) if t is not None]
            seconds = f"{statistics.median(t for t, _ in found):.0f}" if found else "never"
            ratio = f"{statistics.median(t / w for t, w in found):.3f}" if found else "–"
            cells = [dataset, f"{target:.2%}", f"{statistics.median(whole):.0f}", f"{recipe}, {epochs} epochs", seconds]
            rows.append([*cells, ratio, f"{len(found)} of {len(runs)}"])
        results.append({"data": dataset, "runs": runs})
    save(args.output, {"results": results})
    heads = ("data", "target", "lecture's s", "recipe", "s", "ratio", "runs")
    show("time to the lecture's accuracy: medians over seeds", heads, rows)


if __name__ == "__main__":
    main()
