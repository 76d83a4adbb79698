"""Test the scoring of many images into one file: its answers, its errors, and going on after a kill."""

import csv
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from filelock import FileLock
from helpers import command, png, running
from pyarrow import parquet

from cnnzoo.commands import UsageError, scores_file
from cnnzoo.commands.scores_file import walk, write_scores
from cnnzoo.commands.scoring import Row, Scorer
from cnnzoo.commands.scoring_pool import Score
from cnnzoo.contract.images import decode, to_input
from cnnzoo.contract.names import UNFAMILIAR

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, digits) -> Path:
    """Return a folder with 150 digits in two folders, and two files that are no images."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "b").mkdir()
    for number in range(150):
        page = 255 - np.kron(digits[0][number, 0].numpy(), np.ones((8, 8), np.uint8))
        (folder / ("b" if number % 3 else ".") / f"{number:03}.png").write_bytes(png(page))
    (folder / "b/000a.png").write_bytes(b"hello")
    (folder / "zz.jpg").write_bytes(b"")
    return folder


@pytest.fixture
def scorer(trained: Path) -> Scorer:
    return Scorer.open("digits_cnn", trained / "zoo", top_k=2)


@pytest.fixture
def in_this_process(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Score without processes, which take a second to start."""
    monkeypatch.setattr(scores_file, "scoring_pool", changed(lambda answers: answers, scorer))


