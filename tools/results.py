"""Collect accuracies over seeds for docs/results.md.

    cnnzoo sweep --config mnist --seeds 0,1,2
    python tools/results.py sweeps/mnist_cnn
    make tables

A run folder can be given, too, after `cnnzoo test --config RUN --ckpt_path last`: a training that uses all cores.
Copies seeds.json or metrics.json into docs/results/, from which `make tables` writes the page.
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
from typing import Any, NamedTuple

import markdown_table

from cnnzoo.commands.provenance import PATH_OPTIONS
from cnnzoo.contract.card import dataset_title

DOCS = Path(__file__).parent.parent / "docs"
SEEDS = ("--seed_everything", "--data.seed")
RUN_OPTIONS = ("--ckpt_path", *PATH_OPTIONS)  # options that choose a run, not how it was trained or tested
HEAD = """# Results

Test accuracy of the recipes, over several seeds where a training is short. `make tables` wrote this page from
[results/](results).

```sh
cnnzoo sweep --config mnist --seeds 0,1,2     # each seed on one core
python tools/results.py sweeps/mnist_cnn      # copies seeds.json to docs/results/
```

- ± is the standard deviation over seeds (`--seed_everything` and `--data.seed`). They change the initial weights, the
  order of the images and the validation split, and for the digits also the test split.
- *CIFAR-10 (JPEG q75)* is a copy whose images were compressed again, which costs accuracy.
- Minutes are those of training, the median over the seeds; in rows of `cnnzoo fit`, with validation. Some were measured
  beside other work: the seeds of `mnist_speednet` took 11, 17 and 118 minutes.
- A row is of the recipe at the commit that its file in results/ names.
"""


def options(command: str, left_out: tuple[str, ...]) -> list[str]:
    """Return the options of a command line as "--key value", without some."""
    words = [part for word in shlex.split(command) for part in (word.split("=", 1) if word[:2] == "--" else [word])]
    words = ["--config" if word == "-c" else word for word in words]
    pairs = [(key, value) for key, value in pairwise(words) if key.startswith("--")]
    return [f"{key} {shlex.quote(value)}" for key, value in pairs if key not in left_out]


def collect(folder: Path) -> None:
    """Copy the results of a sweep or of a run folder into docs/results/. Exits if the best checkpoint was tested."""
    seeds = folder / "seeds.json"
    if seeds.is_file():
        metrics = json.loads(seeds.read_text())
        metrics["command"] = " ".join(["cnnzoo sweep", *options(metrics["command"], PATH_OPTIONS)])
        return _save(metrics, _name(options(metrics["command"], ("--seeds",))))
    metrics = json.loads((folder / "metrics.json").read_text())
    if "--ckpt_path last" not in metrics["command"]:
        sys.exit(f"{folder} was tested with another checkpoint: run cnnzoo test --config {folder} --ckpt_path last")
    tested = options(metrics["command"], (*SEEDS, *RUN_OPTIONS, "--config"))
    name = f"{_name([*_trained_with(metrics), *tested])}-seed{metrics['seed']}"
    metrics["command"] = " ".join(["cnnzoo test", *options(metrics["command"], (*PATH_OPTIONS, "--config"))])
    metrics["training"]["command"] = " ".join(["cnnzoo fit", *options(metrics["training"]["command"], PATH_OPTIONS)])
    _save(metrics, name)


def _trained_with(metrics: dict[str, Any]) -> list[str]:
    return options(metrics["training"]["command"], (*SEEDS, *RUN_OPTIONS, "--name"))


def _name(words: list[str]) -> str:
    return re.sub(r"[^\w.]+", "-", " ".join(words).removeprefix("--config ")).strip("-")


def _save(metrics: dict[str, Any], name: str) -> None:
    (DOCS / "results").mkdir(exist_ok=True)
    text = json.dumps(metrics, indent=2, ensure_ascii=False)
    (DOCS / "results" / f"{name}.json").write_text(f"{text}\n")


class Result(NamedTuple):
    """One trained network: its place in the table, its test accuracy, and its training."""

    how: str  # the commands that trained and tested it
    dataset: str
    accuracy: float
    epochs: int
    seconds: float
    hardware: str
    commit: str


def results(content: dict[str, Any]) -> list[Result]:
    """Return the networks in a file of docs/results/."""
    dataset = dataset_title(content["dataset"])
    if "points" in content:  # of a sweep
        how = f"`{' '.join(['cnnzoo sweep', *options(content['command'], ())])}`"
        return [
            Result(
                ", ".join([how, *(f"{name} = {value}" for name, value in point["values"].items())]),
                dataset, run["test_accuracy"], content["epochs"], run["seconds"], content["hardware"],
                run.get("commit", content.get("commit", "")),
            )
            for point in content["points"]
            for run in point["runs"]
        ]  # fmt: skip
    training = content["training"]
    how = f"`{' '.join(['cnnzoo fit', *_trained_with(content)])}`"
    if tested := options(content["command"], (*SEEDS, *RUN_OPTIONS, "--config")):
        how += f", tested with `{' '.join(tested)}`"
    accuracy, epochs, seconds = content["accuracy"], training["epochs"], training["seconds"]
    return [Result(how, dataset, accuracy, epochs, seconds, training["hardware"], training["commit"])]


def table() -> str:
    """Return a row for each recipe in docs/results/. Exits if its runs differ in more than their seeds."""
    groups: dict[str, list[Result]] = defaultdict(list)
    for path in sorted((DOCS / "results").glob("*.json")):
        for result in results(json.loads(path.read_text())):
            groups[result.how].append(result)
    rows = []
    for how, runs in sorted(groups.items(), key=lambda group: group[0].replace("`", "")):
        if len({(run.dataset, run.hardware, run.epochs, run.commit) for run in runs}) > 1:
            sys.exit(f"the runs of {how} differ in data, hardware, epochs or commit: train all seeds again")
        accuracies = [100 * run.accuracy for run in runs]
        spread = f" ± {statistics.stdev(accuracies):.2f}" if len(runs) > 1 else ""
        minutes = statistics.median(run.seconds for run in runs) / 60
        cells = [how, runs[0].dataset, runs[0].hardware, f"{statistics.mean(accuracies):.2f}%{spread}"]
        rows.append([*cells, str(len(runs)), str(runs[0].epochs), f"{minutes:.1f}"])
    heads = ["trained with", "data", "hardware", "test accuracy", "runs", "epochs", "minutes"]
    return markdown_table.table(heads, rows, text=3)


def pages() -> dict[Path, str]:
    """Return the expected text of docs/results.md."""
    return {DOCS / "results.md": f"{HEAD}\n{table()}\n"}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="of sweeps or runs")
    for folder in parser.parse_args().folders:
        collect(folder)
