"""Test `cnnzoo list`, `card`, `predict` and `verify` on real files."""

import importlib
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import make_zoo
import numpy as np
import onnx
import pytest
import yaml
from helpers import Cli, change_one_byte, command, done, in_process, png, refused
from PIL import Image

from cnnzoo.__main__ import COMMANDS
from cnnzoo.commands import RECIPES, say, verify
from cnnzoo.contract.checksums import add_checksum, read_checksums, sha256_of
from cnnzoo.contract.model_file import read_card
from cnnzoo.contract.names import CARD_KEY
from cnnzoo.contract.zoo_folder import ModelId, ZooFolder
from cnnzoo.serve.zoo import Zoo

PLACE = "digits_cnn/2/model.onnx"


def test_list_shows_the_models_and_filters_them(trained: Path):
    text = done("list", cwd=trained)
    assert "digits_cnn@2" in text
    assert "digits_cnn@1" in text
    assert "2 models" in text
    for words in (("--dataset", "mnist"), ("--max_size", "0.01"), ("--min_accuracy", "1")):
        assert "0 models" in done("list", *words, cwd=trained)
    assert "none of the 2 models matches; their datasets are digits" in done("list", "--dataset", "dgits", cwd=trained)
    assert "2 models" in done("list", "--dataset", "DIGITS", "--max_size", "1", "--min_accuracy", "0.5", cwd=trained)
    for words in (("--max_size", "-1"), ("--min_accuracy", "1.01"), ("--min_accuracy", "nan")):
        finished = command("list", *words, cwd=trained)
        assert finished.returncode == 2
        assert f"{words[0]} is {words[1]}: expected a number from 0" in finished.stderr


def test_predict_answers_as_the_service(trained: Path, client: httpx.Client, tmp_path: Path, digits):
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(png(digits[0][number, 0].numpy()))
    (tmp_path / "noise.png").write_bytes(png(np.random.default_rng(0).integers(0, 256, (90, 90), dtype=np.uint8)))
    (tmp_path / "text.png").write_bytes(b"hello")
    zoo = ("--zoo", str(trained / "zoo"))
    lines = done("predict", "digits_cnn", ".", "--top_k", "1", *zoo, cwd=tmp_path).splitlines()
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.startswith("│")]
    assert [row[0] for row in rows] == ["0.png", "1.png", "2.png", "noise.png", "text.png"]
    for name, best, familiarity in rows[:4]:
        content = (tmp_path / name).read_bytes()
        answer = client.post("/v1/models/digits_cnn/predict", content=content, headers={"Content-Type": "image/png"})
        (said,) = answer.json()["predictions"]
        top = said["classes"][0]
        assert best == f"{top['label']}  {top['probability']:.1%}"
        assert familiarity == f"{said['familiarity']:.3f}" + ("  unfamiliar" if said["unfamiliar"] else "")
    assert rows[3][2] == "0.000  unfamiliar"
    assert rows[4][1] == "not a PNG or JPEG image"


def test_predict_says_how_many_images_it_could_not_read(trained: Path, tmp_path: Path, digits):
    (tmp_path / "seven.png").write_bytes(png(digits[0][0, 0].numpy()))
    for number in range(2):
        (tmp_path / f"text{number}.png").write_bytes(b"hello")
    model = str(trained / "zoo/digits_cnn/1/model.onnx")
    finished = command("predict", model, str(tmp_path), cwd=tmp_path)
    assert finished.returncode == 0
    assert "2 images of 3 could not be read" in finished.stdout
    assert "no image could be read" in refused("predict", model, "text0.png", "text1.png", cwd=tmp_path)
    words = "predict", model, "text0.png", "--output", "answers.csv"
    assert "no image could be read" in refused(*words, cwd=tmp_path)
    assert "not a PNG or JPEG image" in (tmp_path / "answers.csv").read_text()


@pytest.mark.parametrize(
    "words",
    [
        ("predict", "digits_cnn@2", "seven.png"),
        ("inspect", "digits_cnn@2", "seven.png"),
        ("card", "digits_cnn@2"),
        ("pack", "digits_cnn@2", "--as", "huggingface"),
        ("fit", "--config", "digits", "--pretrained", "digits_cnn@2"),
    ],
)
def test_a_damaged_file_is_not_used(copied: Path, digits, words: tuple[str, ...]):
    (copied / "seven.png").write_bytes(png(digits[0][0, 0].numpy()))
    change_one_byte(copied / "zoo" / PLACE)
    text = refused(*words, cwd=copied)
    assert "SHA256SUMS says" in text
    assert "it is damaged or was changed" in text


