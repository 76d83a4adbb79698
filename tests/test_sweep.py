"""Test the grid search: complete, resumable after a kill, and not stopped by a failing point."""

import csv
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pytest
import yaml
from helpers import CLI, Cli, Here, png, running
from optuna.storages import RDBStorage, fail_stale_trials
from optuna.trial import TrialState
from test_train import is_picture

from cnnzoo.commands import provenance, sweep
from cnnzoo.commands.grid import Axis, make_trainer, run_point
from cnnzoo.commands.repeated import seed_axis
from cnnzoo.commands.sweep import _storage, run_sweep, run_waiting
from cnnzoo.contract.machine import cores

OUTPUT = Path("sweeps/digits_cnn")
RATE: dict[str, Any] = {"argument": "model.init_args.learning_rate", "values": [0.1]}


def write_config(folder: Path, epochs: int, *axes: dict) -> str:
    config = {
        "name": "digits_cnn",
        "seed_everything": 0,
        "model": {"class_path": "DigitsCNN", "init_args": {"optimizer": "sgd", "learning_rate": 0.05}},
        "data": {"class_path": "DigitsDataModule", "init_args": {"batch_size": 100}},
        "trainer": {"max_epochs": epochs},
    } | ({"grid": list(axes)} if axes else {})
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump(config))
    return str(path)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / OUTPUT / "sweep.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_every_point_also_those_that_diverge_or_fail(cli: Cli, here: Here, tmp_path: Path):
    config = write_config(
        tmp_path,
        2,
        {"argument": "model.init_args.learning_rate", "label": "η", "values": [0.01, 0.1, 1e30]},
        {"argument": "model.init_args.kernel_size", "values": [3, 4]},
    )
    done = cli("sweep", "--config", config, "--workers", "2", cwd=tmp_path)
    table = rows(tmp_path)
    assert [(float(r["η"]), int(r["kernel_size"])) for r in table] == [
        (rate, size) for rate in (0.01, 0.1, 1e30) for size in (3, 4)
    ]
    assert [r["status"] for r in table] == ["ok", "failed", "ok", "failed", "diverged", "failed"]
    assert "needs an odd filter" in table[1]["error"]
    best = max((r for r in table if r["status"] == "ok"), key=lambda r: float(r["val_accuracy"]))
    assert f"Chosen on validation: η = {float(best['η']):g}, kernel_size = 3" in done.stdout
    assert f"{float(best['test_accuracy']):.2%}" in done.stdout
    for score in ("train_accuracy", "val_accuracy", "test_accuracy"):
        assert is_picture(tmp_path / OUTPUT / f"{score}.png")

    seconds = [r["seconds"] for r in table]
    again = here("sweep", "--config", config, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert [r["seconds"] for r in rows(tmp_path)] == seconds  # what had come back was not run again


@pytest.mark.slow
def test_killed_and_resumed(cli: Cli, tmp_path: Path):
    config = write_config(
        tmp_path, 20, {"argument": "model.init_args.learning_rate", "values": [0.001 * k for k in range(1, 13)]}
    )
    command = [*CLI, "sweep", "--config", config, "--workers", "2"]
    process = subprocess.Popen(command, cwd=tmp_path, start_new_session=True, stdout=subprocess.DEVNULL)
    database = tmp_path / OUTPUT / "sweep.db"
    finished: list[tuple] = []
    for _ in range(600):
        time.sleep(0.1)
        if database.is_file() and len(finished := completed(database)) >= 3:
            break
    process.kill()
    process.wait()
    for _ in range(100):  # its workers end with it
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.1)
    else:
        os.killpg(process.pid, signal.SIGKILL)
        pytest.fail("a killed sweep's workers went on")
    finished = completed(database)
    assert 3 <= len(finished) < 12
    cli("sweep", "--config", config, cwd=tmp_path)
    assert len(rows(tmp_path)) == 12
    assert {r["status"] for r in rows(tmp_path)} == {"ok"}
    assert set(finished) <= set(completed(database))  # the same runs, not new ones


