"""Two processes and one reach the same weights and count the same images."""

import json
from pathlib import Path

import pytest
import torch
from conftest import Cli

RUN = Path("runs/digits_cnn/version_0")


@pytest.fixture(scope="module")
def runs(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The same recipe, with augmentation and without dropout, on one and on two processes."""
    folders = {}
    for devices in (1, 2):
        folders[devices] = tmp_path_factory.mktemp(f"devices{devices}")
        arguments = ["--config", "digits", "--trainer.accelerator", "cpu", "--trainer.devices", str(devices)]
        if devices > 1:
            arguments += ["--trainer.strategy", "ddp"]
        augmentation = ["--data.augmentation.shift", "1", "--data.augmentation.flip", "true"]
        cli("fit", *arguments, "--trainer.max_epochs", "3", *augmentation, cwd=folders[devices], OMP_NUM_THREADS="1")
        cli("test", *arguments, cwd=folders[devices], OMP_NUM_THREADS="1")
    return folders


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


def test_a_batch_that_does_not_divide_is_an_error(cli: Cli, tmp_path: Path):
    done = cli("fit", "--config", "digits", "--data.batch_size", "99", "--trainer.accelerator", "cpu",
               "--trainer.devices", "2", "--trainer.strategy", "ddp", cwd=tmp_path, check=False)  # fmt: skip
    assert done.returncode != 0
    assert "data.batch_size 99 is over all devices and does not divide evenly by 2" in done.stderr