@pytest.mark.slow
def test_predict_shows_a_file_name_that_is_no_text(trained: Path, cli: Cli, tmp_path: Path):
    (tmp_path / os.fsdecode(b"f\xfcr.png")).write_bytes(png(np.zeros((8, 8), np.uint8)))
    for model in (["digits_cnn"], ["--config", str(trained / "runs/digits_cnn/version_0")]):
        assert "f\ufffdr.png" in cli("predict", *model, ".", cwd=tmp_path, PYTHONIOENCODING="utf-8").stdout


def test_predict_needs_no_torch(trained: Path, tmp_path: Path, digits):
    (tmp_path / "digit.png").write_bytes(png(digits[0][0, 0].numpy()))
    code = (
        "import sys; from cnnzoo.commands.predict import predict_files; from pathlib import Path\n"
        f"predict_files({str(trained / 'zoo/digits_cnn/1/model.onnx')!r}, Path('digit.png'))\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=60)


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--layer", "conv1", "--pixel", "3,4,4"],
        pytest.param(["--layer", "conv1"], marks=pytest.mark.slow),
        pytest.param(["--layer", "pool1", "--pixel", "0,0,0"], marks=pytest.mark.slow),
        pytest.param(["--filters"], marks=pytest.mark.slow),
    ],
    ids=" ".join,
)
def test_inspect_draws_what_a_network_sees(trained: Path, tmp_path: Path, digits, options: list[str]):
    (tmp_path / "digit.png").write_bytes(png(digits[0][0, 0].numpy()))
    zoo = ("--zoo", str(trained / "zoo"))
    text = done("inspect", "digits_cnn", "digit.png", *options, "--output", "out/inside.png", *zoo, cwd=tmp_path)
    assert "Wrote out/inside.png" in text
    with Image.open(tmp_path / "out/inside.png") as poster:
        assert poster.format == "PNG"
        assert min(poster.size) > 200


def test_explain_draws_what_mattered(trained: Path, tmp_path: Path, digits):
    (tmp_path / "digit.png").write_bytes(png(digits[0][0, 0].numpy()))
    zoo = ("--zoo", str(trained / "zoo"))
    assert "Wrote digits_cnn-why.png" in done("explain", "digits_cnn", "digit.png", *zoo, cwd=tmp_path)
    assert (tmp_path / "digits_cnn-why.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["inspect", "digits_cnn", "digit.png", "--layer", "conv7"], "there is no layer 'conv7' (there are pixels"),
        (["inspect", "digits_cnn", "digit.png", "--pixel", "0,0,0"], "give --layer too"),
        (["inspect", "digits_cnn", "digit.png", "--layer", "conv1", "--pixel", "1,2"], "a map, a row and a column"),
        (["inspect", "digits_cnn", "digit.png", "--layer", "conv1", "--pixel", "1,2,8"], "10 maps of 8 × 8"),
        (["inspect", "digits_cnn", "text.png"], "text.png: not a PNG or JPEG image"),
        (["inspect", "digits_cnn", "none.png"], "no such image: none.png"),
        (["explain", "digits_cnn", "none.png"], "no such image: none.png"),
        (["explain", "digits_cnn", "digit.png", "--label", "cat"], "give one of 0, 1"),
        (["explain", "digits_cnn", "digit.png", "--output", "why.jpg"], "ends in .png"),
        (["inspect", "digits_cnn", "digit.png", "--output", "."], "ends in .png"),
        (["inspect", "digits_cnn", "digit.png", "--filters", "--layer", "conv1"], "draw different things"),
    ],
)
def test_what_cannot_be_drawn_says_why(trained: Path, tmp_path: Path, digits, words: list[str], says: str):
    (tmp_path / "digit.png").write_bytes(png(digits[0][0, 0].numpy()))
    (tmp_path / "text.png").write_bytes(b"hello")
    finished = command(*words, "--zoo", str(trained / "zoo"), cwd=tmp_path)
    assert finished.returncode
    assert says in finished.stderr
    assert not list(tmp_path.glob("*-*.png"))