@pytest.mark.slow
def test_seeds_give_means_and_deviations(here: Here, tmp_path: Path):
    config = write_config(tmp_path, 3, {"argument": "model.init_args.learning_rate", "values": [0.01, 0.1]})
    done = here("sweep", "--config", config, "--seeds", "0,3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = rows(tmp_path)
    assert [(r["learning_rate"], r["seed"]) for r in table] == [(r, s) for r in ("0.01", "0.1") for s in ("0", "3")]
    saved = json.loads((tmp_path / OUTPUT / "seeds.json").read_text())
    assert (saved["dataset"]["name"], saved["epochs"]) == ("digits", 3)
    assert "--seeds 0,3" in saved["command"]
    assert {run["commit"] for point in saved["points"] for run in point["runs"]} == {provenance.commit()}
    words = done.stdout
    for point, pair in zip(saved["points"], (table[:2], table[2:]), strict=True):
        assert [run["test_accuracy"] for run in point["runs"]] == [float(row["test_accuracy"]) for row in pair]
        shares = np.array([float(row["test_accuracy"]) for row in pair])
        assert f"{shares.mean():.2%} ± {100 * shares.std(ddof=1):.2f}" in words
    validated = [np.mean([run["val_accuracy"] for run in point["runs"]]) for point in saved["points"]]
    assert f"Chosen on validation: learning_rate = {(0.01, 0.1)[int(np.argmax(validated))]};" in words

    # Another seed is added; what was trained is kept.
    assert here("sweep", "--config", config, "--seeds", "0,1,3", cwd=tmp_path).returncode == 0
    more = rows(tmp_path)
    assert [r["seed"] for r in more] == ["0", "1", "3"] * 2
    assert [r for r in more if r["seed"] != "1"] == table

    # A seed is that of the weights and of the data, as with fit.
    flags = ["--model.init_args.learning_rate", "0.1", "--seed_everything", "3", "--data.seed", "3"]
    assert here("fit", "--config", write_config(tmp_path, 3), *flags, cwd=tmp_path).returncode == 0
    tested = here("test", "--config", "runs/digits_cnn/version_0", "--ckpt_path", "last", cwd=tmp_path)
    assert tested.returncode == 0, tested.stderr
    metrics = json.loads((tmp_path / "runs/digits_cnn/version_0/metrics.json").read_text())
    assert metrics["accuracy"] == pytest.approx(saved["points"][1]["runs"][1]["test_accuracy"], abs=1e-6)


def test_seeds_must_be_numbers(here: Here, tmp_path: Path):
    config = write_config(tmp_path, 1)
    done = here("sweep", "--config", config, "--seeds", "one,two", cwd=tmp_path)
    assert done.returncode == 1
    assert "--seeds is one,two: give whole numbers below 2³², such as 0,1,2" in done.stderr


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_a_point_that_another_worker_took_over_does_not_stop_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    storage = RDBStorage(f"sqlite:///{tmp_path / 'sweep.db'}", heartbeat_interval=60)
    study = optuna.create_study(storage=storage, study_name="taken", direction="maximize")
    axis = Axis("model.init_args.learning_rate", [0.1, 0.2, 0.3], "rate")
    for shown in axis.choices:
        study.enqueue_trial({}, user_attrs={"point": {"rate": shown}})
    seen = []

    def run_point(config: dict, arguments: dict[str, float]) -> dict[str, float]:
        seen.append(arguments[axis.argument])
        if len(seen) == 2:  # as Optuna does for another worker, when this one was too slow to show that it lives
            optuna.load_study(study_name="taken", storage=storage).tell(1, state=TrialState.FAIL)
        return {"val_accuracy": 0.5, "train_loss": 1.0}

    monkeypatch.setattr("cnnzoo.commands.sweep.run_point", run_point)
    run_waiting(study, storage, {}, [axis])
    assert seen == [0.1, 0.2, 0.3]
    ended = [trial.state for trial in study.trials if "point" in trial.user_attrs]
    assert ended == [TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE]


def completed(database: Path) -> list[tuple]:
    import sqlite3

    with sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30) as connection:
        try:
            query = "SELECT trial_id, datetime_complete FROM trials WHERE state = 'COMPLETE'"
            return connection.execute(query).fetchall()
        except sqlite3.OperationalError:  # not yet made
            return []


@pytest.mark.slow
def test_a_folder_of_another_sweep_is_not_mixed_up(here: Here, tmp_path: Path):
    axis = {"argument": "model.init_args.learning_rate", "values": [0.1]}
    here("sweep", "--config", write_config(tmp_path, 1, axis), "--workers", "1", cwd=tmp_path)
    done = here("sweep", "--config", write_config(tmp_path, 2, axis), cwd=tmp_path)
    assert done.returncode == 1
    assert "another recipe or grid (config.trainer.max_epochs 1, not 2)" in done.stderr


