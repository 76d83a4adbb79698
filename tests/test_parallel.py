"""Test that several processes reach the weights of one, and count the same images."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from helpers import CLI, Cli, Here, free_port, running

pytestmark = pytest.mark.slow  # each process loads torch
RUN = Path("runs/digits_cnn/version_0")
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def runs(cli: Cli, here: Here, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Train one recipe, with augmentation and without dropout, on one and on two processes."""
    one, two = (tmp_path_factory.mktemp(f"devices{n}") for n in (1, 2))
    fit = ["fit", "--config", "digits", "--trainer.max_epochs", "3", "--trainer.accelerator", "cpu",
           "--data.augmentation.shift", "1", "--data.augmentation.flip", "true"]  # fmt: skip
    test = ["test", "--config", str(RUN), "--trainer.accelerator", "cpu"]
    for command in (fit, test):
        done = here(*command, cwd=one)
        assert done.returncode == 0, done.stderr
        cli(*command, "--trainer.devices", "2", "--trainer.strategy", "ddp", cwd=two, OMP_NUM_THREADS="1")
    return {1: one, 2: two}


def test_the_weights_are_the_same(runs: dict[int, Path]):
    assert_same_weights(runs[1], runs[2])


def test_two_processes_write_into_one_run_folder(runs: dict[int, Path]):
    for folder in runs.values():
        assert [p.name for p in (folder / "runs/digits_cnn").iterdir()] == ["version_0"]
        assert (folder / RUN / "config.yaml").is_file()


def test_every_test_image_is_counted_once(runs: dict[int, Path]):
    one, two = (json.loads((runs[n] / RUN / "metrics.json").read_text()) for n in (1, 2))
    assert one["n"] == two["n"] == 360
    assert one["accuracy"] == two["accuracy"]
    assert one["accuracy_per_class"] == two["accuracy_per_class"]
    assert one["loss"] == pytest.approx(two["loss"], rel=1e-4)


def test_freezing_on_several_devices_says_what_it_needs(here: Here, tmp_path: Path):
    """DDP expects a gradient of every parameter; Lightning's error would not say why."""
    fit = [
        "fit", "--model", "TorchvisionClassifier", "--model.architecture", "resnet18", "--model.weights", "null",
        "--model.input_shape", "[1,8,8]", "--model.freeze", "1", "--data", "DigitsDataModule",
        "--trainer.max_steps", "2", "--trainer.accelerator", "cpu", "--trainer.devices", "2",
    ]  # fmt: skip
    done = subprocess.run([*CLI, *fit], cwd=tmp_path, capture_output=True, text=True, env=os.environ | ONE_THREAD)
    assert done.returncode == 1
    assert "model.freeze on several devices needs --trainer.strategy ddp_find_unused_parameters_true" in done.stderr
    assert "Traceback" not in done.stderr


FIT = [
    "fit", "--config", "digits", "--trainer.max_epochs", "3", "--trainer.accelerator", "cpu",
    "--data.augmentation.shift", "1", "--data.augmentation.flip", "true", "--trainer.strategy", "ddp",
]  # fmt: skip


def test_four_processes(runs: dict[int, Path], cli: Cli, tmp_path: Path):
    cli(*FIT, "--trainer.devices", "4", cwd=tmp_path, OMP_NUM_THREADS="1")
    assert_same_weights(runs[1], tmp_path)


def test_two_nodes_of_two_processes_through_torchrun(runs: dict[int, Path], tmp_path: Path):
    port = str(free_port())
    first, second = (
        running(
            sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--node-rank", str(node),
            "--nproc-per-node", "2", "--master-addr", "127.0.0.1", "--master-port", port,
            "-m", "cnnzoo.train", *FIT, "--trainer.devices", "2", "--trainer.num_nodes", "2",
            cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL,
        )
        for node in range(2)
    )  # fmt: skip
    with first as one, second as other:
        assert [node.wait(300) for node in (one, other)] == [0, 0]
    assert [p.name for p in (tmp_path / "runs/digits_cnn").iterdir()] == ["version_0"]
    assert_same_weights(runs[1], tmp_path)


def test_a_killed_rank_ends_the_whole_job_which_can_be_resumed(tmp_path: Path, cli: Cli):
    command = [sys.executable, "-m", "cnnzoo.train", *FIT, "--trainer.max_epochs", "100000", "--trainer.devices", "2"]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    with running(*command, cwd=tmp_path, env=one_thread, stdout=subprocess.DEVNULL) as job:
        wait_for(lambda: (tmp_path / RUN / "checkpoints/last.ckpt").is_file(), 120)
        processes = [psutil.Process(job.pid), *psutil.Process(job.pid).children(recursive=True)]
        workers = [p for p in processes[1:] if "cnnzoo.train" in " ".join(p.cmdline())]
        assert len(workers) == 1
        workers[0].send_signal(signal.SIGKILL)
        assert job.wait(60) != 0
        wait_for(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes), 10)
    last = tmp_path / RUN / "checkpoints/last.ckpt"
    epochs = torch.load(last, weights_only=True)["epoch"] + 3
    resume = ["--trainer.max_epochs", str(epochs), "--trainer.devices", "2", "--ckpt_path", "last"]
    cli(*FIT, *resume, cwd=tmp_path, OMP_NUM_THREADS="1")
    assert [p.name for p in (tmp_path / "runs/digits_cnn").iterdir()] == ["version_0"]
    assert torch.load(last, weights_only=True)["epoch"] == epochs - 1


def wait_for(condition: object, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def assert_same_weights(one: Path, other: Path) -> None:
    first, second = (
        torch.load(f / RUN / "checkpoints/last.ckpt", weights_only=True)["state_dict"] for f in (one, other)
    )
    for key, value in first.items():
        torch.testing.assert_close(second[key], value, rtol=1e-4, atol=1e-5)