def test_list_says_what_it_cannot_show(copied: Path):
    (copied / "zoo" / PLACE).write_bytes(b"no ONNX")
    text = done("list", cwd=copied)
    assert "1 model " in text
    assert "and 1 without a readable card" in text
    listed = command("list", "--json", cwd=copied)
    assert "and 1 without a readable card" in listed.stderr
    assert len(json.loads(listed.stdout)) == text.count("digits_cnn@")


def test_a_list_for_scripts(trained: Path):
    models = json.loads(done("list", "--json", cwd=trained))
    assert [(model["name"], model["version"]) for model in models] == [("digits_cnn", 2), ("digits_cnn", 1)]
    path = "zoo/digits_cnn/1/model.onnx"
    card = json.loads(done("card", "digits_cnn@1", "--json", cwd=trained))
    assert models[1] == card | {"path": path, "bytes": (trained / path).stat().st_size}
    assert json.loads(done("list", "--json", "--min_accuracy", "1", cwd=trained)) == []


def test_a_card_says_what_is_in_the_file(trained: Path):
    card = json.loads(done("card", "digits_cnn@1", "--json", cwd=trained))
    assert card["version"] == 1
    text = re.sub(r"[\s│]+", " ", done("card", "digits_cnn", cwd=trained))  # lines are wrapped anywhere
    for words in (
        "digits_cnn@2",
        "Limitations",
        f"{card['metrics']['accuracy']:.2%}",
        "translation",
        "CC-BY-4.0",
        "seed 0",
    ):
        assert words in text
    counts = card["confusion_matrix"]
    assert sum(map(sum, counts)) == card["metrics"]["n"] == 360
    assert sum(counts[i][i] for i in range(10)) == round(card["metrics"]["accuracy"] * 360)
    assert sum(images for _, _, images in card["reliability"]) == 360
    assert card["metrics"]["accuracy_low"] < card["metrics"]["accuracy"] < card["metrics"]["accuracy_high"]
    assert {len(shares) for shares in card["robustness"]["accuracy"].values()} == {5}
    assert "--runs" not in card["command"]
    assert card["training"]["epochs"] == 8
    assert "there is no pets" in refused("card", "pets", cwd=trained)
    assert "NAME@VERSION" in refused("card", "digits_cnn@new", cwd=trained)


@pytest.mark.slow
def test_verify_repeats_what_the_card_says(trained: Path):
    text = done("verify", "--metrics", "--parity", cwd=trained)
    assert text.count("✓ metrics") == text.count("✓ parity: 360 of 360") == 2
    assert "2 files verified" in text


@pytest.mark.slow
def test_verify_finds_another_accuracy(copied: Path):
    """The card claims a higher accuracy, in a file whose SHA-256 is correct."""
    path = copied / "zoo" / PLACE
    shutil.rmtree(copied / "zoo/digits_cnn/1")
    said = json.loads(done("card", "digits_cnn", "--json", cwd=copied))["metrics"]["accuracy"]
    content = path.read_bytes()
    right, wrong = (f'"accuracy": {value}'.encode() for value in (said, "0." + "9" * (len(str(said)) - 2)))
    assert content.count(right) == 1
    path.write_bytes(content.replace(right, wrong))
    (copied / "zoo/SHA256SUMS").write_text(f"{sha256_of(path)}  {PLACE}\n")
    done("verify", cwd=copied)
    assert "metrics: measured again, accuracy differs from the card" in refused("verify", "--metrics", cwd=copied)


def test_one_changed_byte_is_refused_by_verify(copied: Path):
    change_one_byte(copied / "zoo" / PLACE)
    text = refused("verify", cwd=copied)
    assert "damaged or was changed" in text
    assert "1 of 2 files failed" in text
    assert "1 file verified" in done("verify", "digits_cnn@1", cwd=copied)


def test_one_changed_byte_is_refused_by_the_service(copied: Path):
    change_one_byte(copied / "zoo" / PLACE)
    with in_process(copied / "zoo") as client:
        answer = client.get("/models").json()
        assert [model["version"] for model in answer["models"]] == [1]
        assert "SHA256SUMS says" in answer["refused"][PLACE]
        assert client.get("/models/digits_cnn/versions/2.onnx").status_code == 404


