"""The grid search: complete, resumable after a kill, and not stopped by a point that fails."""

import csv
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from conftest import CLI, Cli, Here
from test_train import is_picture

OUTPUT = Path("sweeps/digits_cnn")


def write_config(folder: Path, epochs: int, *axes: dict) -> str:
    config = {
        "name": "digits_cnn",
        "seed_everything": 0,
        "model": {"class_path": "DigitsCNN", "init_args": {"optimizer": "sgd", "learning_rate": 0.05}},
        "data": {"class_path": "DigitsDataModule", "init_args": {"batch_size": 100}},
        "trainer": {"max_epochs": epochs},
        "grid": list(axes),
    }
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump(config))
    return str(path)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / OUTPUT / "sweep.csv").open(newline="") as file:
        return list(csv.DictReader(file))


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
    here("sweep", "--config", config, cwd=tmp_path)
    assert [r["seconds"] for r in rows(tmp_path)] == seconds  # nothing was run again


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
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert 3 <= len(finished) < 12
    cli("sweep", "--config", config, cwd=tmp_path)
    assert len(rows(tmp_path)) == 12
    assert {r["status"] for r in rows(tmp_path)} == {"ok"}
    assert set(finished) <= set(completed(database))  # the same runs, not new ones


def completed(database: Path) -> list[tuple]:
    import sqlite3

    with sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30) as connection:
        try:
            query = "SELECT trial_id, datetime_complete FROM trials WHERE state = 'COMPLETE'"
            return connection.execute(query).fetchall()
        except sqlite3.OperationalError:  # not yet made
            return []


def test_a_folder_of_another_sweep_is_not_mixed_up(here: Here, tmp_path: Path):
    axis = {"argument": "model.init_args.learning_rate", "values": [0.1]}
    here("sweep", "--config", write_config(tmp_path, 1, axis), "--workers", "1", cwd=tmp_path)
    done = here("sweep", "--config", write_config(tmp_path, 2, axis), cwd=tmp_path)
    assert done.returncode == 1
    assert "another recipe or grid" in done.stderr


def test_an_argument_that_is_not_there_is_named(here: Here, tmp_path: Path):
    config = write_config(tmp_path, 1, {"argument": "model.init_args.learning_rat", "values": [0.1]})
    done = here("sweep", "--config", config, "--workers", "1", cwd=tmp_path)
    assert done.returncode == 1
    assert "learning_rat" in done.stderr + rows(tmp_path)[0]["error"]
