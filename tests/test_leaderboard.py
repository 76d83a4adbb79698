"""Test what makes a training a record of the leaderboard."""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import leaderboard
import pytest
from helpers import running
from leaderboard import Run, learns_from_more, recipe, train, verdict

SPREAD = (-0.002, -0.001, 0.0, 0.001, 0.002)


def runs(accuracy: float, minutes: float, spread: Sequence[float] = SPREAD) -> list[Run]:
    """Return five runs around an accuracy, whose minutes differ by hundredths."""
    return [{"accuracy": accuracy + one, "minutes": minutes + one} for one in spread]


@pytest.mark.parametrize(
    ("accuracy", "minutes", "record", "why"),
    [
        (0.925, 60, None, ""),
        (0.921, 60, None, "not more than 92.0%"),  # the mean is above it, and may be so by chance: p = 0.12
        (0.919, 60, None, "not more than 92.0%"),
        (0.925, 60, 61, ""),
        (0.925, 61, 60, "not faster"),
        (0.925, 60, 60, "not faster"),
    ],
)
def test_a_record_is_accurate_and_faster(accuracy: float, minutes: float, record: float | None, why: str):
    found = verdict(runs(accuracy, minutes), 0.92, runs(0.93, record) if record else None)
    assert found.startswith(why)
    assert bool(found) == bool(why)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "more"),
    [
        ("--config cifar10_speednet", False),
        ("--config mnist_tiny", True),  # it has a teacher
        ("--config cifar10_speednet --pretrained cifar10_speednet", True),
        ("--config photos", True),  # weights of ImageNet
    ],
)
def test_an_entry_that_learns_from_more_is_refused(command: str, more: bool):
    assert learns_from_more(recipe(command)) == more


@pytest.mark.slow
def test_a_stopped_training_goes_on_after_its_last_epoch(tmp_path: Path):
    command = "--config digits --trainer.max_epochs 40"
    code = f"import pathlib, leaderboard; leaderboard.train({command!r}, 0, pathlib.Path({str(tmp_path / 'run')!r}))"
    run = tmp_path / "run/entry/version_0"
    environment = {**os.environ, "PYTHONPATH": str(Path(leaderboard.__file__).parent)}
    with running(sys.executable, "-c", code, env=environment) as process:
        while not (run / "checkpoints/last.ckpt").is_file():
            assert process.poll() is None
            time.sleep(0.01)
    (run / "here").touch()
    assert len((run / "metrics.csv").read_text().splitlines()) < 2 * 40
    found = train(command, 0, tmp_path / "run")
    assert (run / "here").exists()
    assert not run.with_name("version_1").exists()
    assert len((run / "metrics.csv").read_text().splitlines()) >= 40
    assert found["accuracy"] > 0.9
