"""A running service, pictures as files, and errors in their one form."""

import contextlib
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

import cnnzoo.__main__

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def started(client: httpx.Client, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Waits until the service answers."""
    for _ in range(600):
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(httpx.TransportError):
            if client.get("/readyz").status_code == 200:
                return
        time.sleep(0.1)
    raise AssertionError(log.read_text())


@contextlib.contextmanager
def serve(zoo: Path, **env: str) -> Iterator[httpx.Client]:
    """The real service over `zoo`, as a process of its own on a free loopback port."""
    port = free_port()
    log = zoo.parent / f"serve-{port}.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "cnnzoo.serve", "--zoo", str(zoo), "--port", str(port)],
            env={**os.environ, **env},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            started(client, process, log)
            yield client
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def server_processes(client: httpx.Client) -> list[psutil.Process]:
    """The processes that listen on the client's port: BentoML's supervisor and its workers."""
    port = client.base_url.port
    listening = {
        c.pid for c in psutil.net_connections("tcp") if c.laddr and c.laddr.port == port and c.status == "LISTEN"
    }
    return [psutil.Process(pid) for pid in listening if pid]


class Finished(NamedTuple):
    """Outcome of a command."""

    returncode: int
    stdout: str
    stderr: str


def command(*words: str, cwd: Path) -> Finished:
    """Run `cnnzoo` in this process, which saves the start of a process and the import of torch."""
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["cnnzoo", *words])
        patch.chdir(cwd)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                cnnzoo.__main__.main()
            except SystemExit as stop:
                code = stop.code
    if isinstance(code, str):  # as the interpreter treats sys.exit("message")
        err.write(code)
        code = 1
    return Finished(int(code or 0), out.getvalue(), err.getvalue())  # type: ignore[call-overload]


def png(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    """uint8 [H, W] or [H, W, 3] as the content of an image file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def error(response: httpx.Response, status: int) -> str:
    """The message of an error answer, which has the one form."""
    assert response.status_code == status, response.text
    body = response.json()
    assert set(body) == {"error", "code", "request_id"}
    assert body["request_id"] == response.headers["x-request-id"]
    return body["error"]
