"""`cnnzoo list`, `card`, `get` and `verify`, as processes, over real files, a real service and a real web server."""

import contextlib
import functools
import hashlib
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import onnx
import pytest
import yaml
from helpers import serve

from cnnzoo.commands import make_zoo
from cnnzoo.commands.config import SHIPPED
from cnnzoo.contract.checksums import add_checksum, read_checksums, sha256_of
from cnnzoo.contract.names import CARD_KEY
from cnnzoo.contract.zoo_folder import ModelId
from cnnzoo.serve.zoo import Zoo

COMMAND = [sys.executable, "-m", "cnnzoo"]
PLACE = "digits_cnn/2/model.onnx"


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *words], cwd=cwd, capture_output=True, text=True, timeout=120)


def done(*words: str, cwd: Path) -> str:
    process = run(*words, cwd=cwd)
    assert process.returncode == 0, process.stderr
    return process.stdout


def refused(*words: str, cwd: Path) -> str:
    process = run(*words, cwd=cwd)
    assert process.returncode == 1
    assert "Traceback" not in process.stderr
    return process.stdout + process.stderr


def change_one_byte(path: Path) -> None:
    """In the middle of the weights: the card and the graph stay readable."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.fixture
def copied(tmp_path: Path, trained: Path) -> Path:
    """A folder with a zoo/ of its own: digits_cnn, versions 1 and 2."""
    shutil.copytree(trained / "zoo", tmp_path / "zoo")
    return tmp_path


class Ranges(http.server.SimpleHTTPRequestHandler):
    """Python's file server, which knows no ranges, and one that breaks off after `limit` bytes if it has one."""

    limit: int | None = None
    asked: list[str]

    def do_GET(self) -> None:
        type(self).asked.append(f"{self.path} {self.headers.get('Range', '')}".strip())
        if self.limit is None or not self.path.endswith(".onnx"):
            return super().do_GET()
        content = Path(self.translate_path(self.path)).read_bytes()
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : start + self.limit])
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web(copied: Path) -> Iterator[tuple[str, type[Ranges]]]:
    """The zoo folder on a plain web server: its address, and the handler's class."""
    handler = type("Handler", (Ranges,), {"asked": []})
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(handler, directory=str(copied / "zoo"))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", handler
    server.shutdown()


def test_export_notes_what_sha256sum_would(trained: Path):
    listed = read_checksums(trained / "zoo")
    assert listed.keys() == {"digits_cnn/1/model.onnx", "digits_cnn/2/model.onnx"}
    for place, sha256 in listed.items():
        assert hashlib.sha256((trained / "zoo" / place).read_bytes()).hexdigest() == sha256


def test_list_shows_the_models_and_filters_them(trained: Path):
    text = done("list", cwd=trained)
    assert "digits_cnn@2" in text
    assert "digits_cnn@1" in text
    assert "2 models" in text
    for words in (("--dataset", "mnist"), ("--max_size", "0.01"), ("--min_accuracy", "1")):
        assert "0 models" in done("list", *words, cwd=trained)
    assert "2 models" in done("list", "--dataset", "DIGITS", "--max_size", "1", "--min_accuracy", "0.5", cwd=trained)
    for words in (("--max_size", "-1"), ("--min_accuracy", "1.01"), ("--min_accuracy", "nan")):
        process = run("list", *words, cwd=trained)
        assert process.returncode == 2
        assert f"argument {words[0]}: expected a number from 0" in process.stderr


def test_list_says_what_it_cannot_show(copied: Path):
    (copied / "zoo" / PLACE).write_bytes(b"no ONNX")
    text = done("list", cwd=copied)
    assert "1 model " in text
    assert "and 1 without a readable card" in text


