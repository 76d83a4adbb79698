"""Collect the test results of run folders for docs/results.md.

    cnnzoo fit --config mnist --seed_everything 1 --data.seed 1
    cnnzoo test --config runs/mnist_cnn/version_1 --ckpt_path last
    python tools/results.py runs/mnist_cnn/version_1 ...
    make tables

Copies each metrics.json into docs/results/, from which `make tables` writes the page. Runs that differ in their seeds
alone become one row: mean, standard deviation, number of runs.
"""

import argparse
import json
import re
import shlex
import statistics
import sys
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

from cnnzoo.contract.card import dataset_title

DOCS = Path(__file__).parent.parent / "docs"
SEEDS = ("--seed_everything", "--data.seed")
PATH_OPTIONS = ("--runs", "--data.data_dir")
RUN_OPTIONS = ("--ckpt_path", *PATH_OPTIONS)  # options that choose a run, not how it was trained or tested
HEAD = """# Results

Test accuracy of every recipe, over several seeds. `make tables` wrote this page from [results/](results).
`python tools/results.py RUN …` copies there the `metrics.json` that `cnnzoo test --config RUN --ckpt_path last` writes.

- ± is the standard deviation over runs with other seeds (`--seed_everything` and `--data.seed`). The seeds change the
  initial weights, the order of the images and the validation split, and for the digits also the test split.
- *CIFAR-10 (JPEG q75)* is a copy whose images were compressed again, which costs accuracy.
- Minutes are those of training with validation.
- A row is of the recipe at the commit that its file in results/ names. Since then `digits`, `mnist`, `mnist_speednet`,
  `cifar10` and `cifar10_speednet_long` train on noisy images too, and for more epochs.
"""


def options(command: str, left_out: tuple[str, ...]) -> list[str]:
    """Return the options of a command line as "--key value", without some."""
    words = shlex.split(command)
    pairs = [(key, value) for key, value in pairwise(words) if key.startswith("--")]
    return [f"{key} {shlex.quote(value)}" for key, value in pairs if key not in left_out]


def recipe(metrics: dict[str, Any]) -> tuple[str, str]:
    """Return the commands that trained and tested a run, without the seeds."""
    fit = " ".join(["cnnzoo fit", *options(metrics["training"]["command"], (*SEEDS, *RUN_OPTIONS, "--name"))])
    return fit, " ".join(["cnnzoo test", *options(metrics["command"], (*SEEDS, *RUN_OPTIONS, "--config"))])


def collect(run: Path) -> None:
    """Copy the metrics.json of a run folder into docs/results/. Exits if the best checkpoint was tested."""
    metrics = json.loads((run / "metrics.json").read_text())
    if "--ckpt_path last" not in metrics["command"]:
        sys.exit(f"{run} was tested with another checkpoint: run cnnzoo test --config {run} --ckpt_path last")
    words = re.sub(r"[^\w.]+", "-", "-".join(recipe(metrics)).replace("cnnzoo", "").replace("--config", ""))
    name = words.replace("fit", "").replace("test", "").strip("-").replace("--", "-")
    metrics["command"] = " ".join(["cnnzoo test", *options(metrics["command"], (*PATH_OPTIONS, "--config"))])
    metrics["training"]["command"] = " ".join(["cnnzoo fit", *options(metrics["training"]["command"], PATH_OPTIONS)])
    (DOCS / "results").mkdir(exist_ok=True)
    text = json.dumps(metrics, indent=2, ensure_ascii=False)
    (DOCS / "results" / f"{name}-seed{metrics['seed']}.json").write_text(f"{text}\n")


def table() -> str:
    """Return a row for each recipe in docs/results/."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for path in sorted((DOCS / "results").glob("*.json")):
        metrics = json.loads(path.read_text())
        groups[recipe(metrics)].append(metrics)
    lines = ["| trained with | data | test accuracy | runs | epochs | minutes | hardware |",
             "| --- | --- | ---: | ---: | ---: | ---: | --- |"]  # fmt: skip
    for (fit, test), runs in sorted(groups.items()):
        accuracies = [100 * run["accuracy"] for run in runs]
        spread = f" ± {statistics.stdev(accuracies):.2f}" if len(runs) > 1 else ""
        minutes = statistics.median(run["training"]["seconds"] for run in runs) / 60
        dataset, training = runs[0]["dataset"], runs[0]["training"]
        tested = f", tested with `{test.removeprefix('cnnzoo test ')}`" if test != "cnnzoo test" else ""
        accuracy = f"{statistics.mean(accuracies):.2f}%{spread}"
        cells = [f"`{fit}`{tested}", dataset_title(dataset), accuracy, str(len(runs))]
        cells += [str(training["epochs"]), f"{minutes:.1f}", training["hardware"]]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def pages() -> dict[Path, str]:
    """Return the expected text of docs/results.md."""
    return {DOCS / "results.md": f"{HEAD}\n{table()}\n"}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="run folders")
    for folder in parser.parse_args().runs:
        collect(folder)