def test_a_csv_has_a_row_for_each_image(trained: Path, pictures: Path, tmp_path: Path, scorer: Scorer):
    output = tmp_path / "answers.csv"
    words = (
        "predict",
        "digits_cnn",
        str(pictures),
        "--output",
        str(output),
        "--top_k",
        "2",
        "--zoo",
        str(trained / "zoo"),
    )
    finished = command(*words, cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert "152 images in" in finished.stdout
    assert "2 images of 152 could not be read" in finished.stdout
    rows = list(csv.DictReader(output.read_text().splitlines()))
    assert [row["path"] for row in rows] == [str(path) for path in walk([pictures])]
    assert rows[0].keys() == scorer.columns.keys()
    bad = {Path(row["path"]).name: row["error"] for row in rows if row["error"]}
    assert bad == {"000a.png": "not a PNG or JPEG image", "zz.jpg": "it is empty"}
    good = [row for row in rows if not row["error"]]
    card = scorer.card
    inputs = [to_input(decode(Path(row["path"]).read_bytes()), card.input_shape, card.prepare) for row in good]
    _, probabilities, familiarity = scorer.session.run(np.stack(inputs))
    best = np.sort(probabilities, axis=1)[:, ::-1]
    assert [row["class_1"] for row in good] == [card.classes[label] for label in probabilities.argmax(1)]
    for k in (1, 2):
        np.testing.assert_allclose([float(row[f"probability_{k}"]) for row in good], best[:, k - 1], atol=1e-5)
    np.testing.assert_allclose([float(row["familiarity"]) for row in good], familiarity, atol=1e-4)
    assert [row["unfamiliar"] for row in good] == [str(float(row["familiarity"]) < UNFAMILIAR) for row in good]
    assert not list(tmp_path.glob("*.parts"))


@pytest.mark.usefixtures("in_this_process")
def test_parquet_has_the_same_rows(pictures: Path, tmp_path: Path, scorer: Scorer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(scores_file, "ROWS", 40)
    assert write_scores(scorer, [pictures], tmp_path / "answers.parquet") == (152, 2)
    table = parquet.read_table(tmp_path / "answers.parquet")
    assert table.column_names == list(scorer.columns)
    expected = list(scorer.rows(list(walk([pictures]))))
    for found, row in zip(table.to_pylist(), expected, strict=True):
        for name, value in row.items():
            assert found[name] == (pytest.approx(value, abs=1e-5) if isinstance(value, float) else value)


@pytest.mark.slow
def test_a_killed_scoring_goes_on(trained: Path, pictures: Path, tmp_path: Path, scorer: Scorer):
    whole, again = tmp_path / "whole.csv", tmp_path / "again.csv"
    write_scores(scorer, [pictures], whole)
    script = (
        "import time; from pathlib import Path; from cnnzoo.commands import scores_file\n"
        "from cnnzoo.commands.scoring import Scorer\n"
        f"scores_file.ROWS = 10; scorer = Scorer.open('digits_cnn', Path({str(trained / 'zoo')!r}), top_k=2)\n"
        "write, written = scores_file.Path.replace, []\n"
        "scores_file.Path.replace = lambda *a: (time.sleep(0.2), written.append(a[1].name), write(*a))[2]\n"
        f"print(scores_file.write_scores(scorer, [Path({str(pictures)!r})], Path({str(again)!r})))\n"
        "print(*sorted(name for name in written if name[0].isdigit()))"
    )
    parts = tmp_path / "again.csv.parts"
    with running(sys.executable, "-c", script) as first:
        while len(list(parts.glob("[0-9]*.csv"))) < 3:
            assert first.poll() is None
            time.sleep(0.02)
        processes = psutil.Process(first.pid).children(recursive=True)
        assert processes
        first.kill()
        first.wait()
    assert not psutil.wait_procs(processes, timeout=10)[1]  # none is left
    there = {path.name for path in parts.glob("[0-9]*.csv")}
    assert not again.exists()
    second = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    answer, written = second.stdout.strip().splitlines()
    assert answer == "(152, 2)"
    assert there | set(written.split()) == {f"{number:06}.csv" for number in range(16)}
    assert not there & set(written.split())  # no part is written twice
    rows = [list(csv.DictReader(path.read_text().splitlines())) for path in (whole, again)]
    for one, other in zip(*rows, strict=True):
        assert (one["path"], one["class_1"], one["error"]) == (other["path"], other["class_1"], other["error"])


def changed(change: Callable[[Iterator[list[Row]]], Iterator[list[Row]]], scorer: Scorer) -> Any:
    """Return a `scoring_pool` without processes, whose answers go through a function."""

    @contextmanager
    def pool(*args: Any, **options: Any) -> Iterator[Score]:
        yield lambda batches: change(list(scorer.rows(batch)) for batch in batches)

    return pool


def interrupted(answers: Iterator[list[Row]]) -> Iterator[list[Row]]:
    yield next(answers)
    raise KeyboardInterrupt


@pytest.mark.slow
def test_parts_of_another_job_are_refused(
    pictures: Path, tmp_path: Path, scorer: Scorer, monkeypatch: pytest.MonkeyPatch
):
    output = tmp_path / "answers.csv"
    with monkeypatch.context() as patched:
        patched.setattr(scores_file, "scoring_pool", changed(interrupted, scorer))
        with pytest.raises(KeyboardInterrupt):
            write_scores(scorer, [pictures], output)
    scorer.top_k = 3
    with pytest.raises(UsageError, match=r"answers\.csv\.parts was begun with other columns: remove it"):
        write_scores(scorer, [pictures], output)
    scorer.top_k = 2
    with pytest.raises(UsageError, match="begun with other files"):
        write_scores(scorer, [pictures / "b"], output)
    assert write_scores(scorer, [pictures], output) == (152, 2)


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize(
    ("output", "folder", "says"),
    [
        ("answers.xlsx", "", "ends in .xlsx: give a name"),
        ("answers", "", "no suffix"),
        ("a.csv", "b/none", "no such image"),
    ],
)
def test_what_cannot_be_written_says_why(
    pictures: Path, tmp_path: Path, scorer: Scorer, output: str, folder: str, says: str
):
    with pytest.raises((UsageError, FileNotFoundError), match=says):
        write_scores(scorer, [pictures / folder], tmp_path / output)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("in_this_process")
def test_an_output_that_is_a_folder_is_refused_at_once(pictures: Path, tmp_path: Path, scorer: Scorer):
    (tmp_path / "answers.csv").mkdir()
    with pytest.raises(UsageError, match=r"answers\.csv is a folder: give the name of a file"):
        write_scores(scorer, [pictures], tmp_path / "answers.csv")


@pytest.mark.usefixtures("in_this_process")
def test_a_damaged_job_says_what_to_remove(pictures: Path, tmp_path: Path, scorer: Scorer):
    parts = tmp_path / "answers.csv.parts"
    parts.mkdir()
    (parts / "job.json").write_text("{")
    with pytest.raises(UsageError, match=r"job\.json is damaged: remove .*answers\.csv\.parts"):
        write_scores(scorer, [pictures], tmp_path / "answers.csv")


def test_each_folder_is_walked_once(pictures: Path, tmp_path: Path):
    folder = tmp_path / "pictures"
    shutil.copytree(pictures, folder)
    files = list(walk([folder]))
    (folder / "b/again").symlink_to(folder)
    (folder / "._000.png").write_bytes(b"of macOS")
    assert list(walk([folder, folder / "b"])) == files


@pytest.mark.usefixtures("in_this_process")
def test_odd_names_and_links_are_rows(tmp_path: Path, scorer: Scorer, digits):
    folder = tmp_path / "odd"
    folder.mkdir()
    for name in ('two\nlines, "quoted".png', "no UTF-8: \udcff.png"):
        (folder / name).write_bytes(png(digits[0][0, 0].numpy()))
    (folder / "self.png").symlink_to("self.png")
    (folder / "nothing.png").symlink_to("nowhere.png")
    assert write_scores(scorer, [folder], tmp_path / "answers.csv") == (4, 2)
    with (tmp_path / "answers.csv").open(newline="", encoding="utf-8") as file:
        rows = {Path(row["path"]).name: row for row in csv.DictReader(file)}
    assert rows.keys() == {'two\nlines, "quoted".png', r"no UTF-8: \udcff.png", "self.png", "nothing.png"}
    assert "Too many levels" in rows["self.png"]["error"]
    assert "No such file" in rows["nothing.png"]["error"]
    assert rows['two\nlines, "quoted".png']["class_1"]


@pytest.mark.slow
def test_two_workers_of_ray_answer_the_same(trained: Path, pictures: Path, tmp_path: Path, scorer: Scorer):
    words = ["digits_cnn", str(pictures), str(tmp_path / "answers"), "--workers", "2", "--zoo", str(trained / "zoo")]
    example = ROOT / "examples/batch_scoring_ray.py"
    done = subprocess.run([sys.executable, example, *words], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "152 images in" in done.stdout
    scorer.top_k = 3
    found = {row["path"]: row for row in parquet.read_table(tmp_path / "answers").to_pylist()}
    expected = list(scorer.rows(list(walk([pictures]))))
    assert len(found) == len(expected)
    for row in expected:
        for name, value in row.items():
            there = found[row["path"]][name]
            assert there == (pytest.approx(value, abs=1e-5) if isinstance(value, float) else value)
    again = subprocess.run([sys.executable, example, *words], capture_output=True, text=True, timeout=300)
    assert again.returncode == 2
    assert "answers is not empty: give a new folder" in again.stderr


@pytest.mark.usefixtures("in_this_process")
def test_parts_without_their_job_are_written_anew(pictures: Path, tmp_path: Path, scorer: Scorer):
    parts = tmp_path / "answers.csv.parts"
    parts.mkdir()
    (parts / "000000.csv").write_text("of another model\n" * 152)
    assert write_scores(scorer, [pictures], tmp_path / "answers.csv") == (152, 2)
    assert "another model" not in (tmp_path / "answers.csv").read_text()


def test_files_that_come_meanwhile_move_no_others(
    pictures: Path, tmp_path: Path, scorer: Scorer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(scores_file, "ROWS", 50)
    folder = tmp_path / "pictures"
    shutil.copytree(pictures, folder)
    before = [str(path) for path in walk([folder])]

    def added(answers: Iterator[list[Row]]) -> Iterator[list[Row]]:
        for number, rows in enumerate(answers):
            (folder / f"b/000-{number}.png").write_bytes(b"another")
            yield rows

    monkeypatch.setattr(scores_file, "scoring_pool", changed(added, scorer))
    assert write_scores(scorer, [folder], tmp_path / "answers.csv") == (len(before), 2)
    found = list(csv.DictReader((tmp_path / "answers.csv").read_text().splitlines()))
    assert [row["path"] for row in found] == before


@pytest.mark.usefixtures("in_this_process")
def test_answers_about_files_that_were_replaced_are_not_kept(
    pictures: Path, tmp_path: Path, scorer: Scorer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(scores_file, "ROWS", 50)
    folder, output = tmp_path / "pictures", tmp_path / "answers.csv"
    shutil.copytree(pictures, folder)
    with monkeypatch.context() as patched:
        patched.setattr(scores_file, "scoring_pool", changed(interrupted, scorer))
        with pytest.raises(KeyboardInterrupt):
            write_scores(scorer, [folder], output)
    (folder / "000.png").write_bytes(b"another")
    with pytest.raises(UsageError, match="begun with other files"):
        write_scores(scorer, [folder], output)


@pytest.mark.slow
def test_two_commands_do_not_write_the_same_output(pictures: Path, tmp_path: Path, scorer: Scorer):
    output = tmp_path / "answers.csv"
    (tmp_path / "answers.csv.parts").mkdir()
    with (
        FileLock(tmp_path / "answers.csv.parts/lock"),
        pytest.raises(UsageError, match=r"another command writes .*answers\.csv"),
    ):
        write_scores(scorer, [pictures], output)
    assert write_scores(scorer, [pictures], output) == (152, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.csv"]