def test_an_argument_that_is_not_there_is_named(here: Here, tmp_path: Path):
    config = write_config(tmp_path, 1, {"argument": "model.init_args.learning_rat", "values": [0.1]})
    done = here("sweep", "--config", config, "--workers", "1", cwd=tmp_path)
    assert done.returncode == 1
    assert "the recipe has no argument model.init_args.learning_rat:" in done.stderr
    assert not (tmp_path / "sweeps").exists()


@pytest.mark.slow
def test_axes_of_words_and_lists(here: Here, tmp_path: Path):
    config = write_config(
        tmp_path,
        1,
        {"argument": "model.optimizer", "values": ["sgd", "adam"]},
        {"argument": "model.init_args.std", "values": [[1.0], [0.0625]]},
    )
    done = here("sweep", "--config", config, "--workers", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    points = [(row["optimizer"], row["std"], row["status"]) for row in rows(tmp_path)]
    assert points == [(how, std, "ok") for how in ("sgd", "adam") for std in ("[1.0]", "[0.0625]")]
    assert len({row["train_loss"] for row in rows(tmp_path)}) == 4  # each was another network
    assert re.search(r"Chosen on validation: optimizer = (sgd|adam), std = \[", done.stdout)
    assert is_picture(tmp_path / OUTPUT / "val_accuracy.png")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data": {"class_path": "DigitsDataModule", "init_args": {"val_fraction": 0}}}, "data.val_fraction is 0"),
        ({"grid": [RATE, RATE]}, "two axes of the grid are called learning_rate: give them labels"),
        ({"grid": [{**RATE, "values": [0.1, 0.1]}]}, "a value occurs twice on the axis learning_rate"),
        ({"grid": [{"argument": "data.init_args.val_fraction", "values": [0.1, 0]}]}, "data.val_fraction is 0"),
        ({"grid": [{**RATE, "values": []}]}, "the axis learning_rate has no values"),
        (
            {"grid": [{"argument": "model.optimizer", "values": ["sgd"], "factor": 2}]},
            "the axis optimizer has a factor, and values that are no numbers",
        ),
        ({"grid": []}, "sweep needs --seeds, such as 0,1,2, or a grid"),
        ({"grid": [{"argument": "model.num_classes", "values": [9, 10]}]}, "the data decides num_classes"),
        ({"grid": [{"argument": "data.seed", "values": [0, 1]}]}, "the axis data.seed of the grid is called seed"),
        ({"grid": [{**RATE, "label": "seconds"}]}, "an axis of the grid is called seconds, as a column of results"),
        ({"trainer": {"fast_dev_run": 3}}, "a sweep takes no trainer.fast_dev_run"),
        (
            {"trainer": {"callbacks": {"class_path": "EarlyStopping", "init_args": {"monitor": "val_loss"}}}},
            "a sweep takes no trainer.callbacks",
        ),
    ],
)
def test_a_grid_that_cannot_be_run(here: Here, tmp_path: Path, change: dict, words: str):
    config = tmp_path / "sweep.yaml"
    write_config(tmp_path, 1, RATE)
    config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | change))
    done = here("sweep", "--config", str(config), cwd=tmp_path)
    assert done.returncode == 1
    assert words in done.stderr
    assert not (tmp_path / "sweeps").exists()


def test_a_point_trains_on_one_device():
    """Lightning would start a process for each further one, which would run the whole sweep again."""
    trainer = make_trainer({"accelerator": "cpu", "devices": 2, "num_nodes": 2, "strategy": "ddp"})
    assert (trainer.world_size, trainer.num_nodes) == (1, 1)


