"""Test what helps to look for mistakes: the recipes debug and overfit, and loggers beside the run folder's."""

import csv
import shutil
from pathlib import Path

import pytest
import yaml
from helpers import Cli, Here

DIGITS = ["--config", "digits", "--trainer.max_epochs", "2"]


def test_debug_runs_a_few_batches_and_writes_nothing(here: Here, tmp_path: Path):
    done = here("fit", "--config", "digits", "--config", "debug", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_debug_leaves_the_report_of_a_run_alone(trained: Path, here: Here, tmp_path: Path):
    shutil.copytree(trained / "runs", tmp_path / "runs")
    (tmp_path / "runs/digits_cnn/version_0/metrics.json").write_text("{}")
    before = contents(tmp_path)
    done = here("test", "--config", "digits", "--config", "debug", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path) == before


def test_overfit_learns_64_images_by_heart(here: Here, tmp_path: Path):
    done = here("fit", "--config", "digits", "--config", "overfit", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "All 64 images are classified correctly after" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_overfit_and_debug_together(here: Here, tmp_path: Path):
    done = here("fit", "--config", "digits", "--config", "overfit", "--config", "debug", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "correct" not in done.stdout


def test_overfit_says_that_something_is_wrong(here: Here, tmp_path: Path):
    slow = ["--model.learning_rate", "1e-9", "--trainer.max_epochs", "10"]
    done = here("fit", "--config", "digits", "--config", "overfit", *slow, cwd=tmp_path)
    assert done.returncode == 1
    assert "of 64 training images are correct after 10 epochs; expected all" in done.stderr


def test_overfit_counts_at_the_end_whenever_that_is(here: Here, tmp_path: Path):
    slow = ["--model.learning_rate", "1e-9", "--trainer.max_steps", "3"]
    done = here("fit", "--config", "digits", "--config", "overfit", *slow, cwd=tmp_path)
    assert done.returncode == 1
    assert "of 64 training images are correct after " in done.stderr
    assert "error: 0 of 64" not in done.stderr


@pytest.mark.slow
def test_lightnings_learning_rate_finder_as_documented(here: Here, tmp_path: Path):
    page = (Path(__file__).parent.parent / "docs/training.md").read_text()
    (block,) = (part for part in page.split("```yaml\n")[1:] if "LearningRateFinder" in part)
    recipe = tmp_path / "finder.yaml"
    recipe.write_text(block.split("```")[0])
    done = here("fit", *DIGITS, "--config", str(recipe), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Finding best initial lr" in done.stderr
    run = tmp_path / "runs/digits_cnn/version_0"
    assert (run / "checkpoints/last.ckpt").is_file()
    more = ["--trainer.max_epochs", "3", "--ckpt_path", "last"]
    done = here("fit", *DIGITS, "--config", str(recipe), *more, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with (run / "metrics.csv").open(newline="") as file:
        epochs = [int(row["epoch"]) for row in csv.DictReader(file) if row["train_loss"]]
    assert epochs == [0, 1, 2]


LOGGERS = {
    "TensorBoardLogger": ({"save_dir": "boards"}, "boards/*/version_0/events.out.tfevents.*"),
    "WandbLogger": ({"project": "digits", "offline": True}, "wandb/offline-run-*/run-*.wandb"),
    "MLFlowLogger": ({"save_dir": "mlruns"}, "mlruns/*/*/metrics/val_accuracy"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LOGGERS)
def test_a_logger_of_three_lines_logs_beside_the_run_folder(name: str, cli: Cli, tmp_path: Path):
    if name == "WandbLogger":
        pytest.importorskip("wandb")
    options, written = LOGGERS[name]
    recipe = tmp_path / "logger.yaml"
    recipe.write_text(yaml.safe_dump({"trainer": {"logger": {"class_path": name, "init_args": options}}}))
    cli("fit", *DIGITS, "--config", str(recipe), cwd=tmp_path, MLFLOW_ALLOW_FILE_STORE="true")
    run = tmp_path / "runs/digits_cnn/version_0"
    assert (run / "metrics.csv").is_file()
    assert (run / "checkpoints/last.ckpt").is_file()
    (found,) = tmp_path.glob(written)
    content = found.read_bytes()
    if name == "MLFlowLogger":
        with (run / "metrics.csv").open(newline="") as file:
            scores = [float(row["val_accuracy"]) for row in csv.DictReader(file) if row["val_accuracy"]]
        assert [float(line.split()[1]) for line in content.splitlines()] == pytest.approx(scores)
    else:
        assert b"val_accuracy" in content

    # The logger is no setting of the training: the run is found without it.
    cli("test", *DIGITS, cwd=tmp_path)