def test_a_card_says_what_is_in_the_file(trained: Path):
    card = json.loads(done("card", "digits_cnn@1", "--json", cwd=trained))
    assert card["version"] == 1
    text = done("card", "digits_cnn", cwd=trained)
    for words in (
        "digits_cnn@2",
        "Limits",
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


def test_verify_repeats_what_the_card_says(trained: Path):
    text = done("verify", "--metrics", "--parity", cwd=trained)
    assert text.count("✓ metrics") == text.count("✓ parity: 360 of 360") == 2
    assert "All 2 files" in text


def test_verify_finds_another_accuracy(copied: Path):
    """A card that says more than is true, in a file whose SHA-256 is listed all the same."""
    path = copied / "zoo" / PLACE
    shutil.rmtree(copied / "zoo/digits_cnn/1")
    said = json.loads(done("card", "digits_cnn", "--json", cwd=copied))["metrics"]["accuracy"]
    content = path.read_bytes()
    right, wrong = (f'"accuracy": {value}'.encode() for value in (said, "0." + "9" * (len(str(said)) - 2)))
    assert content.count(right) == 1
    path.write_bytes(content.replace(right, wrong))
    (copied / "zoo/SHA256SUMS").write_text(f"{sha256_of(path)}  {PLACE}\n")
    done("verify", cwd=copied)
    assert "metrics: measured again, its card's accuracy come out otherwise" in refused(
        "verify", "--metrics", cwd=copied
    )


def test_one_changed_byte_is_refused_by_verify(copied: Path):
    change_one_byte(copied / "zoo" / PLACE)
    text = refused("verify", cwd=copied)
    assert "damaged or was changed" in text
    assert "1 of 2 files failed" in text
    assert "All 1 files" in done("verify", "digits_cnn@1", cwd=copied)


def test_one_changed_byte_is_refused_by_the_service(copied: Path):
    change_one_byte(copied / "zoo" / PLACE)
    with serve(copied / "zoo") as client:
        answer = client.get("/models").json()
        assert [model["version"] for model in answer["models"]] == [1]
        assert "SHA256SUMS says" in answer["refused"][PLACE]
        assert client.get("/models/digits_cnn/versions/2.onnx").status_code == 404


@pytest.mark.parametrize("kind", ["service", "web", "folder"])
def test_one_changed_byte_is_refused_by_get(copied: Path, web: tuple, tmp_path: Path, kind: str):
    other = tmp_path / "other"
    other.mkdir()
    if kind == "service":
        with serve(copied / "zoo", CNNZOO_RESCAN="0") as client:
            change_one_byte(copied / "zoo" / PLACE)  # after the service has looked at it
            text = refused("get", "digits_cnn", "--from", str(client.base_url), cwd=other)
            assert "503" in text
    else:
        change_one_byte(copied / "zoo" / PLACE)
        text = refused("get", "digits_cnn", "--from", web[0] if kind == "web" else str(copied / "zoo"), cwd=other)
        assert "nothing was kept" in text
    assert not list(other.rglob("*.onnx"))
    assert not list((other / "zoo").glob(".g*"))


def test_get_from_a_service(served: httpx.Client, trained: Path, tmp_path: Path):
    done("get", "digits_cnn@1", "--from", str(served.base_url), cwd=tmp_path)
    fetched = tmp_path / "zoo/digits_cnn/1/model.onnx"
    assert fetched.read_bytes() == (trained / "zoo/digits_cnn/1/model.onnx").read_bytes()
    assert "All 1 files" in done("verify", cwd=tmp_path)
    assert "has no version 7 of digits_cnn: it has 1, 2" in refused(
        "get", "digits_cnn@7", "--from", str(served.base_url), cwd=tmp_path
    )


def test_get_from_any_web_server_takes_the_newest_and_nothing_twice(web: tuple, copied: Path, tmp_path: Path):
    address, handler = web
    other = tmp_path / "other"
    other.mkdir()
    done("get", "digits_cnn", "--from", address, cwd=other)
    assert (other / "zoo" / PLACE).read_bytes() == (copied / "zoo" / PLACE).read_bytes()
    assert sorted(p.name for p in (other / "zoo").iterdir()) == ["SHA256SUMS", "digits_cnn"]
    done("get", "digits_cnn", "--from", address, cwd=other)
    assert [path for path in handler.asked if path.endswith(".onnx")] == [f"/{PLACE}"]
    assert "has no model pets" in refused("get", "pets", "--from", address, cwd=other)


def test_get_goes_on_where_it_was_broken_off(web: tuple, copied: Path, tmp_path: Path):
    address, handler = web
    other = tmp_path / "other"
    other.mkdir()
    size = (copied / "zoo" / PLACE).stat().st_size
    handler.limit = size // 8  # five tries do not get all of it
    refused("get", "digits_cnn", "--from", address, cwd=other)
    assert not list(other.rglob("*.onnx"))
    done("get", "digits_cnn", "--from", address, cwd=other)
    assert (other / "zoo" / PLACE).read_bytes() == (copied / "zoo" / PLACE).read_bytes()
    starts = [int(path.split("=")[1][:-1]) for path in handler.asked if "=" in path]
    assert starts == [handler.limit * n for n in range(1, len(starts) + 1)]


def test_get_does_not_replace_another_file(web: tuple, copied: Path, tmp_path: Path):
    other = tmp_path / "other"
    shutil.copytree(copied / "zoo", other / "zoo")
    change_one_byte(other / "zoo" / PLACE)
    before = (other / "zoo" / PLACE).read_bytes()
    assert "is another file" in refused("get", "digits_cnn", "--from", web[0], cwd=other)
    assert (other / "zoo" / PLACE).read_bytes() == before


def test_get_from_what_is_no_source(tmp_path: Path):
    assert "has no SHA256SUMS" in refused("get", "digits_cnn", "--from", str(tmp_path), cwd=tmp_path)
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    text = refused("get", "digits_cnn", "--from", f"http://127.0.0.1:{server.server_port}", cwd=tmp_path)
    server.shutdown()
    assert "neither a service of cnnzoo nor a zoo folder" in text


def test_they_need_no_torch(trained: Path):
    code = (
        "import sys; sys.argv = ['cnnzoo', 'list']; import cnnzoo.__main__; cnnzoo.__main__.main(); "
        "assert 'torch' not in sys.modules and 'lightning' not in sys.modules"
    )
    done_ = subprocess.run([sys.executable, "-c", code], cwd=trained, capture_output=True, text=True)
    assert done_.returncode == 0, done_.stderr


def test_two_at_once_fetch_it_once(web: tuple, copied: Path, tmp_path: Path):
    address, handler = web
    other = tmp_path / "other"
    other.mkdir()
    both = [
        subprocess.Popen([*COMMAND, "get", "digits_cnn", "--from", address], cwd=other, stdout=subprocess.DEVNULL)
        for _ in range(2)
    ]
    assert [process.wait(60) for process in both] == [0, 0]
    assert [path for path in handler.asked if path.endswith(".onnx")] == [f"/{PLACE}"]
    assert "All 1 files" in done("verify", cwd=other)
    assert sorted(p.name for p in (other / "zoo").iterdir()) == ["SHA256SUMS", "digits_cnn"]


def test_get_notes_a_file_that_was_not_listed(copied: Path, tmp_path: Path):
    other = tmp_path / "other"
    shutil.copytree(copied / "zoo/digits_cnn/2", other / "zoo/digits_cnn/2")
    assert "so nobody says what it should be" in refused("verify", cwd=other)
    done("get", "digits_cnn", "--from", str(copied / "zoo"), cwd=other)
    assert "All 1 files" in done("verify", cwd=other)


def test_verify_misses_what_is_listed(copied: Path):
    shutil.rmtree(copied / "zoo/digits_cnn/1")
    assert "digits_cnn/1/model.onnx is listed and not there" in refused("verify", cwd=copied)


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
    assert "All 2 files" in done("verify", cwd=copied)
    add_checksum(copied / "zoo", "other/1/model.onnx", "0" * 64)
    assert len(read_checksums(copied / "zoo")) == 3


def said_otherwise(path: Path, **changes: object) -> None:
    """The file with another card, listed as it then is."""
    proto = onnx.load(path)
    entry = next(e for e in proto.metadata_props if e.key == CARD_KEY)
    entry.value = json.dumps(json.loads(entry.value) | changes)
    onnx.save(proto, path)
    add_checksum(path.parents[2], ModelId.from_path(path).path, sha256_of(path))


# What is changed in a card, and what `verify --metrics` says of it.
LIES = [
    ({"config": {"data": {"class_path": "this.Foo"}}}, "names no dataset of cnnzoo's: 'Foo'"),
    ({"config": {}}, "names no dataset of cnnzoo's: ''"),
    ({"temperature": 7.5}, "its card's temperature come out otherwise"),
    ({"reliability": [[0.9, 0.9, 360]]}, "its card's reliability come out otherwise"),
    ({"classes": list("abcdefghij")}, "its classes are a, b"),
    ({"dataset": {"name": "MNIST"}}, "it was measured on {'name': 'MNIST'}"),
]


def test_verify_believes_no_card(copied: Path):
    for version, (changes, _) in enumerate(LIES, start=3):
        path = copied / f"zoo/digits_cnn/{version}/model.onnx"
        path.parent.mkdir()
        shutil.copy(copied / "zoo" / PLACE, path)
        said_otherwise(path, version=version, **changes)
    text = refused("verify", "--metrics", cwd=copied)
    assert "Beautiful is better than ugly" not in text  # which importing `this` prints
    said = dict(part.split("\n", 1) for part in re.split("^digits_cnn@", text, flags=re.M)[1:])
    assert all("✗" not in said[true] for true in ("1", "2"))
    for version, (_, words) in enumerate(LIES, start=3):
        assert words in said[str(version)]


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
    with serve(copied / "zoo") as client:
        answer = client.get("/models")
        assert answer.status_code == 200
        assert [model["dataset"].get("name") for model in answer.json()["models"]] == ["x[/y]", "digits"]
    assert "x[/y]" in done("list", cwd=copied)


def test_the_key_goes_to_who_asks_for_it(web: tuple, trained: Path, tmp_path: Path):
    address, handler = web
    handler.do_GET = lambda self: (self.asked.append(str(self.headers.get("Authorization"))), self.send_error(404))
    key = {**os.environ, "CNNZOO_API_KEY": "secret"}
    command = [*COMMAND, "get", "digits_cnn@1", "--from"]
    assert subprocess.run([*command, address], cwd=tmp_path, env=key, capture_output=True).returncode == 1
    assert set(handler.asked) == {"None"}
    with serve(trained / "zoo", CNNZOO_API_KEY="secret") as client:
        url = str(client.base_url)
        assert subprocess.run([*command, url], cwd=tmp_path, env=key).returncode == 0
        assert "asks for a key" in refused("get", "digits_cnn@2", "--from", url, cwd=tmp_path)


def test_a_source_that_never_ends_is_left(web: tuple, tmp_path: Path):
    address, handler = web

    def endless(self: Ranges) -> None:
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):
            while True:
                self.wfile.write(bytes(2**20))

    handler.do_GET = endless
    assert "answers with more than 4,194,304 bytes" in refused("get", "digits_cnn", "--from", address, cwd=tmp_path)