def test_help_lists_every_command_with_its_summary(tmp_path: Path):
    text = done("--help", cwd=tmp_path)
    for name, entry in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(entry.summary)}$", text, re.M)
        if entry.function:
            function = getattr(importlib.import_module(entry.module), entry.function)
            assert entry.summary == (inspect.getdoc(function) or "").splitlines()[0]


def test_a_mistyped_word_gets_the_nearest_name(tmp_path: Path):
    assert "Did you mean verify?" in refused("verfy", cwd=tmp_path)
    assert "expected a command" in refused(cwd=tmp_path)
    finished = command("list", "--datast", "digits", cwd=tmp_path)
    assert finished.returncode == 2
    assert "Did you mean --dataset?" in finished.stderr
    assert len(finished.stderr.splitlines()) <= 3


def test_an_argument_too_many_is_named(tmp_path: Path):
    finished = command("get", "digits_cnn", "mnist_cnn", "--from", ".", cwd=tmp_path)
    assert finished.returncode == 2
    assert "there are more arguments than it takes: mnist_cnn" in finished.stderr


def test_a_missing_dependency_is_named_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(COMMANDS, "fit", COMMANDS["fit"]._replace(module="no_such_module"))
    text = refused("fit", "--config", "digits", cwd=tmp_path)
    assert "`cnnzoo fit` needs no_such_module, which is not installed" in text
    assert len(text.splitlines()) == 1


def test_they_need_no_torch(trained: Path):
    code = (
        "import sys; sys.argv = ['cnnzoo', 'list']; import cnnzoo.__main__; cnnzoo.__main__.main(); "
        "assert 'torch' not in sys.modules and 'lightning' not in sys.modules"
    )
    done_ = subprocess.run([sys.executable, "-c", code], cwd=trained, capture_output=True, text=True)
    assert done_.returncode == 0, done_.stderr


def test_verify_misses_what_is_listed(copied: Path):
    shutil.rmtree(copied / "zoo/digits_cnn/1")
    assert "digits_cnn/1/model.onnx is listed but does not exist" in refused("verify", cwd=copied)


@pytest.mark.parametrize("line", ["hello", "\udcff\udcfe", f"{'0' * 63}  {PLACE}"])
def test_a_garbled_sha256sums_protects_by_refusing(copied: Path, line: str):
    sums = copied / "zoo/SHA256SUMS"
    sums.write_bytes(sums.read_bytes() + line.encode(errors="surrogateescape"))
    assert "line 3 of SHA256SUMS" in refused("verify", cwd=copied)
    zoo = Zoo(copied / "zoo")
    assert zoo.models == []
    assert "nothing readable (line 3" in zoo.refused[PLACE]


def test_upper_case_and_no_last_newline_are_sha256sums_too(copied: Path):
    sums = copied / "zoo/SHA256SUMS"
    lines = [line.split() for line in sums.read_text().splitlines()]
    sums.write_text("\n".join(f"{sha256.upper()}  ./{place}" for sha256, place in lines))
    assert "2 files verified" in done("verify", cwd=copied)
    add_checksum(copied / "zoo", "other/1/model.onnx", "0" * 64)
    assert len(read_checksums(copied / "zoo")) == 3


def said_otherwise(path: Path, **changes: object) -> None:
    """Change a file's card, and update its checksum."""
    proto = onnx.load(path)
    entry = next(e for e in proto.metadata_props if e.key == CARD_KEY)
    entry.value = json.dumps(json.loads(entry.value) | changes)
    onnx.save(proto, path)
    add_checksum(path.parents[2], ModelId.from_path(path).path, sha256_of(path))


# What is changed in a card, and what `verify --metrics` says of it.
LIES: list[tuple[dict[str, Any], str]] = [
    ({"config": {"data": {"class_path": "this.Foo"}}}, "its card's dataset is 'Foo'"),
    ({"config": {}}, "its card's dataset is ''"),
    ({"temperature": 7.5}, "measured again, temperature differs from the card"),
    ({"reliability": [[0.9, 0.9, 360]]}, "measured again, reliability differs from the card"),
    ({"reliability": [[0.9, 0.9, 360]] * 9}, "measured again, reliability differs from the card"),
    ({"classes": list("abcdefghij")}, "its classes are a, b"),
    ({"dataset": {"name": "MNIST"}}, "it was measured on {'name': 'MNIST'}"),
]


