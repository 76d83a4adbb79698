"""Measure how long two cores train to an accuracy, for docs/leaderboard.md.

    python benchmarks/leaderboard.py mnist-99.5 --change "half the epochs" -- \\
        --config mnist_speednet --trainer.max_epochs 12

Trains the recipe behind `--` with several seeds on all training images, and tests each network once, at the end. The
standing record is trained again, in turns with it. The entry becomes the record if it reaches the accuracy and is
faster, both with p < 0.01. Otherwise it is kept among what was tried. If this is stopped, the same command at the same
commit goes on after the last finished epoch. Writes benchmarks/leaderboard.json.

Choose a recipe on held-out training images first, with --data.val_fraction 0.1. Nothing else may run meanwhile.
"""

import datetime
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from common import options, save
from scipy.stats import mannwhitneyu, ttest_1samp

from cnnzoo.commands.provenance import commit
from cnnzoo.contract.card import dataset_title
from cnnzoo.contract.files import atomic_write

TARGETS = {"mnist-99.5": 0.995, "cifar10-90": 0.9, "cifar10-92": 0.92, "cifar10-93": 0.93}
CORES = 2
P = 0.01
UNFINISHED = Path("build/leaderboard")  # comparisons, with a file for each finished training

Entry = dict[str, Any]
Run = dict[str, Any]


def train(command: str, seed: int, folder: Path) -> Run:
    """Train and test one network, and return its seed, accuracy, minutes, data and commit.

    Args:
        folder: holds the run. A training that was stopped goes on after its last epoch.
    """
    run = folder / "entry/version_0"
    if not (run / "checkpoints/last.ckpt").is_file():  # a new training, or one that was stopped in its first epoch
        shutil.rmtree(folder, ignore_errors=True)
    seeds = ["--seed_everything", str(seed), "--data.seed", str(seed), "--data.val_fraction", "0"]
    where = ["--trainer.accelerator", "cpu", "--name", "entry", "--runs", str(folder), "--ckpt_path", "last"]
    _cnnzoo("fit", *shlex.split(command), *seeds, *where)
    _cnnzoo("test", "--config", str(run), "--ckpt_path", "last")
    found = json.loads((run / "metrics.json").read_text())
    training = found["training"]
    return {"seed": seed, "accuracy": found["accuracy"], "minutes": training["seconds"] / 60,
            "data": dataset_title(found["dataset"]), "commit": training["commit"],
            "hardware": training["hardware"]}  # fmt: skip


def finished_run(path: Path, command: str, seed: int) -> Run:
    """Return the run that an earlier call finished and left at `path`, or train it and leave it there."""
    if path.is_file():
        found: Run = json.loads(path.read_text())
        return found
    folder = path.with_suffix("")
    run = train(command, seed, folder)
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(run))
    shutil.rmtree(folder)
    return run


def _cnnzoo(*words: str) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": str(CORES)}
    subprocess.run([sys.executable, "-m", "cnnzoo", *words], check=True, env=environment, stdout=subprocess.DEVNULL)


def recipe(command: str) -> dict[str, Any]:
    """Return all settings of a command, with those of its files, which may be changed meanwhile."""
    words = [sys.executable, "-m", "cnnzoo", "fit", *shlex.split(command), "--print_config"]
    settings: dict[str, Any] = yaml.safe_load(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    return settings


def learns_from_more(settings: dict[str, Any]) -> bool:
    """Return whether a recipe learns from another network's weights or answers."""
    arguments = settings["model"]["init_args"]
    return any((settings.get("pretrained"), arguments.get("teacher"), arguments.get("weights")))


def verdict(runs: list[Run], target: float, record: list[Run] | None) -> str:
    """Return why the runs are no record, or "" if they are one.

    Args:
        record: the standing record's runs beside them.
    """
    if not ttest_1samp([run["accuracy"] for run in runs], target, alternative="greater").pvalue < P:
        return f"not more than {target:.1%} with p < {P}"
    if record:
        mine, theirs = ([run["minutes"] for run in side] for side in (runs, record))
        if not mannwhitneyu(mine, theirs, alternative="less").pvalue < P:
            return f"not faster with p < {P}"
    return ""


def _board(path: Path) -> dict[str, dict[str, list[Entry]]]:
    """Return the entries of each target: records and tried."""
    return json.loads(path.read_text()) if path.is_file() else {}


def main() -> None:
    """Train, decide and save."""
    parser = options(__doc__, __file__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--change", required=True, help="what is new, in a few words")
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds")
    parser.add_argument("command", nargs="+", help="options for cnnzoo fit, behind --")
    args = parser.parse_args()
    if args.seeds < 5:
        parser.error("--seeds: give at least 5, since fewer cannot be faster with p < 0.01")
    if len(os.sched_getaffinity(0)) != CORES:
        sys.exit(f"the leaderboard is for {CORES} cores: start this with taskset -c 0,1")
    measured = commit() or "-dirty"
    if measured.endswith("-dirty"):
        sys.exit("commit the code first: an entry names the commit that was measured")
    sides = {"new": shlex.join(args.command)}
    if learns_from_more(recipe(sides["new"])):
        parser.error("an entry learns from the training images alone: leave out pretrained weights and a teacher")
    if records := _board(args.output).get(args.target, {}).get("records"):
        sides["record"] = records[-1]["command"]
    runs: dict[str, list[Run]] = {name: [] for name in sides}
    what = json.dumps([measured, args.target, sides, *map(recipe, sides.values())])
    comparison = UNFINISHED / hashlib.sha256(what.encode()).hexdigest()[:16]
    comparison.mkdir(parents=True, exist_ok=True)
    for seed in range(args.seeds):  # in turns, so that a slow phase of the machine meets both
        for name, command in sides.items():
            run = finished_run(comparison / f"{name}{seed}.json", command, seed)
            if run["commit"] != measured:
                sys.exit(f"the code was changed from {measured} to {run['commit']}: an entry is of one commit")
            if not run["data"].lower().replace("-", "").startswith(args.target.split("-")[0]):
                sys.exit(f"{args.target} is not for {run['data']}: choose another target or recipe")
            print(f"seed {seed}, {name}: {run['accuracy']:.2%} in {run['minutes']:.1f} minutes", flush=True)
            runs[name].append(run)
    why = verdict(runs["new"], TARGETS[args.target], runs.get("record"))
    entry = {"date": f"{datetime.date.today()}", "change": args.change, "command": sides["new"], "runs": runs["new"],
             "beside": runs.get("record", []), "why": why}  # fmt: skip
    board = _board(args.output)  # again: the trainings took hours
    board.setdefault(args.target, {"records": [], "tried": []})["tried" if why else "records"].append(entry)
    save(args.output, board)
    shutil.rmtree(comparison)
    print(f"No record: {why}" if why else "A new record")


if __name__ == "__main__":
    main()
