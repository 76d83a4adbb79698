"""Test the commands around training: fit, test, export, predict, preview, summary."""

import csv
import json
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import yaml
from helpers import CLI, Cli, Finished, Here, done, in_process, png, quiet, refused, running, serve
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.plugins.io import TorchCheckpointIO
from PIL import Image

from cnnzoo.commands import plots, provenance, runs
from cnnzoo.commands.build import build
from cnnzoo.commands.checkpoints import BEST, AtomicCheckpointIO, Best, with_atomic_checkpoints
from cnnzoo.commands.run_folder import RunFolder
from cnnzoo.commands.runs import check_checkpoint
from cnnzoo.contract.model_file import read_card
from cnnzoo.models import create_model, list_models

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))
RUN = Path("runs/digits_cnn/version_0")


@pytest.fixture(scope="module")
def tested(trained: Path) -> Path:
    """Return that folder after `cnnzoo test`."""
    done("test", "--config", "digits", cwd=trained)
    return trained


def is_picture(path: Path) -> bool:
    with Image.open(path) as image:
        image.load()
        low, high = image.convert("L").getextrema()
        return image.format == "PNG" and min(image.size) > 300 and low != high


def test_a_run_folder_holds_what_the_readme_says(trained: Path):
    run = trained / RUN
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["model"]["class_path"].endswith("DigitsCNN")
    assert config["trainer"]["max_epochs"] == 8
    assert config["checkpoint"]["monitor"] == "val_accuracy"
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sum(bool(row["val_accuracy"]) for row in rows) == sum(bool(row["train_loss"]) for row in rows) == 8
    assert list(run.glob("events.out.tfevents.*"))
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]


def test_best_is_the_checkpoint_with_the_highest_validation_accuracy(trained: Path):
    with (trained / RUN / "metrics.csv").open() as file:
        accuracies = [float(row["val_accuracy"]) for row in csv.DictReader(file) if row["val_accuracy"]]
    best = torch.load(trained / RUN / "checkpoints/best.ckpt", weights_only=True)
    last = torch.load(trained / RUN / "checkpoints/last.ckpt", weights_only=True)
    assert best["epoch"] == max(epoch for epoch, accuracy in enumerate(accuracies) if accuracy == max(accuracies))
    assert last["epoch"] == 7


