"""Two processes and one reach the same weights and count the same images."""

import json
from pathlib import Path

import pytest
import torch
from conftest import Cli, Here

RUN = Path("runs/digits_cnn/version_0")


@pytest.fixture(scope="module")
def runs(cli: Cli, here: Here, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The same recipe, with augmentation and without dropout, on one and on two processes."""
    one, two = (tmp_path_factory.mktemp(f"devices{n}") for n in (1, 2))
    fit = ["fit", "--config", "digits", "--trainer.max_epochs", "3", "--trainer.accelerator", "cpu",
           "--data.augmentation.shift", "1", "--data.augmentation.flip", "true"]  # fmt: skip
    test = ["test", "--config", "digits", "--trainer.accelerator", "cpu"]
    for command in (fit, test):
        done = here(*command, cwd=one)
        assert done.returncode == 0, done.stderr
        cli(*command, "--trainer.devices", "2", "--trainer.strategy", "ddp", cwd=two, OMP_NUM_THREADS="1")
    return {1: one, 2: two}


def test_the_weights_are_the_same(runs: dict[int, Path]):
    one, two = (torch.load(runs[n] / RUN / "checkpoints/last.ckpt", weights_only=True)["state_dict"] for n in (1, 2))
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-4, atol=1e-5)


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
