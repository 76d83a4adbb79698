"""Test that a run that was killed and resumed equals an unbroken run, bit for bit."""

import csv
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import CLI, Cli, Here

from cnnzoo.commands.runs import epochs_of, read_checkpoint

RUN = Path("runs/resumed/version_0")
# MNIST's network on the digits, for its dropout; a checkpoint every 7 steps, so mostly within an epoch.
ARGUMENTS = [
    "--config", "mnist", "--name", "resumed", "--data", "DigitsDataModule", "--data.batch_size", "64",
    "--model.input_shape", "[1,8,8]", "--model.hidden", "64", "--trainer.max_epochs", "40",
    "--checkpoint_every", "7", "--data.augmentation.shift", "1",
]  # fmt: skip


def weights(folder: Path, which: str) -> dict[str, torch.Tensor]:
    return torch.load(folder / RUN / f"checkpoints/{which}.ckpt", weights_only=True)["state_dict"]


def history(folder: Path) -> list[dict[str, str]]:
    with (folder / RUN / "metrics.csv").open(newline="") as file:
        return sorted(csv.DictReader(file), key=lambda row: (int(row["step"]), row["val_loss"]))


def assert_same(resumed: Path, unbroken: Path) -> None:
    for which in ("last", "best"):
        for key, value in weights(unbroken, which).items():
            assert torch.equal(weights(resumed, which)[key], value), (which, key)
    assert history(resumed) == history(unbroken)
    assert len(history(unbroken)) == 80


@pytest.fixture(scope="module")
def unbroken(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    cli("fit", *ARGUMENTS, cwd=folder)
    return folder


@pytest.mark.slow
def test_killed_at_random_moments_and_resumed(unbroken: Path, cli: Cli, tmp_path: Path):
    rng = np.random.default_rng(0)
    killed = within_an_epoch = 0
    for _ in range(4):
        process = subprocess.Popen(
            [*CLI, "fit", *ARGUMENTS, "--ckpt_path", "last"], cwd=tmp_path, stdout=subprocess.DEVNULL
        )
        last = tmp_path / RUN / "checkpoints/last.ckpt"
        before = last.stat().st_mtime_ns if last.is_file() else 0
        for _ in range(1200):  # until it has come a step further, then a random moment more
            if process.poll() is not None or (last.is_file() and last.stat().st_mtime_ns > before):
                break
            time.sleep(0.05)
        time.sleep(float(rng.uniform(0, 1)))
        process.kill()
        killed += process.wait() != 0
        progress = torch.load(last, weights_only=True)["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]
        within_an_epoch += 0 < progress["completed"] < 20
    assert killed >= 2, "it finished before it could be killed: make it longer"
    assert within_an_epoch >= 1, "every kill fell between two epochs"
    cli("fit", *ARGUMENTS, "--ckpt_path", "last", cwd=tmp_path)
    assert [p.name for p in (tmp_path / "runs/resumed").iterdir()] == ["version_0"]
    assert_same(tmp_path, unbroken)


@pytest.mark.slow
def test_mkl_takes_as_many_threads_in_every_step(cli: Cli, tmp_path: Path):
    said = cli("fit", "--config", "digits", "--trainer.max_epochs", "1", cwd=tmp_path, MKL_VERBOSE="1").stdout
    if "GEMM" not in said:
        pytest.skip("this PyTorch multiplies matrices with something else than MKL")
    assert set(re.findall(r"GEMM.* Dyn:(\d)", said)) == {"0"}


# Ends itself as kill -9 would, right behind the checkpoint of a given step.
KILLED = """
import os, sys
from cnnzoo.commands.checkpoints import AtomicCheckpointIO
from cnnzoo.train import main

save, step = AtomicCheckpointIO.save_checkpoint, int(sys.argv[1])

def save_and_die(self, checkpoint, path, *args, **kwargs):
    save(self, checkpoint, path, *args, **kwargs)
    if checkpoint["global_step"] == step and "last" in str(path):
        os.kill(os.getpid(), 9)

AtomicCheckpointIO.save_checkpoint = save_and_die
sys.argv[:2] = ["cnnzoo"]
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("step", [7, 133, 140])  # 140 is an epoch's last step and a multiple of 7 as well
def test_killed_right_behind_a_checkpoint(unbroken: Path, cli: Cli, tmp_path: Path, step: int):
    done = subprocess.run([sys.executable, "-c", KILLED, str(step), "fit", *ARGUMENTS], cwd=tmp_path)
    assert done.returncode == -9
    cli("fit", *ARGUMENTS, "--ckpt_path", "last", cwd=tmp_path)
    assert_same(tmp_path, unbroken)


INTERVAL = "--trainer.val_check_interval"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "options"),
    [
        (8, [INTERVAL, "7"]),  # the validation follows step 7
        (8, [INTERVAL, "0.35"]),
        (8, [INTERVAL, "1"]),  # one follows each step: that of step 8 is lost
        (8, [INTERVAL, "14", "--trainer.accumulate_grad_batches", "2"]),  # a step has two batches
    ],
)
def test_killed_where_validations_fall_within_an_epoch(cli: Cli, tmp_path: Path, step: int, options: list[str]):
    unbroken, resumed = tmp_path / "unbroken", tmp_path / "resumed"
    for folder in (unbroken, resumed):
        folder.mkdir()
    words = ["fit", *ARGUMENTS, "--trainer.max_epochs", "3", *options]
    cli(*words, cwd=unbroken)
    assert subprocess.run([sys.executable, "-c", KILLED, str(step), *words], cwd=resumed).returncode == -9
    last = read_checkpoint(resumed / RUN / "checkpoints/last.ckpt")
    assert epochs_of(last) == 0
    cli(*words, "--ckpt_path", "last", cwd=resumed)
    for which in ("last", "best"):
        for key, value in weights(unbroken, which).items():
            assert torch.equal(weights(resumed, which)[key], value), (which, key)
    if options != [INTERVAL, "1"]:
        assert history(resumed) == history(unbroken)


@pytest.mark.slow
def test_an_epoch_that_was_stopped_is_not_taken_back(cli: Cli, here: Here, tmp_path: Path):
    assert subprocess.run([sys.executable, "-c", KILLED, "49", "fit", *ARGUMENTS], cwd=tmp_path).returncode == -9
    done = here("fit", *ARGUMENTS, "--trainer.max_epochs", "2", "--ckpt_path", "last", cwd=tmp_path)
    assert done.returncode == 1
    assert "has 3 epochs, --trainer.max_epochs 2 is fewer: give at least 3" in done.stderr