@pytest.mark.parametrize("storage", ["sweep.db", "nothing://host/name", "sqlite:////nowhere/sweep.db"])
@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_a_storage_that_cannot_be_used(here: Here, tmp_path: Path, storage: str):
    done = here("sweep", "--config", write_config(tmp_path, 1, RATE), "--storage", storage, cwd=tmp_path)
    assert done.returncode == 1
    assert "--storage cannot be used: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_a_damaged_sweep_is_named(here: Here, tmp_path: Path):
    (tmp_path / OUTPUT).mkdir(parents=True)
    (tmp_path / OUTPUT / "sweep.db").write_bytes(b"no database" * 999)
    done = here("sweep", "--config", write_config(tmp_path, 1, RATE), cwd=tmp_path)
    assert done.returncode == 1
    assert f"{OUTPUT}/sweep.db cannot be used: " in done.stderr


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
@pytest.mark.timeout(60)
def test_a_renamed_sweep_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    trained = work_with(monkeypatch, InThread)
    config = yaml.safe_load(Path(write_config(tmp_path, 1)).read_text())
    run_sweep(config, [Axis(**RATE)], tmp_path / "before", None, workers=1)
    (tmp_path / "before").rename(tmp_path / "after")
    run_sweep(config, [Axis(**RATE)], tmp_path / "after", None, workers=1)
    assert len(trained) == 1


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
@pytest.mark.timeout(60)
def test_an_axis_may_have_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    work_with(monkeypatch, InThread)
    config = yaml.safe_load(Path(write_config(tmp_path, 1)).read_text())
    table = run_sweep(config, [Axis(**RATE, label="begun")], tmp_path / "named", None, workers=1)
    with table.open(newline="") as file:
        assert [row["begun"] for row in csv.DictReader(file)] == ["0.1"]


def test_a_point_without_a_seed(tmp_path: Path):
    settings = yaml.safe_load(Path(write_config(tmp_path, 1)).read_text()) | {"seed_everything": False}
    assert 0 <= run_point(settings, {})["val_accuracy"] <= 1


def test_the_network_follows_the_size_of_the_images(tmp_path: Path):
    for part, label in itertools.product(("train", "test"), ("dark", "light")):
        (tmp_path / part / label).mkdir(parents=True)
        for i in range(10):
            pixels = np.full((8, 8), i + 200 * (label == "light"), np.uint8)
            (tmp_path / part / label / f"{i}.png").write_bytes(png(pixels))
    settings = yaml.safe_load(Path(write_config(tmp_path, 1)).read_text())
    arguments = {"data_dir": str(tmp_path), "size": [8, 8], "mode": "L", "batch_size": 4}
    settings["data"] = {"class_path": "ImageFolderDataModule", "init_args": arguments}
    settings["model"]["init_args"] |= {"num_classes": 2, "input_shape": [1, 8, 8]}
    assert run_point(settings, {"data.size": [10, 12]})["val_accuracy"] >= 0


