"""`cnnzoo get`: from a service, a web server and a folder."""

import contextlib
import functools
import http.server
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from filelock import FileLock
from helpers import change_one_byte, done, listening, refused, running, web_server

from cnnzoo.commands import get

COMMAND = [sys.executable, "-m", "cnnzoo"]
PLACE = "digits_cnn/2/model.onnx"


class Ranges(http.server.SimpleHTTPRequestHandler):
    """Python's file server, without ranges. With a `limit`, it knows ranges and breaks off after `limit` bytes."""

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
    """Serve the zoo folder from a plain web server. Yield its URL and its handler class."""
    handler = type("Handler", (Ranges,), {"asked": []})
    with web_server(functools.partial(handler, directory=str(copied / "zoo"))) as url:
        yield url, handler


@pytest.mark.parametrize("kind", ["service", "web", "folder"])
def test_one_changed_byte_is_refused_by_get(copied: Path, web: tuple, tmp_path: Path, kind: str):
    other = tmp_path / "other"
    other.mkdir()
    if kind == "service":
        with listening(copied / "zoo", rescan=0) as client:
            change_one_byte(copied / "zoo" / PLACE)  # after the service has looked at it
            text = refused("get", "digits_cnn", "--from", str(client.base_url), cwd=other)
            assert "503, digits_cnn 2 has changed on disk" in text
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
    assert "1 file verified" in done("verify", cwd=tmp_path)
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


def test_get_goes_on_where_it_was_broken_off(web: tuple, copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(get.time, "sleep", lambda seconds: None)  # between two tries
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
    assert "remove that folder first" in refused("get", "digits_cnn", "--from", web[0], cwd=other)
    assert (other / "zoo" / PLACE).read_bytes() == before
    (other / "zoo" / PLACE).unlink()
    assert "remove that folder first" in refused("get", "digits_cnn", "--from", web[0], cwd=other)
    shutil.rmtree((other / "zoo" / PLACE).parent)
    done("get", "digits_cnn", "--from", web[0], cwd=other)


def test_get_from_what_is_no_source(tmp_path: Path):
    assert "has no SHA256SUMS" in refused("get", "digits_cnn", "--from", str(tmp_path), cwd=tmp_path)
    with web_server(functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))) as url:
        text = refused("get", "digits_cnn", "--from", url, cwd=tmp_path)
    assert "neither a service of cnnzoo nor a zoo folder" in text


def test_two_at_once_fetch_it_once(web: tuple, copied: Path, tmp_path: Path):
    address, handler = web
    other = tmp_path / "other"
    other.mkdir()
    command = [*COMMAND, "get", "digits_cnn", "--from", address]
    both = (running(*command, cwd=other, stdout=subprocess.DEVNULL) for _ in range(2))
    with next(both) as first, next(both) as second:
        assert [process.wait(60) for process in (first, second)] == [0, 0]
    assert [path for path in handler.asked if path.endswith(".onnx")] == [f"/{PLACE}"]
    assert "1 file verified" in done("verify", cwd=other)
    assert sorted(p.name for p in (other / "zoo").iterdir()) == ["SHA256SUMS", "digits_cnn"]


def test_get_notes_a_file_that_was_not_listed(copied: Path, tmp_path: Path):
    other = tmp_path / "other"
    shutil.copytree(copied / "zoo/digits_cnn/2", other / "zoo/digits_cnn/2")
    assert "SHA256SUMS does not list the file" in refused("verify", cwd=other)
    done("get", "digits_cnn", "--from", str(copied / "zoo"), cwd=other)
    assert "1 file verified" in done("verify", cwd=other)