def test_make_zoo_leaves_alone_what_its_recipe_made(copied: Path):
    recipe = yaml.safe_load((SHIPPED / "digits.yaml").read_text())
    assert not make_zoo.is_made(copied / "zoo", "digits_cnn", recipe)  # it was trained for fewer epochs
    recipe["trainer"]["max_epochs"] = 8
    assert make_zoo.is_made(copied / "zoo", "digits_cnn", recipe)
    recipe["model"]["init_args"]["learning_rate"] *= 2
    assert not make_zoo.is_made(copied / "zoo", "digits_cnn", recipe)
    assert not make_zoo.is_made(copied / "zoo", "mnist_cnn", recipe)
    assert not make_zoo.is_made(copied / "nothing", "digits_cnn", recipe)
    (copied / "zoo" / PLACE).write_bytes(b"")
    assert not make_zoo.is_made(copied / "zoo", "digits_cnn", recipe)


def test_a_folder_that_is_not_there_is_not_answered_from_another(tmp_path: Path):
    for words in (("list",), ("card", "mnist_cnn"), ("verify", "mnist_cnn"), ("verify",)):
        text = refused(*words, "--zoo", "nodir", cwd=tmp_path)
        assert "nodir" in text
        assert "All" not in text


def test_get_writes_where_it_says(copied: Path, tmp_path: Path):
    other = tmp_path / "other"
    other.mkdir()
    help_text = done("get", "--help", cwd=other)
    assert "(default: zoo)" in " ".join(help_text.split())
    done("get", "digits_cnn", "--from", str(copied / "zoo"), "--zoo", str(other / "mine"), cwd=other)
    assert (other / "mine" / PLACE).is_file()
    assert not (other / "zoo").exists()


def test_nothing_is_fetched_that_could_not_be_noted(copied: Path, tmp_path: Path):
    other = tmp_path / "other"
    (other / "zoo").mkdir(parents=True)
    (other / "zoo/SHA256SUMS").write_text("# my sums\n")
    assert "line 1 of SHA256SUMS" in refused("get", "digits_cnn", "--from", str(copied / "zoo"), cwd=other)
    assert [path.name for path in (other / "zoo").iterdir()] == ["SHA256SUMS"]


def test_verify_looks_at_every_file_though_sha256sums_is_garbled(copied: Path):
    (copied / "zoo/SHA256SUMS").write_text(f"{'0' * 64}  ev\x1b[31mil/1/model.onnx\n")
    text = refused("verify", cwd=copied)
    assert text.count("✗ SHA-256: line 1 of SHA256SUMS") == 2
    assert "\x1b[31mil" not in text


def test_a_file_outside_a_zoo_is_not_measured_by_another(copied: Path):
    shutil.copy(copied / "zoo" / PLACE, copied / "digits_cnn-2.onnx")
    assert "is in no zoo folder" in refused("verify", "digits_cnn-2.onnx", cwd=copied)
    assert "digits_cnn@2" in done("card", "digits_cnn-2.onnx", cwd=copied)
