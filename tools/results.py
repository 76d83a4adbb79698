"""docs/results.md, from the metrics.json files that `cnnzoo test` left in run folders.

    cnnzoo fit --config mnist --seed_everything 1 --data.seed 1
    cnnzoo test --config runs/mnist_cnn/version_1 --ckpt_path last
    python benchmarks/results.py runs/mnist_cnn/version_1 ...

Copies the run folders' metrics.json into docs/results/ and writes the table over all that are there. Runs that
differ in nothing but their seeds are one line: mean, standard deviation, number of runs.
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
PLACES = ("--runs", "--data.data_dir")  # where, not how
WHICH = ("--ckpt_path", *PLACES)  # which run, not how it was trained or what was measured
HEAD = """# Results

Test-set accuracies, each from the `metrics.json` that `cnnzoo test --config RUN --ckpt_path last` left in a run's
folder: `python benchmarks/results.py` wrote this page from [results/](results). ± is the standard deviation over the
runs, which differ in their seeds (`--seed_everything` and `--data.seed`: the weights, the order, the validation part,
and for the digits the split into training and test images). *CIFAR-10 (JPEG q75)* is a copy whose images were
compressed once more, which costs accuracy. Minutes are those of training, validation included.
"""


def options(command: str, left_out: tuple[str, ...]) -> list[str]:
    """The --key value pairs of a command line, but for some."""
    words = shlex.split(command)
    pairs = [(key, value) for key, value in pairwise(words) if key.startswith("--")]
    return [f"{key} {shlex.quote(value)}" for key, value in pairs if key not in left_out]


def recipe(metrics: dict[str, Any]) -> tuple[str, str]:
    """How it was trained and how it was tested, as commands without the seeds."""
    fit = " ".join(["cnnzoo fit", *options(metrics["training"]["command"], (*SEEDS, *WHICH, "--name"))])
    return fit, " ".join(["cnnzoo test", *options(metrics["command"], (*SEEDS, *WHICH, "--config"))])


def collect(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    if "--ckpt_path last" not in metrics["command"]:
        sys.exit(f"{run} was not tested as the others: cnnzoo test --config {run} --ckpt_path last")
    words = re.sub(r"[^\w.]+", "-", "-".join(recipe(metrics)).replace("cnnzoo", "").replace("--config", ""))
    name = words.replace("fit", "").replace("test", "").strip("-").replace("--", "-")
    metrics["command"] = " ".join(["cnnzoo test", *options(metrics["command"], (*PLACES, "--config"))])
    fit = options(metrics["training"]["command"], PLACES)
    metrics["training"]["command"] = " ".join(["cnnzoo fit", *fit])
    (DOCS / "results").mkdir(exist_ok=True)
    text = json.dumps(metrics, indent=2, ensure_ascii=False)
    (DOCS / "results" / f"{name}-seed{metrics['seed']}.json").write_text(f"{text}\n")


def table() -> str:
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for path in sorted((DOCS / "results").glob("*.json")):
        metrics = json.loads(path.read_text())
        groups[recipe(metrics)].append(metrics)
    lines = ["| trained with | data | test accuracy | runs | epochs | minutes | on |",
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path, help="run folders to take in")
    for run in parser.parse_args().runs:
        collect(run)
    (DOCS / "results.md").write_text(f"{HEAD}\n{table()}\n")


if __name__ == "__main__":
    main()