@pytest.mark.slow
def test_verify_believes_no_card(copied: Path):
    for version, (changes, _) in enumerate(LIES, start=3):
        path = copied / f"zoo/digits_cnn/{version}/model.onnx"
        path.parent.mkdir()
        shutil.copy(copied / "zoo" / PLACE, path)
        said_otherwise(path, version=version, robustness=None, **changes)  # corruptions take seconds
    text = refused("verify", "--metrics", cwd=copied)
    assert "Beautiful is better than ugly" not in text  # which importing `this` prints
    said = dict(part.split("\n", 1) for part in re.split("^digits_cnn@", text, flags=re.M)[1:])
    assert all("✗" not in said[true] for true in ("1", "2"))
    for version, (_, words) in enumerate(LIES, start=3):
        assert words in said[str(version)]


def test_a_data_folder_without_a_measurement_is_a_mistake(copied: Path):
    finished = command("verify", "--data_dir", "x", cwd=copied)
    assert finished.returncode == 2
    assert "--data_dir is for --metrics and --parity" in finished.stderr


def test_paths_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]):
    say("run:100:.csv [bold]x")
    assert capsys.readouterr().out == "run:100:.csv [bold]x\n"


def test_another_threshold_of_familiarity_is_noticed(copied: Path):
    stated = read_card(copied / "zoo" / PLACE).familiarity
    assert stated
    assert verify._differing(stated, stated) == []
    assert verify._differing({**stated, "threshold": 0.5}, stated) == ["threshold of familiarity"]


def test_a_card_that_cannot_be_shown_is_none(copied: Path):
    path = copied / "zoo" / PLACE
    for changes in (
        {"metrics": {"loss": float("nan")}},
        {"summary": "\x1b[2J"},
        {"summary": "\ud800"},
        {"training": 5},
    ):
        said_otherwise(path, **changes)
        assert "its card" in refused("verify", "digits_cnn@2", cwd=copied)
        assert "1 model" in done("list", cwd=copied)
    said_otherwise(path, metrics={}, summary="", training={}, dataset={"name": "x[/y]"})
    with in_process(copied / "zoo") as client:
        answer = client.get("/models")
        assert answer.status_code == 200
        assert [model["dataset"].get("name") for model in answer.json()["models"]] == ["x[/y]", "digits"]
    assert "x[/y]" in done("list", cwd=copied)


def test_make_zoo_leaves_alone_what_its_recipe_made(copied: Path):
    zoo = ZooFolder(copied / "zoo")
    recipe = yaml.safe_load((RECIPES / "digits.yaml").read_text())
    assert not make_zoo.is_up_to_date(zoo, "digits_cnn", recipe)
    recipe["trainer"]["max_epochs"] = 8
    assert make_zoo.is_up_to_date(zoo, "digits_cnn", recipe)
    recipe["model"]["init_args"]["learning_rate"] *= 2
    assert not make_zoo.is_up_to_date(zoo, "digits_cnn", recipe)
    assert not make_zoo.is_up_to_date(zoo, "mnist_cnn", recipe)
    assert not make_zoo.is_up_to_date(ZooFolder(copied / "nothing"), "digits_cnn", recipe)
    (copied / "zoo" / PLACE).write_bytes(b"")
    assert not make_zoo.is_up_to_date(zoo, "digits_cnn", recipe)


def test_a_folder_that_is_not_there_is_not_answered_from_another(tmp_path: Path):
    for words in (("list",), ("card", "mnist_cnn"), ("verify", "mnist_cnn"), ("verify",)):
        text = refused(*words, "--zoo", "nodir", cwd=tmp_path)
        assert "nodir" in text
        assert "verified" not in text


def test_verify_looks_at_every_file_though_sha256sums_is_garbled(copied: Path):
    (copied / "zoo/SHA256SUMS").write_text(f"{'0' * 64}  ev\x1b[31mil/1/model.onnx\n")
    text = refused("verify", cwd=copied)
    assert text.count("✗ SHA-256: line 1 of SHA256SUMS") == 2
    assert "\x1b[31mil" not in text


def test_a_file_outside_a_zoo_is_not_measured_by_another(copied: Path):
    shutil.copy(copied / "zoo" / PLACE, copied / "digits_cnn-2.onnx")
    assert "is not in a zoo folder" in refused("verify", "digits_cnn-2.onnx", cwd=copied)
    assert "digits_cnn@2" in done("card", "digits_cnn-2.onnx", cwd=copied)