def test_the_key_goes_to_who_asks_for_it(web: tuple, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    address, handler = web
    handler.do_GET = lambda self: (self.asked.append(str(self.headers.get("Authorization"))), self.send_error(404))
    monkeypatch.setenv("CNNZOO_API_KEY", "secret")
    refused("get", "digits_cnn@1", "--from", address, cwd=tmp_path)
    assert set(handler.asked) == {"None"}
    with listening(trained / "zoo", api_key="secret") as client:
        url = str(client.base_url)
        done("get", "digits_cnn@1", "--from", url, cwd=tmp_path)
        monkeypatch.delenv("CNNZOO_API_KEY")
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


def test_get_writes_where_it_says(copied: Path, tmp_path: Path):
    other = tmp_path / "other"
    other.mkdir()
    help_text = done("get", "--help", cwd=other)
    assert "(default: CNNZOO_ZOO, else zoo/)" in " ".join(help_text.replace("│", " ").split())
    done("get", "digits_cnn", "--from", str(copied / "zoo"), "--zoo", str(other / "mine"), cwd=other)
    assert (other / "mine" / PLACE).is_file()
    assert not (other / "zoo").exists()


def test_nothing_is_fetched_that_could_not_be_noted(copied: Path, tmp_path: Path):
    other = tmp_path / "other"
    (other / "zoo").mkdir(parents=True)
    (other / "zoo/SHA256SUMS").write_text("# my sums\n")
    assert "line 1 of SHA256SUMS" in refused("get", "digits_cnn", "--from", str(copied / "zoo"), cwd=other)
    assert [path.name for path in (other / "zoo").iterdir()] == ["SHA256SUMS"]


def test_a_failed_get_keeps_an_empty_zoo_folder(copied: Path, tmp_path: Path):
    other = tmp_path / "other"
    (other / "zoo").mkdir(parents=True)
    change_one_byte(copied / "zoo" / PLACE)
    refused("get", "digits_cnn", "--from", str(copied / "zoo"), cwd=other)
    assert list(other.iterdir()) == [other / "zoo"]
    (other / "zoo").rmdir()
    refused("get", "digits_cnn", "--from", str(copied / "zoo"), cwd=other)
    assert list(other.iterdir()) == []  # the command removes the folder that it made itself


def test_a_listed_file_that_is_missing_leaves_nothing(copied: Path, tmp_path: Path):
    (copied / "zoo" / PLACE).unlink()
    text = refused("get", "digits_cnn@2", "--from", str(copied / "zoo"), "--zoo", str(tmp_path / "new"), cwd=tmp_path)
    assert "No such file" in text
    assert not (tmp_path / "new").exists()


def test_the_lock_of_a_waiting_process_stays_valid(copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """If the lock file were deleted and made again, two processes could hold the lock at the same time."""
    locks: list[Path] = []

    class Recorded(FileLock):
        def __init__(self, path: Path, **options: Any) -> None:
            locks.append(Path(path))
            super().__init__(path, **options)

    monkeypatch.setattr(get, "FileLock", Recorded)
    other = tmp_path / "other"
    other.mkdir()
    done("get", "digits_cnn", "--from", str(copied / "zoo"), cwd=other)
    first = locks[0].stat().st_ino
    done("get", "digits_cnn", "--from", str(copied / "zoo"), cwd=other)
    assert locks[0] == locks[1]
    assert locks[1].stat().st_ino == first


def test_a_new_zoo_can_be_read_by_others(copied: Path, tmp_path: Path):
    before = os.umask(0o077)
    try:
        get.fetch("digits_cnn", None, str(copied / "zoo"), tmp_path / "new")
    finally:
        os.umask(before)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o755


def test_a_source_that_fails_says_how(tmp_path: Path):
    class Busy(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(503)

        def log_message(self, *_: object) -> None:
            pass

    with web_server(Busy) as url:
        text = refused("get", "digits_cnn", "--from", url, cwd=tmp_path)
    assert "/models: HTTP 503" in text
    assert "neither" not in text


def test_the_home_folder_in_an_option(copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    done("get", "digits_cnn", "--from", str(copied / "zoo"), "--zoo=~/mine", cwd=tmp_path)
    assert (tmp_path / "mine" / PLACE).is_file()
    assert "1 file verified" in done("verify", "--zoo=~/mine", cwd=tmp_path)
    assert "1 model" in done("list", "--zoo=~/mine", cwd=tmp_path)