@pytest.mark.slow
def test_nothing_is_started_while_another_machine_runs_the_last_point(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Its point is waited for: each worker that finds none would import torch for nothing."""
    started: list[int] = []

    class Elsewhere:
        """A worker that another machine needs more than a second for."""

        exitcode = 0

        def __init__(self, target: Any, args: tuple, daemon: bool) -> None:
            config, grid, url, name, _ = args
            storage = RDBStorage(url)
            study = optuna.load_study(study_name=name, storage=storage)
            self.thread = threading.Thread(target=run_waiting, args=(study, storage, config, grid))

        def start(self) -> None:
            started.append(1)
            self.thread.start()

        def is_alive(self) -> bool:
            return False

        def join(self) -> None:
            self.thread.join()

    def slow_point(config: dict, arguments: dict) -> dict[str, float]:
        time.sleep(1.2)
        return {f"{split}_accuracy": 0.5 for split in ("train", "val", "test")} | {"train_loss": 1.0}

    monkeypatch.setattr("cnnzoo.commands.sweep.run_point", slow_point)
    monkeypatch.setattr(
        "cnnzoo.commands.sweep.multiprocessing.get_context", lambda _: SimpleNamespace(Process=Elsewhere)
    )
    done = here("sweep", "--config", write_config(tmp_path, 1, RATE), "--workers", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(started) == 1


class InThread:
    """A worker process of a sweep, as a thread."""

    exitcode = 0

    def __init__(self, target: Any, args: tuple, daemon: bool) -> None:
        self.config, self.grid, url, name, _ = args
        self.storage = _storage(url)
        self.study = optuna.load_study(study_name=name, storage=self.storage)
        self.thread = threading.Thread(target=run_waiting, args=(self.study, self.storage, self.config, self.grid))

    def start(self) -> None:
        self.thread.start()

    def is_alive(self) -> bool:
        return self.thread.is_alive()

    def join(self) -> None:
        self.thread.join()


def work_with(monkeypatch: pytest.MonkeyPatch, worker: type) -> list[dict]:
    """Let a sweep in this process work with a kind of workers; return the list of the points that they train."""
    trained = []

    def run_point(config: dict, arguments: dict) -> dict[str, float]:
        trained.append(arguments)
        return {f"{split}_accuracy": 0.5 for split in ("train", "val", "test")} | {"train_loss": 1.0}

    monkeypatch.setattr("cnnzoo.commands.sweep.run_point", run_point)
    monkeypatch.setattr("cnnzoo.commands.sweep.multiprocessing.get_context", lambda _: SimpleNamespace(Process=worker))
    return trained


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
@pytest.mark.timeout(60)
def test_large_seeds_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    trained = work_with(monkeypatch, InThread)
    config = yaml.safe_load(Path(write_config(tmp_path, 1)).read_text())
    run_sweep(config, [seed_axis("20240101,20240102")], tmp_path / OUTPUT, None, workers=1)
    assert trained == [{"seed_everything": 20240101}, {"seed_everything": 20240102}]
    assert [row["seed"] for row in rows(tmp_path)] == ["20240101", "20240102"]


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_a_point_that_two_machines_enqueued_is_trained_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    trained = work_with(monkeypatch, InThread)
    config = yaml.safe_load(Path(write_config(tmp_path, 1)).read_text())
    ask = optuna.Study.ask

    def enqueue_again(study: optuna.Study) -> Any:
        """As a second machine that saw the study empty, too."""
        monkeypatch.setattr(optuna.Study, "ask", ask)
        for trial in study.trials:
            study.enqueue_trial({}, user_attrs=trial.user_attrs)
        return study.ask()

    monkeypatch.setattr(optuna.Study, "ask", enqueue_again)
    run_sweep(config, [seed_axis("0,1")], tmp_path / OUTPUT, None, workers=1)
    assert trained == [{"seed_everything": 0}, {"seed_everything": 1}]
    assert [row["status"] for row in rows(tmp_path)] == ["ok", "ok"]


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_sweep_that_was_stopped_often_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A stop ends the process of the point that runs, and is no fault of the point."""

    class Stopped(InThread):
        def start(self) -> None:
            fail_stale_trials(self.study)
            study_id = self.storage.get_study_id_from_name(self.study.study_name)
            number = self.study.ask().number
            self.storage.record_heartbeat(self.storage.get_trial_id_from_study_id_trial_number(study_id, number))
            raise KeyboardInterrupt

    monkeypatch.setattr("cnnzoo.commands.sweep.HEARTBEAT", 1)
    config = yaml.safe_load(Path(write_config(tmp_path, 1)).read_text())
    for worker in (Stopped, Stopped, Stopped, InThread):
        trained = work_with(monkeypatch, worker)
        with suppress(KeyboardInterrupt):
            run_sweep(config, [seed_axis("0")], tmp_path / OUTPUT, None, workers=1)
        time.sleep(0 if worker is InThread else 3)
    assert trained == [{"seed_everything": 0}]
    assert [row["status"] for row in rows(tmp_path)] == ["ok"]


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
@pytest.mark.timeout(60)
def test_a_point_that_failed_before_it_was_enqueued_again_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The process died in between."""

    class Died(InThread):
        def start(self) -> None:
            self.study.tell(self.study.ask().number, state=TrialState.FAIL)
            raise KeyboardInterrupt

    config = yaml.safe_load(Path(write_config(tmp_path, 1)).read_text())
    for worker in (Died, InThread):
        trained = work_with(monkeypatch, worker)
        with suppress(KeyboardInterrupt):
            run_sweep(config, [seed_axis("0")], tmp_path / OUTPUT, None, workers=1)
    assert trained == [{"seed_everything": 0}]
    assert [row["status"] for row in rows(tmp_path)] == ["ok"]


def test_no_workers(here: Here, tmp_path: Path):
    done = here("sweep", "--config", write_config(tmp_path, 1, RATE), "--workers", "0", cwd=tmp_path)
    assert "--workers is 0: give at least 1" in done.stderr


@pytest.mark.slow
def test_a_failed_point_is_run_again_when_the_sweep_is(here: Here, tmp_path: Path):
    for folder in ("here", "there"):
        for part, label in itertools.product(("train", "test"), ("dark", "light")):
            (tmp_path / folder / part / label).mkdir(parents=True)
            for i in range(10):
                pixels = np.full((8, 8), i + 200 * (label == "light"), np.uint8)
                (tmp_path / folder / part / label / f"{i}.png").write_bytes(png(pixels))
    write_config(tmp_path, 1, {"argument": "data.init_args.data_dir", "values": ["here", "there"]})
    config = yaml.safe_load((tmp_path / "sweep.yaml").read_text())
    arguments = {"data_dir": "here", "size": [8, 8], "mode": "L", "batch_size": 4}
    config["data"] = {"class_path": "ImageFolderDataModule", "init_args": arguments}
    config["model"]["init_args"]["num_classes"] = 2
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "there").rename(tmp_path / "elsewhere")
    for statuses in (["ok", "failed"], ["ok", "ok"]):
        done = here("sweep", "--config", "sweep.yaml", "--workers", "1", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert [row["status"] for row in rows(tmp_path)] == statuses
        if (tmp_path / "elsewhere").exists():
            seconds = rows(tmp_path)[0]["seconds"]
            (tmp_path / "elsewhere").rename(tmp_path / "there")
    assert rows(tmp_path)[0]["seconds"] == seconds  # the finished one was not


# Its process dies on one of the points, as for want of memory.
DYING = """
import os, signal
from cnnzoo.commands import sweep
from cnnzoo.train import main

run_point = sweep.run_point

def die(config, arguments):
    if arguments["model.init_args.learning_rate"] == 0.2:
        os.kill(os.getpid(), signal.SIGKILL)
    return run_point(config, arguments)

sweep.HEARTBEAT, sweep.run_point = 1, die
if __name__ == "__main__":
    main()
"""


@pytest.mark.slow
def test_a_point_that_kills_its_process_is_given_up(tmp_path: Path):
    config = write_config(tmp_path, 1, {**RATE, "values": [0.1, 0.2, 0.3]})
    (tmp_path / "dying.py").write_text(DYING)
    command = [sys.executable, "dying.py", "sweep", "--config", config, "--workers", "1"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=500)
    assert [row["status"] for row in rows(tmp_path)] == ["ok", "failed", "ok"]
    assert rows(tmp_path)[1]["error"] == "its process died 3 times"


# Its process dies when it has just taken a point, before the storage has heard of it.
LOST = """
import os, signal
from datetime import timedelta
from pathlib import Path
from cnnzoo.commands import sweep
from cnnzoo.train import main

def die(self, trial_id, once=Path("died")):
    if not once.exists():
        once.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    beat(self, trial_id)

sweep.HEARTBEAT, sweep.LOST_AFTER = 1, timedelta(seconds=3)
beat, sweep.RDBStorage.record_heartbeat = sweep.RDBStorage.record_heartbeat, die
if __name__ == "__main__":
    main()
"""


@pytest.mark.slow
def test_a_point_that_was_taken_and_lost_is_run_again(tmp_path: Path):
    config = write_config(tmp_path, 1, {**RATE, "values": [0.1, 0.2]})
    (tmp_path / "lost.py").write_text(LOST)
    command = [sys.executable, "lost.py", "sweep", "--config", config, "--workers", "1"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=300)
    assert (tmp_path / "died").exists()
    assert [row["status"] for row in rows(tmp_path)] == ["ok", "ok"]


@pytest.mark.slow
def test_two_machines_share_a_grid(cli: Cli, tmp_path: Path):
    """Two processes share nothing but the URL of the storage."""
    config = write_config(tmp_path, 20, {**RATE, "values": [0.001 * k for k in range(1, 9)]})
    database = tmp_path / "shared.db"
    command = [*CLI, "sweep", "--config", config, "--workers", "1", "--storage", f"sqlite:///{database}", "--output"]
    with running(*command, "a/grid", cwd=tmp_path) as first:
        for _ in range(600):
            time.sleep(0.1)
            if database.is_file() and completed(database):
                break
        with running(*command, "b/grid", cwd=tmp_path) as second:
            assert [process.wait(300) for process in (first, second)] == [0, 0]
    tables = [(tmp_path / place / "grid/sweep.csv").read_text() for place in "ab"]
    assert tables[0] == tables[1]
    assert tables[0].count(",ok,") == len(completed(database)) == 8  # each once


def test_as_many_trainings_at_once_as_gpus_each_on_its_own(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert sweep.default_workers({"accelerator": "auto"}) == 2
    assert sweep.default_workers({"accelerator": "cpu"}) == cores()
    assert sweep.gpus({"accelerator": "gpu"}) == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert sweep.gpus({}) == ["3", "5"]
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert sweep.default_workers({}) == cores()