@pytest.mark.slow
def test_of_equally_good_checkpoints_the_last_is_kept(here: Here, tmp_path: Path):
    done = here("fit", "--config", "digits", "--trainer.max_epochs", "3", "--model.learning_rate", "0", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert torch.load(tmp_path / RUN / "checkpoints/best.ckpt", weights_only=True)["epoch"] == 2


def test_test_writes_metrics_and_pictures(tested: Path, digits):
    metrics = json.loads((tested / RUN / "metrics.json").read_text())
    assert metrics["n"] == 360
    assert metrics["accuracy"] > 0.85
    assert round(
        sum(
            share * n
            for share, n in zip(metrics["accuracy_per_class"].values(), digits[1].bincount().tolist(), strict=True)
        )
    ) == round(360 * metrics["accuracy"])
    assert metrics["dataset"]["name"] == "digits"
    assert metrics["command"].endswith("test --config digits")
    training = metrics["training"]
    assert training["command"].endswith("fit --config digits --trainer.max_epochs 8")
    assert training["epochs"] == 8
    assert 0 < training["seconds"] < 500
    assert re.match(r"\d+ cores?, .+", training["hardware"])
    assert sum(scores["images"] for scores in metrics["per_class"].values()) == 360
    assert metrics["per_class"]["3"]["recall"] == metrics["accuracy_per_class"]["3"]
    for picture in ("confusion_matrix.png", "mistakes.png", "learning_curves.png", "per_class.png", "reliability.png"):
        assert is_picture(tested / RUN / picture)


def test_the_card_says_how_the_file_came_about(tested: Path):
    proto = onnx.load(tested / "zoo/digits_cnn/2/model.onnx")
    card = json.loads({p.key: p.value for p in proto.metadata_props}["cnnzoo.card"])
    metrics = json.loads((tested / RUN / "metrics.json").read_text())
    assert (card["name"], card["version"], card["seed"]) == ("digits_cnn", 2, 0)
    assert card["metrics"]["accuracy"] == metrics["accuracy"]
    assert card["metrics"]["loss"] == pytest.approx(metrics["loss"], rel=1e-5)
    assert (card["parameters"], card["multiply_adds"]) == (8660, 14260)
    assert card["config"]["trainer"]["max_epochs"] == 8
    assert card["command"].endswith("export --config runs/digits_cnn/version_0 --corruption_images 60")
    assert card["license"] == "Apache-2.0"  # of the recipe
    assert card["libraries"]["torch"] == torch.__version__.partition("+")[0]


def test_predict_prepares_images_as_the_checkpoint_says(trained: Path, tmp_path: Path, here: Here, digits):
    """Not as the data says, which may be missing or another copy."""
    shutil.copytree(trained / "runs", tmp_path / "runs")
    page = 255 - np.kron(digits[0][0, 0].numpy(), np.ones((8, 8), np.uint8))
    (tmp_path / "page.png").write_bytes(png(page))
    words = "predict", "--config", "runs/digits_cnn/version_0", "page.png"
    framed = here(*words, cwd=tmp_path).stdout
    path = tmp_path / "runs/digits_cnn/version_0/checkpoints/best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    assert checkpoint["prepare"] == "digits"
    torch.save(checkpoint | {"prepare": "photo"}, path)
    assert here(*words, cwd=tmp_path).stdout != framed


def test_a_second_run_gets_a_folder_of_its_own(here: Here, tmp_path: Path):
    for _ in range(2):
        here("fit", "--config", "digits", "--trainer.max_epochs", "1", cwd=tmp_path)
    for version in (0, 1):
        assert (tmp_path / f"runs/digits_cnn/version_{version}/checkpoints/best.ckpt").is_file()


@pytest.mark.slow
def test_predict_prints_the_likeliest_classes(trained: Path, here: Here, tmp_path: Path, digits):
    for i in range(3):
        (tmp_path / f"d{i}.png").write_bytes(png(digits[0][i, 0].numpy()))
    done = here("predict", "--config", "digits", "--top_k", "2", str(tmp_path), str(tmp_path / "d1.png"), cwd=trained)
    assert done.stdout.count("%") == 4 * 2
    many = [str(tmp_path / "d1.png")] * 300  # more than one batch
    limits = ["--trainer.fast_dev_run", "1"]
    done = here("predict", "--config", "digits", "--top_k", "1", *limits, *many, cwd=trained)
    assert len(set(re.findall(r"\d  \d+\.\d%", done.stdout))) == 1
    assert done.stdout.count("%") == 300
    missing = here("predict", "--config", "digits", "nothing.png", cwd=trained)
    assert missing.returncode == 1
    assert "no such image or folder: nothing.png" in missing.stderr


def test_preview_draws_a_sheet(here: Here, tmp_path: Path):
    here("preview", "--config", "digits", "--count", "5", cwd=tmp_path)
    assert is_picture(tmp_path / "previews/digits_cnn.png")


def test_summary_prints_volumes_and_counts(here: Here, tmp_path: Path):
    done = here("summary", "--config", "cifar10_lecture", cwd=tmp_path)
    assert "30 × 30 × 32" in done.stdout
    assert "122,570" in done.stdout


def test_validate_prints_the_best_validation_accuracy(trained: Path, here: Here):
    done = here("validate", "--config", "digits", cwd=trained)
    with (trained / RUN / "metrics.csv").open() as file:
        best = max(float(row["val_accuracy"]) for row in csv.DictReader(file) if row["val_accuracy"])
    assert float(re.findall(r"val_accuracy\D+([\d.]+)", done.stdout)[0]) == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize("command", ["validate", "test", "export", "predict"])
def test_an_untrained_network_is_not_used(trained: Path, tmp_path: Path, command: str):
    """An unset variable of the shell gives an empty argument."""
    image = ["nothing.png"] if command == "predict" else []
    assert "an empty --ckpt_path" in refused(command, "--config", "digits", "--ckpt_path", "", *image, cwd=trained)
    nothing = tmp_path / "nothing.yaml"
    nothing.write_text("ckpt_path: null")
    assert "--ckpt_path is null" in refused(
        command, "--config", "digits", "--config", str(nothing), *image, cwd=trained
    )


def test_help_teaches(here: Here, tmp_path: Path):
    fit = here("fit", "--help", cwd=tmp_path).stdout
    assert "digits_lecture" in fit
    assert "--trainer.max_epochs" in fit
    assert "--trainer.barebones" not in fit
    network = here("fit", "--model.help", "MNISTCNN", cwd=tmp_path).stdout
    for argument in ("--model.dropout", "--model.learning_rate", "--model.channels"):
        assert argument in network
    assert "--model.network" not in network


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_config_is_commented_and_loads(config: Path, here: Here, tmp_path: Path):
    text = config.read_text()
    assert text.startswith("# ")
    assert re.search(rf"--config {config.stem}( --data\.data_dir \w+)?\n", text)
    command = "sweep" if config.stem.endswith("_sweep") else "fit"
    beside = ["--config", "digits"] if text.startswith("# With another recipe") else []
    done = here(command, *beside, "--config", config.stem, "--print_config", cwd=tmp_path)
    made = yaml.safe_load(done.stdout)
    assert (made["pretrained"] or made["name"]) in [*list_models(), "photos"]


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_reached(tmp_path: Path):
    command = [*CLI, "fit", "--config", "digits", "--trainer.max_epochs", "100000"]
    last = tmp_path / RUN / "checkpoints/last.ckpt"
    with running(*command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for _ in range(600):
            if last.is_file():
                break
            time.sleep(0.1)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in output
    assert "--ckpt_path last" in output
    assert torch.load(last, weights_only=True)["epoch"] >= 0


# Mistakes


def mistake(done: Finished | subprocess.CompletedProcess[str]) -> str:
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    return done.stderr


def test_no_data(here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def no_internet(*_: object, **__: object) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr("socket.getaddrinfo", no_internet)
    monkeypatch.setenv("CNNZOO_DATA", "nothing")
    start = time.monotonic()
    message = mistake(here("fit", "--config", "mnist", cwd=tmp_path))
    assert f"MNIST is not in {tmp_path / 'nothing'}" in message
    assert "Expected there: MNIST/raw/" in message
    assert time.monotonic() - start < 60
    assert not list(tmp_path.glob("runs/*/*"))


def test_an_unknown_class(here: Here, tmp_path: Path):
    (tmp_path / "mine.yaml").write_text("model: {class_path: Nonsense}\ndata: {class_path: DigitsDataModule}\n")
    assert "Nonsense" in mistake(here("fit", "--config", "mine.yaml", cwd=tmp_path))


def test_an_unknown_config(here: Here, tmp_path: Path):
    message = mistake(here("fit", "--config", "digitz", cwd=tmp_path))
    assert "no config digitz: give a YAML file, a run folder, or one of cifar10, " in message


@pytest.mark.slow
def test_a_checkpoint_of_another_network(trained: Path, here: Here, tmp_path: Path):
    path = str(trained / RUN / "checkpoints/best.ckpt")
    for command in ("export", "test"):
        done = here(command, "--config", "mnist", "--ckpt_path", path, "--data", "DigitsDataModule",
                   "--data.val_fraction", "0.15", "--model.input_shape", "[1,8,8]", cwd=tmp_path)  # fmt: skip
        assert "the checkpoint holds DigitsCNN, the config builds MNISTCNN" in mistake(done)
    done = here("export", "--config", "digits", "--ckpt_path", path, "--model.hidden", "60", cwd=tmp_path)
    assert "network.4.bias is (50,) in the checkpoint and (60,) here" in mistake(done)
    assert not (tmp_path / "zoo").exists()


def test_a_checkpoint_trained_on_pixels_scaled_otherwise(trained: Path, here: Here):
    path = str(RUN / "checkpoints/best.ckpt")
    for command in ("test", "export"):
        done = here(command, "--config", "digits", "--model.std", "[0.5]", "--ckpt_path", path, cwd=trained)
        assert "trained on pixels normalized with std [0.0625], not [0.5]" in mistake(done)


def test_a_recipe_is_asked_for(here: Here, tmp_path: Path):
    assert "Give a recipe, such as --config digits\n" in mistake(here("fit", cwd=tmp_path))


def test_no_such_command(here: Here, tmp_path: Path):
    for words in ((), ("lsit",)):
        message = mistake(here(*words, cwd=tmp_path))
        assert "There are fit, " in message
        assert ", list, card, get, inspect, explain, verify, pack, serve; see cnnzoo --help" in message


def test_names_and_numbers_that_cannot_be(trained: Path, here: Here, tmp_path: Path):
    assert "cannot be a model's name" in mistake(here("preview", "--config", "digits", "--name", "../x", cwd=tmp_path))
    assert "--count is 0" in mistake(here("preview", "--config", "digits", "--count", "0", cwd=tmp_path))
    assert "--seed_everything is -1: give" in mistake(
        here("fit", "--config", "digits", "--seed_everything", "-1", cwd=tmp_path)
    )
    (tmp_path / "seven.png").write_bytes(png(np.zeros((8, 8), np.uint8)))
    assert "seven.png is not a YAML file" in mistake(here("fit", "--config", "seven.png", cwd=tmp_path))
    assert "--top_k is 0" in mistake(here("predict", "--config", "digits", "--top_k", "0", "x.png", cwd=trained))


@pytest.mark.slow
def test_names_are_never_markup_or_mathematics(here: Here, tmp_path: Path):
    """Rich interprets brackets, and matplotlib interprets dollar signs."""
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for label, name in enumerate(("a[/b]", "$x_{$", "犬")):
            folder = tmp_path / "data" / part / name
            folder.mkdir(parents=True)
            for i in range(12):
                pixels = rng.integers(0, 60, (32, 32, 3), dtype=np.uint8) + np.uint8(40 * label)
                (folder / f"[{i}].png").write_bytes(png(pixels))
    arguments = ["--model", "CIFAR10CNN", "--data", "ImageFolderDataModule", "--data.data_dir", "data",
                 "--data.val_fraction", "0"]  # fmt: skip
    done = here("fit", *arguments, "--trainer.max_epochs", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "cnnzoo test --config runs/model/version_0 --ckpt_path last" in done.stdout
    for command in (["test", *arguments], ["predict", *arguments, "data/test"]):
        done = here(*command, "--ckpt_path", "last", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert "[3].png" in done.stdout
    assert "a[/b]" in done.stdout


def test_no_checkpoint_yet(here: Here, tmp_path: Path):
    message = mistake(here("test", "--config", "digits", cwd=tmp_path))
    assert f"no best.ckpt in {tmp_path / 'runs/digits_cnn'}: train first" in message


def test_a_file_that_is_no_checkpoint(here: Here, tmp_path: Path):
    (tmp_path / "x.ckpt").write_bytes(b"hello")
    message = mistake(here("test", "--config", "digits", "--ckpt_path", "x.ckpt", cwd=tmp_path))
    assert "x.ckpt" in message


MINE = """
from torch import nn
from cnnzoo.models import ImageClassifier

class Mine(ImageClassifier):
    def __init__(self):
        super().__init__(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), (1, 8, 8), 10, mean=[0.3], std=[0.4])

class Crashing(Mine):
    def training_step(self, batch, batch_idx):
        raise RuntimeError("out of memory")

class Interrupted(Mine):
    def training_step(self, batch, batch_idx):
        raise KeyboardInterrupt
"""


@pytest.mark.parametrize(
    ("content", "words"), [("", "is damaged"), (": [", "is damaged"), (None, "has no config.yaml")]
)
def test_a_run_folder_without_a_whole_config(
    trained: Path, here: Here, tmp_path: Path, content: str | None, words: str
):
    shutil.copytree(trained / "runs", tmp_path / "runs")
    config = tmp_path / RUN / "config.yaml"
    config.unlink() if content is None else config.write_text(content)
    assert words in mistake(here("test", "--config", "digits", cwd=tmp_path))


def test_a_run_without_a_config_is_not_trained_anew(trained: Path, here: Here, tmp_path: Path):
    shutil.copytree(trained / "runs", tmp_path / "runs")
    (tmp_path / RUN / "config.yaml").unlink()
    words = mistake(here("fit", "--config", "digits", "--trainer.max_epochs", "8", "--ckpt_path", "last", cwd=tmp_path))
    assert "version_0 has no config.yaml" in words
    assert [run.name for run in (tmp_path / RUN).parent.iterdir()] == ["version_0"]


def test_fit_says_that_it_trains_in_float32(here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(provenance, "cpuinfo", lambda field: "")  # a processor without bfloat16
    options = ["--trainer.precision", "bf16-mixed", "--trainer.accelerator", "cpu", "--trainer.max_epochs", "1"]
    finished = here("fit", "--config", "digits", *options, cwd=tmp_path)
    assert "no bfloat16 in hardware: training in float32" in finished.stdout
    assert provenance.training_provenance(tmp_path / RUN / "checkpoints/last.ckpt")["precision"] == "32-true"


def test_two_trainings_in_one_run_folder(trained: Path, here: Here, tmp_path: Path):
    """The second is refused, and changes nothing; a finished one locks nothing."""
    shutil.copytree(trained / "runs", tmp_path / "runs")
    run = tmp_path / RUN
    log = (run / "metrics.csv").read_text()
    resume = ["fit", "--config", str(run), "--ckpt_path", "last", "--trainer.max_epochs", "9"]
    first = RunFolder(run.parents[1], "digits_cnn", run, run / "checkpoints/last.ckpt")
    words = mistake(here(*resume, cwd=tmp_path))
    assert f"another cnnzoo fit trains in {run}: wait for it, or leave out --ckpt_path" in words
    assert (run / "metrics.csv").read_text() == log
    first.close()
    for _ in range(2):
        assert here(*resume, cwd=tmp_path).returncode == 0
    assert len((run / "metrics.csv").read_text().splitlines()) > len(log.splitlines())


def test_a_run_that_was_moved_and_renamed_goes_on(trained: Path, tmp_path: Path):
    """In its folder, and with its best checkpoint, which Lightning forgets."""
    run = tmp_path / "mine/runs/digits_cnn/2024"
    shutil.copytree(trained / RUN, run)
    options = ["--trainer.max_epochs", "9", "--checkpoint_every", "1"]
    done("fit", "--config", str(run), "--ckpt_path", "last", *options, cwd=tmp_path)
    assert [folder.name for folder in run.parent.iterdir()] == ["2024"]
    assert yaml.safe_load((run / "config.yaml").read_text())["trainer"]["max_epochs"] == 9
    with (run / "metrics.csv").open() as file:
        accuracies = [float(row["val_accuracy"]) for row in csv.DictReader(file) if row["val_accuracy"]]
    assert len(accuracies) == 9
    callbacks = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["callbacks"]
    (best,) = (state for name, state in callbacks.items() if name.startswith("Best"))
    assert best["best_model_score"].item() == max(accuracies)
    assert best["best_model_path"] == str(run / "checkpoints/best.ckpt")


def test_a_best_checkpoint_is_not_forgotten_in_another_folder(tmp_path: Path):
    old, new = (Best(dirpath=tmp_path / name, **BEST) for name in ("old", "new"))
    (tmp_path / "new").mkdir()
    (tmp_path / "new/best.ckpt").touch()
    old.best_model_path = old.kth_best_model_path = str(tmp_path / "old/best.ckpt")
    old.best_model_score, old.best_k_models = torch.tensor(0.9), {old.best_model_path: torch.tensor(0.9)}
    new.load_state_dict(old.state_dict())
    assert new.best_model_path == new.kth_best_model_path == str(tmp_path / "new/best.ckpt")
    assert not new.check_monitor_top_k(quiet(), torch.tensor(0.8))
    assert new.check_monitor_top_k(quiet(), torch.tensor(0.95))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--checkpoint.monitor", "val_loss"], "the best val_loss is the lowest: give --checkpoint.mode min, too"),
        (["--checkpoint.mode", "min"], "the best val_accuracy is the highest: give --checkpoint.mode max, too"),
        (["--checkpoint.monitor", "null"], "checkpoint.monitor is null: give a metric"),
        (["--checkpoint.save_top_k", "3"], "checkpoint.save_top_k is 3: fit keeps one best checkpoint"),
        (["--checkpoint.filename", "mine"], "checkpoint.filename is mine: fit keeps one best checkpoint"),
        (["--checkpoint.dirpath", "mine"], "checkpoint.dirpath is mine: fit keeps one best checkpoint"),
    ],
)
def test_a_best_checkpoint_that_would_not_be_the_best(here: Here, tmp_path: Path, options: list[str], words: str):
    assert words in mistake(here("fit", "--config", "digits", *options, cwd=tmp_path))
    assert not (tmp_path / "runs").exists()


def test_callbacks_of_ones_own_stand_beside_the_projects(here: Here, tmp_path: Path):
    """Lightning takes one progress bar, and no checkpoint callback where nothing is saved."""
    own = {"class_path": "ModelCheckpoint", "init_args": {"filename": "{epoch}", "save_top_k": -1}}
    (tmp_path / "own.yaml").write_text(
        yaml.safe_dump({"trainer": {"callbacks": [own, {"class_path": "TQDMProgressBar"}], "max_epochs": 1}})
    )
    fit = here("fit", "--config", "digits", "--config", "own.yaml", "--runs", "my runs", cwd=tmp_path)
    assert fit.returncode == 0, fit.stderr
    assert re.search(r"Best validation accuracy \d", fit.stdout)
    assert "cnnzoo test --config 'my runs/digits_cnn/version_0'\n" in fit.stdout  # quoted for the shell
    assert (tmp_path / "my runs/digits_cnn/version_0/checkpoints/epoch=0.ckpt").is_file()
    done("validate", "--config", "my runs/digits_cnn/version_0", cwd=tmp_path)


def test_a_sheet_is_a_png(here: Here, tmp_path: Path):
    words = mistake(here("preview", "--config", "digits", "--output", "sheet.jpg", cwd=tmp_path))
    assert "give the name of a file that ends in .png" in words


def test_runs_in_the_home_folder(here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "own.yaml").write_text("runs: ~/runs\ntrainer: {max_epochs: 1}\n")
    done("fit", "--config", "digits", "--config", "own.yaml", cwd=tmp_path)
    assert (tmp_path / "home/runs/digits_cnn/version_0/config.yaml").is_file()


def test_an_export_into_a_damaged_zoo_fails_at_once(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo/SHA256SUMS").write_text("nothing\n")
    monkeypatch.setattr("cnnzoo.commands.export.fit_outputs", lambda *_: pytest.fail("it measured first"))
    refused("export", "--config", str(trained / RUN), "--zoo", "zoo", cwd=tmp_path)


def test_a_zoo_that_is_a_file(trained: Path, here: Here, tmp_path: Path):
    (tmp_path / "zoo").write_text("")
    done = here("export", "--config", "digits", "--zoo", str(tmp_path / "zoo"), cwd=trained)
    assert "is a file: give a folder" in mistake(done)


def test_a_training_that_diverges_fails(here: Here, tmp_path: Path):
    rate = ("--model.optimizer", "sgd", "--model.learning_rate", "1e30")
    done = here("fit", "--config", "digits_lecture", *rate, "--trainer.max_epochs", "2", cwd=tmp_path)
    assert "the training loss of epoch 0 is nan: lower model.learning_rate" in mistake(done)
    assert not list(tmp_path.glob("runs/*/*/checkpoints/*"))


def test_a_training_that_diverges_keeps_its_last_good_checkpoint(trained: Path, here: Here, tmp_path: Path):
    shutil.copytree(trained / "runs", tmp_path / "runs")
    last = tmp_path / RUN / "checkpoints/last.ckpt"
    before = torch.load(last, weights_only=True)
    before["optimizer_states"][0]["param_groups"][0]["lr"] = 1e30  # the schedule goes on from it
    before["lr_schedulers"][0]["base_lrs"] = [1e30] * len(before["lr_schedulers"][0]["base_lrs"])
    torch.save(before, last)
    options = ["--trainer.max_epochs", "20", "--checkpoint_every", "1", "--ckpt_path", "last"]
    assert "lower model.learning_rate" in mistake(here("fit", "--config", str(tmp_path / RUN), *options, cwd=tmp_path))
    assert all(value.isfinite().all() for value in torch.load(last, weights_only=True)["state_dict"].values())


def test_an_interrupted_run_with_a_best_checkpoint_stays(tmp_path: Path):
    """It may have been validated within its first epoch, before the first last.ckpt."""
    folder = RunFolder(tmp_path / "runs", "digits_cnn", None, None)
    assert folder.path
    checkpoint = folder.path / "checkpoints/best.ckpt"
    checkpoint.parent.mkdir()
    checkpoint.touch()
    folder.remove_if_unused(interrupted=True)
    folder.close()
    assert checkpoint.is_file()


def test_validation_without_images_is_an_error(here: Here, tmp_path: Path):
    options = ["--config", "digits", "--data.val_fraction", "0"]
    assert here("fit", *options, "--trainer.max_epochs", "1", cwd=tmp_path).returncode == 0
    done = here("validate", *options, "--ckpt_path", "last", cwd=tmp_path)
    assert "there are no validation images" in mistake(done)


def test_a_checkpoint_that_may_not_be_read_is_not_called_damaged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("torch.load", refuse)
    with pytest.raises(PermissionError):
        check_checkpoint(tmp_path / "last.ckpt")


@pytest.mark.slow
def test_the_confusion_matrix_of_many_classes_is_no_giant(tmp_path: Path):
    plots.confusion_matrix(np.eye(300, dtype=int), [f"class {n}" for n in range(300)], tmp_path / "matrix.png")
    with Image.open(tmp_path / "matrix.png") as image:
        assert max(image.size) < 6000


def test_a_training_of_no_epoch_suggests_no_export(here: Here, tmp_path: Path):
    done = here("fit", "--config", "digits", "--trainer.max_epochs", "0", cwd=tmp_path)
    assert done.returncode == 0
    assert "export" not in done.stdout


def test_more_processes_than_cores_are_refused(here: Here, tmp_path: Path):
    done = here("fit", "--config", "digits", "--trainer.accelerator", "cpu", "--trainer.devices", "99", cwd=tmp_path)
    assert "--trainer.devices is 99, and this CPU has" in mistake(done)


def test_what_a_trainer_refuses_leaves_no_run(here: Here, tmp_path: Path):
    mistake(here("fit", "--config", "digits", "--trainer.max_epochs", "-5", cwd=tmp_path))
    assert not (tmp_path / "runs").exists()


def test_a_networks_own_words_are_not_lost_among_the_parsers(here: Here, tmp_path: Path):
    said = mistake(here("fit", "--config", "digits", "--data.batch_size", "0", cwd=tmp_path))
    assert said.startswith("error: data.batch_size is 0 and data.eval_batch_size 1000: give 1 or more\n")


def test_a_checkpoint_is_no_pretrained_model(here: Here, tmp_path: Path):
    done = here("fit", "--config", "digits", "--pretrained", "runs/a/checkpoints/best.ckpt", cwd=tmp_path)
    assert "best.ckpt is a checkpoint: export it first" in mistake(done)


def test_pretrained_weights_that_saw_the_images_which_are_held_out_now_are_refused(here: Here, tmp_path: Path):
    """The digits' test images are drawn by the seed, so most of another seed's were trained on."""
    options = ["--config", "digits", "--pretrained", "digits_cnn"]
    done = here("fit", *options, "--data.seed", "1", cwd=tmp_path)
    assert "held out now: give the split of its training, --data.seed 0" in mistake(done)
    assert not (tmp_path / "runs").exists()
    done = here("sweep", *options, "--seeds", "0,1", cwd=tmp_path)
    assert "held out now: give the split of its training, --data.seed 0" in mistake(done)
    grid = '[{"argument": "data.val_fraction", "values": [0.15, 0.3]}]'
    done = here("sweep", *options, "--grid", grid, cwd=tmp_path)
    assert "held out now: give the split of its training, --data.val_fraction 0.15" in mistake(done)
    assert here("fit", *options, "--trainer.max_epochs", "1", cwd=tmp_path).returncode == 0


def test_a_teacher_that_saw_the_images_which_are_held_out_now_is_refused(here: Here, tmp_path: Path):
    options = ["--config", "digits", "--model.teacher", "digits_cnn"]
    grid = '[{"argument": "model.teacher", "values": ["digits_cnn"]}]'
    for command in (["fit", *options, "--data.seed", "1"], ["sweep", *options, "--seeds", "0,1"],
                    ["sweep", "--config", "digits", "--seeds", "0,1", "--grid", grid]):  # fmt: skip
        done = here(*command, cwd=tmp_path)
        assert "held out now: give the split of its training, --data.seed 0" in mistake(done)
    assert not (tmp_path / "runs").exists()


def test_pretrained_weights_from_a_file_outside_a_zoo(here: Here, trained: Path, tmp_path: Path):
    shutil.copy(trained / "zoo/digits_cnn/1/model.onnx", tmp_path / "downloaded.onnx")
    options = ["--config", "digits", "--pretrained", "downloaded.onnx", "--trainer.max_epochs", "1"]
    assert here("fit", *options, cwd=tmp_path).returncode == 0


@pytest.mark.slow
def test_a_network_of_ones_own_that_leaves_no_choice(cli: Cli, tmp_path: Path):
    (tmp_path / "mine.py").write_text(MINE)
    words = ["--model", "mine.Mine", "--data", "DigitsDataModule", "--trainer.max_epochs"]
    for command in (["fit", *words, "1"], ["fit", *words, "2", "--ckpt_path", "last"],
                    ["test", "--config", "runs/model/version_0"]):  # fmt: skip
        cli(*command, cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert json.loads((tmp_path / "runs/model/version_0/metrics.json").read_text())["accuracy"] > 0.5


# Somebody's own images, without editing a file


@pytest.mark.slow
def test_a_folder_of_images_becomes_an_http_answer(here: Here, tmp_path: Path):
    rng = np.random.default_rng(0)
    colours = {"lemon": (230, 210, 40), "plum": (110, 40, 120), "lime": (70, 190, 60)}
    for part, n in (("train", 60), ("test", 20)):
        for name, colour in colours.items():
            folder = tmp_path / "fruit" / part / name
            folder.mkdir(parents=True)
            for i in range(n):
                size = (int(rng.integers(30, 90)), int(rng.integers(30, 90)))
                pixels = np.clip(rng.normal(colour, 25, (*size, 3)), 0, 255).astype(np.uint8)
                (folder / f"{i}.png").write_bytes(png(pixels))
    (tmp_path / "fruit.yaml").write_text("""
name: fruit
model:
  class_path: CIFAR10CNN
data:
  class_path: ImageFolderDataModule
  init_args: {data_dir: fruit, size: [24, 24], batch_size: 32}
trainer: {max_epochs: 5}
""")
    for command in ("fit", "test", "export"):
        done = here(command, "--config", "fruit.yaml", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "runs/fruit/version_0/metrics.json").read_text())["accuracy"] > 0.9
    with in_process(tmp_path / "zoo") as client:
        assert client.get("/models").json()["models"][0]["classes"] == ["lemon", "lime", "plum"]
        for name, colour in colours.items():
            picture = png(np.full((70, 50, 3), colour, np.uint8), "JPEG")
            answer = client.post("/v1/models/fruit/predict", content=picture, headers={"Content-Type": "image/jpeg"})
            assert answer.json()["predictions"][0]["classes"][0]["label"] == name

    for part in ("train", "test"):
        (tmp_path / "fruit" / part / "plum").rename(tmp_path / "fruit" / part / "grape")
    done = here("export", "--config", "runs/fruit/version_0", cwd=tmp_path)
    assert "was trained on the classes lemon, lime, plum; the data here has grape, lemon, lime" in mistake(done)


@pytest.mark.data
@pytest.mark.slow
def test_real_mnist_from_config_to_http(data_dir: Path, cli: Cli, tmp_path: Path):
    """Train for one epoch. The service gives the first 1,000 test images the same classes as torch."""
    from cnnzoo.datamodules import MNISTDataModule
    from cnnzoo.models import MNISTCNN

    cli("fit", "--config", "mnist_lecture", "--trainer.max_epochs", "1", cwd=tmp_path)
    cli("test", "--config", "mnist_lecture", cwd=tmp_path)
    cli("export", "--config", "mnist_lecture", "--corruption_images", "0", cwd=tmp_path)  # corrupted ones take minutes
    assert json.loads((tmp_path / "runs/mnist_cnn/version_0/metrics.json").read_text())["accuracy"] >= 0.98
    images = MNISTDataModule(data_dir).load(train=False)[0][:1000]
    checkpoint = torch.load(tmp_path / "runs/mnist_cnn/version_0/checkpoints/best.ckpt", weights_only=True)
    model = MNISTCNN().eval()
    model.load_state_dict(checkpoint["state_dict"])
    with torch.inference_mode():
        expected = model(images).argmax(1).tolist()
    with serve(tmp_path / "zoo") as client:
        answers = []
        for start in range(0, 1000, 200):
            files = [("file", (f"{i}.png", png(images[i, 0].numpy()))) for i in range(start, start + 200)]
            body = client.post("/v1/models/mnist_cnn/predict?top_k=1", files=files).json()
            answers += [p["classes"][0]["class"] for p in body["predictions"]]
    assert answers == expected


def test_pretrained_weights_serve_another_task(trained: Path, here: Here, tmp_path: Path, monkeypatch, caplog, digits):
    """Fine-tune a network of ten classes for two classes. All layers but the last keep their weights."""
    monkeypatch.setenv("CNNZOO_ZOO", str(trained / "zoo"))
    for image, label in list(zip(*digits, strict=True))[:120]:
        path = tmp_path / "few/train" / ("odd" if label % 2 else "even") / f"{len(list(tmp_path.rglob('*.png')))}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(image[0].numpy()))
    data = {"data_dir": "few", "size": [8, 8], "mode": "L", "val_fraction": 0.5, "batch_size": 10}
    recipe = {
        "name": "parity",
        "pretrained": "digits_cnn",
        "model": {"class_path": "DigitsCNN", "init_args": {"num_classes": 2, "learning_rate": 0.0}},
        "data": {"class_path": "ImageFolderDataModule", "init_args": data},
        "trainer": {"max_epochs": 1},
    }
    (tmp_path / "parity.yaml").write_text(yaml.safe_dump(recipe))
    done = here("fit", "--config", "parity.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    warning = "The last layer (network.6) is new, with 2 classes instead of 10; the other weights are digits_cnn's"
    assert warning in caplog.text
    state = torch.load(tmp_path / "runs/parity/version_0/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    weights = create_model("digits_cnn", pretrained=True).state_dict()
    assert all(torch.equal(state[key], weights[key]) for key in weights if not key.startswith("network.6."))
    assert state["network.6.weight"].shape == (2, 50)
    point, _ = build({**recipe, "seed_everything": 0})  # as a sweep does
    assert torch.equal(point.state_dict()["network.0.weight"], weights["network.0.weight"])
    wrong = here("fit", "--config", "parity.yaml", "--pretrained", "digit_cnn", cwd=tmp_path)
    assert "there is no digit_cnn in" in wrong.stderr
    wrong = here("fit", "--config", "parity.yaml", "--model.hidden", "20", cwd=tmp_path)
    assert "the weights of digits_cnn do not fit this DigitsCNN" in wrong.stderr


@pytest.mark.slow
def test_what_is_exported_is_what_its_card_says(here: Here, tmp_path: Path):
    small = [
        "--model",
        "SpeedNet",
        "--model.input_shape",
        "[1,8,8]",
        "--model.widths",
        "[4,4]",
        "--model.views",
        "flip",
    ]
    fit = here("fit", *small, "--data", "DigitsDataModule", "--trainer.max_epochs", "1", cwd=tmp_path)
    assert fit.returncode == 0, fit.stderr
    run = ["--config", "runs/model/version_0", "--model.views", "one", "--corruption_images", "0"]
    done = here("export", *run, "--model.label_smoothing", "0.3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    card = read_card(tmp_path / "zoo/model/1/model.onnx")
    assert card.config["model"]["init_args"]["views"] == "one"  # as it was exported
    assert card.config["model"]["init_args"]["label_smoothing"] == 0.2  # as it was trained


@pytest.mark.slow
def test_a_run_goes_on_as_it_was_begun(here: Here, tmp_path: Path):
    fit = ("fit", "--config", "digits", "--trainer.max_epochs", "2", "--data.seed", "3", "--seed_everything", "5")
    done = here(*fit, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    before = [(tmp_path / RUN / name).read_text() for name in ("metrics.csv", "config.yaml")]
    for change, words in (
        (["--seed_everything", "0"], "version_0: seed_everything 5, not 0"),
        (["--trainer.max_epochs", "1"], "has 2 epochs, --trainer.max_epochs 1 is fewer"),
        (["--data.seed", "0"], "version_0: data.seed 3, not 0"),
        (["--model.learning_rate", "0.5"], "version_0: model.learning_rate 0.003, not 0.5"),
        (["--data.augmentation.rotate", "1"], "data.augmentation.rotate 20.0, not 1.0"),
    ):
        assert words in mistake(here(*fit, "--ckpt_path", "last", *change, cwd=tmp_path))
    mistake(here(*fit, "--ckpt_path", "last", "--trainer.accelerator", "cuda", "--trainer.devices", "99", cwd=tmp_path))
    assert [(tmp_path / RUN / name).read_text() for name in ("metrics.csv", "config.yaml")] == before
    assert here(*fit, "--ckpt_path", "last", cwd=tmp_path).returncode == 0  # there is nothing left to do
    done = here(*fit, "--ckpt_path", "last", "--trainer.max_epochs", "3", "--data.eval_batch_size", "99", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert here("test", "--config", str(RUN), cwd=tmp_path).returncode == 0
    metrics = json.loads((tmp_path / RUN / "metrics.json").read_text())
    assert metrics["seed"] == 5
    first, then = metrics["training"]["command"].split(" && ")
    assert "--trainer.max_epochs 2" in first
    assert "--trainer.max_epochs 3" in then


@pytest.mark.slow
def test_a_run_is_not_tested_on_what_it_was_trained_on(here: Here, tmp_path: Path):
    fit = here("fit", "--config", "digits", "--data.seed", "3", "--trainer.max_epochs", "1", cwd=tmp_path)
    assert fit.returncode == 0, fit.stderr
    for command in ("test", "export", "validate"):
        done = here(command, "--config", "digits", cwd=tmp_path)
        assert "version_0: data.seed 3, not 0" in mistake(done)
        done = here(command, "--config", "digits", "--ckpt_path", str(RUN / "checkpoints/best.ckpt"), cwd=tmp_path)
        assert "was trained with data.seed 3, not 0: other images would be held out" in mistake(done)
    assert here("test", "--config", "runs/digits_cnn/version_0", cwd=tmp_path).returncode == 0
    assert not (tmp_path / "zoo").exists()


# Runs belong to recipes


@pytest.mark.slow
def test_a_checkpoint_of_another_recipe_is_refused(here: Here, tmp_path: Path):
    """Same class, same name, same sizes: only the settings tell the two recipes apart."""
    for recipe in ("digits", "digits_lecture"):
        assert here("fit", "--config", recipe, "--trainer.max_epochs", "1", cwd=tmp_path).returncode == 0
    path = str(RUN / "checkpoints/best.ckpt")
    for command in (["validate"], ["test"], ["export"], ["predict", "x.png"]):
        (tmp_path / "x.png").write_bytes(png(np.zeros((8, 8), np.uint8)))
        message = mistake(here(*command, "--config", "digits_lecture", "--ckpt_path", path, cwd=tmp_path))
        assert "runs/digits_cnn/version_0 was trained with " in message
        assert "Give --config runs/digits_cnn/version_0" in message
    assert not (tmp_path / "zoo").exists()
    assert here("test", "--config", "digits", "--ckpt_path", path, cwd=tmp_path).returncode == 0
    assert here("test", "--config", str(RUN), "--model.learning_rate", "0.1", cwd=tmp_path).returncode == 0


@pytest.mark.slow
def test_a_run_belongs_to_its_recipe(here: Here, tmp_path: Path, digits):
    """Two recipes have the same name. Each command uses the run of its own recipe."""
    for recipe in ("digits", "digits_lecture"):
        done = here("fit", "--config", recipe, "--trainer.max_epochs", "1", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    (tmp_path / "digit.png").write_bytes(png(digits[0][0, 0].numpy()))
    for recipe, run, optimizer in (("digits", RUN, "adamw"), ("digits_lecture", RUN.with_name("version_1"), "sgd")):
        for words in (["validate"], ["test"], ["export", "--corruption_images", "0"], ["predict", "digit.png"]):
            done = here(*words, "--config", recipe, cwd=tmp_path)
            assert done.returncode == 0, done.stderr
            assert f"Checkpoint  {run / 'checkpoints/best.ckpt'}" in done.stdout.replace(f"{tmp_path}/", "")
        assert (tmp_path / run / "metrics.json").is_file()
        version = 1 if optimizer == "adamw" else 2
        card = read_card(tmp_path / f"zoo/digits_cnn/{version}/model.onnx")
        assert card.config["model"]["init_args"]["optimizer"] == optimizer


@pytest.mark.parametrize("words", [["validate"], ["test"], ["export"], ["predict", "digit.png"]])
def test_a_run_with_other_settings_is_never_taken(trained: Path, here: Here, words: list[str]):
    done = here(*words, "--config", "digits", "--model.learning_rate", "0.5", "--data.batch_size", "64", cwd=trained)
    message = mistake(done)
    assert f"no run in {trained / RUN.parent} has these settings" in message
    assert "version_0: data.batch_size 32, not 64; model.learning_rate 0.003, not 0.5" in message
    assert f"To use one give its folder, such as --config {RUN}" in message


def test_settings_that_change_no_step_may_differ(trained: Path, here: Here):
    done = here("validate", "--config", "digits", "--model.compile", "true", "--data.eval_batch_size", "99",
                "--data.data_dir", "elsewhere", cwd=trained)  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_run_of_an_older_version_lacks_newer_arguments(here: Here, tmp_path: Path):
    short = ("--config", "digits", "--trainer.max_epochs", "1")
    assert here("fit", *short, cwd=tmp_path).returncode == 0
    config = yaml.safe_load((tmp_path / RUN / "config.yaml").read_text())
    del config["model"]["init_args"]["momentum"]
    del config["data"]["init_args"]["augmentation"]["cutout"]
    (tmp_path / RUN / "config.yaml").write_text(yaml.safe_dump(config))
    for given in (short, ("--config", str(RUN))):
        done = here("fit", *given, "--trainer.max_epochs", "2", "--ckpt_path", "last", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    done = here("validate", "--config", "digits", "--model.momentum", "0.1", cwd=tmp_path)
    assert "version_0: model.momentum 0.0, not 0.1" in mistake(done)


@pytest.mark.slow
def test_a_short_trial_does_not_hide_the_run_of_the_recipe(here: Here, tmp_path: Path):
    for epochs in ("2", "1"):
        assert here("fit", "--config", "digits", "--trainer.max_epochs", epochs, cwd=tmp_path).returncode == 0
    done = here("validate", "--config", "digits", "--trainer.max_epochs", "2", cwd=tmp_path)
    assert "version_0/checkpoints/best.ckpt" in done.stdout
    done = here("validate", "--config", "digits", cwd=tmp_path)  # neither is as long as the recipe: the newest
    assert "version_1/checkpoints/best.ckpt" in done.stdout


def test_a_run_that_crashed_keeps_its_folder(here: Here, tmp_path: Path, monkeypatch):
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    fit = ("fit", "--data", "DigitsDataModule", "--trainer.max_epochs", "1", "--model")
    with pytest.raises(RuntimeError, match="out of memory"):
        here(*fit, "mine.Crashing", cwd=tmp_path)
    assert (tmp_path / "runs/model/version_0/config.yaml").is_file()
    assert list((tmp_path / "runs/model/version_0").glob("events.out.tfevents.*"))
    message = mistake(here("test", "--config", "runs/model/version_0", cwd=tmp_path))
    assert "no best.ckpt in runs/model/version_0" in message.replace(f"{tmp_path}/", "")

    try:
        assert here(*fit, "mine.Interrupted", cwd=tmp_path).returncode == 130
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # Lightning ignores SIGINT while it shuts down
    assert [p.name for p in (tmp_path / "runs/model").iterdir()] == ["version_0"]


# The card's provenance


@pytest.mark.slow
def test_export_honours_cnnzoo_zoo(trained: Path, here: Here, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("CNNZOO_ZOO", str(tmp_path / "mine"))
    done = here("export", "--config", "digits", "--license", "", "--corruption_images", "0", cwd=trained)
    assert done.returncode == 0, done.stderr
    assert read_card(tmp_path / "mine/digits_cnn/1/model.onnx").license == ""


@pytest.mark.slow
def test_no_license_is_claimed_that_no_recipe_states(trained: Path, here: Here, tmp_path: Path):
    export = ("export", "--config", str(trained / RUN), "--zoo", str(tmp_path), "--corruption_images", "0")
    done = here(*export, "--license", "CC-BY-4.0", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert read_card(tmp_path / "digits_cnn/1/model.onnx").license == "CC-BY-4.0"
    done = here("fit", "--model", "DigitsCNN", "--data", "DigitsDataModule", "--print_config", cwd=tmp_path)
    assert yaml.safe_load(done.stdout)["license"] == ""


@pytest.mark.parametrize("program", ["/venv/bin/cnnzoo", "/repository/train.py", "/repository/__main__.py"])
def test_the_recorded_command_can_be_typed(program: str, monkeypatch):
    words = ["fit", "--config=digits", "--runs=a", "--zoo", "b", "--data.data_dir=/data", "--trainer.max_epochs=3"]
    monkeypatch.setattr("sys.argv", [program, *words, "--data.data_dir", "/other data", "--name=a b"])
    assert provenance.command() == "cnnzoo fit --config digits --trainer.max_epochs 3 --name 'a b'"


@pytest.mark.slow
def test_a_resumed_run_records_both_commands(here: Here, tmp_path: Path):
    fit = ("fit", "--config=digits")
    assert here(*fit, "--trainer.max_epochs=1", cwd=tmp_path).returncode == 0
    assert here(*fit, "--trainer.max_epochs=2", "--ckpt_path=last", cwd=tmp_path).returncode == 0
    assert here(*fit, "--trainer.max_epochs=2", "--ckpt_path=last", cwd=tmp_path).returncode == 0
    command = provenance.training_provenance(tmp_path / RUN / "checkpoints/last.ckpt")["command"]
    assert command == (
        "cnnzoo fit --config digits --trainer.max_epochs 1 && "
        "cnnzoo fit --config digits --trainer.max_epochs 2 --ckpt_path last"
    )
    (tmp_path / "three.yaml").write_text("trainer: {max_epochs: 3}")
    assert here(*fit, "--config=three.yaml", "--ckpt_path=last", cwd=tmp_path).returncode == 0
    training = provenance.training_provenance(tmp_path / RUN / "checkpoints/last.ckpt")
    assert training["command"] == f"{command} && cnnzoo fit --config digits --config three.yaml --ckpt_path last"
    assert "length" not in training


def test_weights_alone_cannot_be_resumed_but_tested(here: Here, tmp_path: Path):
    fit = ["fit", "--config", "digits", "--trainer.max_epochs", "1", "--checkpoint.save_weights_only", "true"]
    assert here(*fit, cwd=tmp_path).returncode == 0
    done = here("fit", "--config", str(RUN), "--ckpt_path", "best", cwd=tmp_path)
    assert "best.ckpt has the weights alone: resume with --ckpt_path last" in mistake(done)
    (tmp_path / RUN / "checkpoints/last.ckpt").unlink()
    assert here("test", "--config", str(RUN), cwd=tmp_path).returncode == 0
    assert json.loads((tmp_path / RUN / "metrics.json").read_text())["training"]["epochs"] == 1


def test_a_plugin_of_ones_own_keeps_checkpoints_atomic():
    environment, writer = LightningEnvironment(), TorchCheckpointIO()
    for given in (None, environment, [environment]):
        assert isinstance(with_atomic_checkpoints(given)[-1], AtomicCheckpointIO)
    assert with_atomic_checkpoints([environment, writer]) == [environment, writer]


def test_a_loggers_password_is_not_in_the_recipe():
    logger = {"class_path": "MLFlowLogger", "init_args": {"tracking_uri": "http://me:secret@host"}}
    settings = {"name": "a", "model": {}, "data": {}, "trainer": {"logger": logger, "max_epochs": 3}}
    assert provenance.recipe(settings)["trainer"] == {"max_epochs": 3}


def test_a_project_with_a_folder_called_checkpoints_is_no_run(tmp_path: Path):
    (tmp_path / "checkpoints").mkdir()
    for name in ("config.yaml", "other.yaml"):
        (tmp_path / name).touch()
    assert runs.run_of(tmp_path / "config.yaml") is None
    (tmp_path / "checkpoints/last.ckpt").touch()  # a run folder under a new name
    assert runs.run_of(tmp_path / "config.yaml") == tmp_path
    assert runs.run_of(tmp_path / "checkpoints/last.ckpt") == tmp_path
    assert runs.run_of(tmp_path / "kept.ckpt") == runs.run_of(tmp_path / "kept/one.ckpt") == tmp_path
    assert runs.run_of(tmp_path / "other.yaml") is None


# Mistyped options


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (["--model.learning_rte", "1"], ["--model.learning_rte", "--model.learning_rate", "--model.help"]),
        (["--model.init_args.learning_rte", "1"], ["--model.learning_rte", "--model.learning_rate", "--model.help"]),
        (["--data.batch_sze", "1"], ["--data.batch_sze", "--data.batch_size", "--data.help"]),
        (["--data.augmentation.rotat", "1"], ["--data.augmentation.rotat", "augmentation.rotate", "--data.help"]),
        (["--trainer.max_epoch", "1"], ["--trainer.max_epoch", "--trainer.max_epochs", "--print_config"]),
        (["--ckpt_pth", "last"], ["--ckpt_pth", "--ckpt_path", "cnnzoo fit --help"]),
        (["--modle.learning_rate=1"], ["--modle.learning_rate", "Nearest: --model", "cnnzoo fit --help"]),
        (["--model.learning_rate", "abc"], ["--model.learning_rate cannot be 'abc'", "float", "--model.help"]),
        (["--model.optimizer", "sgdd"], ["--model.optimizer cannot be 'sgdd'", "one of sgd, adam, adamw", "--model.h"]),
        (["--data.augmentation.rotate", "far"], ["--data.augmentation.rotate cannot be 'far'", "float", "--data.help"]),
        (["--trainer.max_epochs", "abc"], ["--trainer.max_epochs cannot be 'abc'", "int", "cnnzoo fit --"]),
        (["--checkpoint_every", "0"], ["--checkpoint_every cannot be '0'", "int > 0", "cnnzoo fit --help"]),
        (["--seed_everything", "x"], ["--seed_everything cannot be 'x'", "int", "cnnzoo fit --help"]),
        (["--model", "ResNet9000"], ["--model cannot be 'ResNet9000'", "DigitsCNN", "cnnzoo fit --help"]),
    ],
)  # fmt: skip
def test_a_mistyped_option_is_answered_in_three_lines(here: Here, tmp_path: Path, words: list[str], lines: list[str]):
    said = mistake(here("fit", "--config", "digits", *words, cwd=tmp_path)).strip().splitlines()
    assert len(said) == 3, "\n".join(said)
    for line, part in zip(said, lines, strict=True):
        assert part in line


def test_a_mistyped_setting_of_a_config_is_answered_in_three_lines(here: Here, tmp_path: Path):
    config = {"model": {"class_path": "DigitsCNN"}, "data": {"class_path": "DigitsDataModule"}}
    for key, value, lines in (
        ("model", {"class_path": "DigitsCNN", "init_args": {"hiden": 3}}, ["--model.hiden", "--model.hidden"]),
        ("trainer", {"max_epoch": 3}, ["--trainer.max_epoch", "--trainer.max_epochs"]),
        ("nme", "x", ["--nme", "--name"]),
        ("data", {"class_path": "DigitsDataModule", "init_args": {"seed": "x"}}, ["--data.seed cannot be 'x'", "int"]),
    ):
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump({**config, key: value}))
        said = mistake(here("fit", "--config", "mine.yaml", cwd=tmp_path)).strip().splitlines()
        assert len(said) == 3, "\n".join(said)
        for line, part in zip(said, lines, strict=False):
            assert part in line
