"""Test training on a GPU, also in bf16 and compiled."""

import json
from pathlib import Path

import pytest
import torch
from helpers import Cli

pytestmark = pytest.mark.gpu
ON_GPU = ["--trainer.accelerator", "gpu", "--trainer.devices", "1"]
SPEEDNET = ["--model", "SpeedNet", "--model.input_shape", "[1,8,8]", "--model.widths", "[16]"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--config", "digits"],
        ["--config", "digits", "--trainer.precision", "bf16-mixed"],
        ["--config", "digits", "--model.compile", "true"],
        ["--data", "DigitsDataModule", *SPEEDNET, "--model.compile", "true", "--trainer.precision", "bf16-mixed"],
    ],
    ids=["float32", "bf16", "compiled", "speednet"],
)
def test_it_learns_the_digits_and_the_checkpoint_is_as_from_the_cpu(cli: Cli, tmp_path: Path, arguments: list[str]):
    cli("fit", *arguments, *ON_GPU, "--trainer.max_epochs", "25", "--name", "run", cwd=tmp_path)
    run = tmp_path / "runs/run/version_0"
    done = cli("test", "--config", str(run), "--ckpt_path", "last", "--trainer.accelerator", "cpu", cwd=tmp_path)
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["accuracy"] > 0.9, done.stdout
    assert "GPU" in metrics["training"]["hardware"]
    keys = torch.load(run / "checkpoints/last.ckpt", weights_only=True, map_location="cpu")["state_dict"]
    assert not [key for key in keys if "_orig_mod" in key]


def test_two_runs_on_one_gpu_see_the_same_batches(cli: Cli, tmp_path: Path):
    """Order and augmentation depend on the seed alone. Kernels may round differently."""
    for name in ("a", "b"):
        words = ["--config", "digits", "--name", name, "--trainer.max_epochs", "3", "--data.augmentation.shift", "1"]
        cli("fit", *words, *ON_GPU, cwd=tmp_path)
    a, b = (
        torch.load(tmp_path / f"runs/{name}/version_0/checkpoints/last.ckpt", weights_only=True, map_location="cpu")
        for name in ("a", "b")
    )
    for key, value in a["state_dict"].items():
        torch.testing.assert_close(value, b["state_dict"][key], atol=1e-3, rtol=1e-2)
