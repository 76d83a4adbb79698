"""Helpers: the service in this process or in its own, commands, images as files, and error responses."""

import contextlib
import functools
import http.server
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import anyio.from_thread
import httpx
import numpy as np
import onnx
import psutil
import pytest
import torch
import uvicorn
from lightning import Trainer
from PIL import Image
from starlette.types import ASGIApp
from torch import nn

import cnnzoo.__main__
from cnnzoo.commands.cli import ZooCLI
from cnnzoo.contract.card import ModelCard
from cnnzoo.contract.names import CARD_KEY
from cnnzoo.contract.zoo_folder import ModelId, ZooFolder
from cnnzoo.models import ImageClassifier, create_model
from cnnzoo.models.export import to_onnx, with_card
from cnnzoo.serve.app import create_app
from cnnzoo.serve.settings import read_settings

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class _Stream(httpx.AsyncByteStream):
    """A request's body for an asynchronous transport."""

    def __init__(self, parts: Any) -> None:
        self._parts = parts

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            yield part


class InProcess(httpx.BaseTransport):
    """Transport that calls an ASGI app on an event loop of its own, from any thread."""

    def __init__(self, app: ASGIApp, portal: anyio.from_thread.BlockingPortal) -> None:
        self._transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._portal = portal

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._portal.call(self._ask, request)

    async def _ask(self, request: httpx.Request) -> httpx.Response:
        stream = _Stream(request.stream)
        asynchronous = httpx.Request(request.method, request.url, headers=request.headers, stream=stream)
        response = await self._transport.handle_async_request(asynchronous)
        content = b"".join([part async for part in response.stream])  # type: ignore[union-attr]
        return httpx.Response(response.status_code, headers=response.headers, content=content)


@contextlib.contextmanager
def in_process(zoo: Path, **settings: Any) -> Iterator[httpx.Client]:
    """Yield a client of the app over `zoo` in this process: in_process(zoo, max_body=10_000)."""
    app = create_app(read_settings(zoo=zoo, **settings))
    with (
        anyio.from_thread.start_blocking_portal("asyncio") as portal,
        portal.wrap_async_context_manager(app.router.lifespan_context(app)),
        httpx.Client(transport=InProcess(app, portal), base_url="http://test") as client,
    ):
        yield client


def quiet(**kwargs: Any) -> Trainer:
    """Return a Trainer on the CPU that prints and writes nothing."""
    return Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **kwargs,
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running(*command: str | Path, **options: Any) -> "Iterator[subprocess.Popen[Any]]":
    """Start a process. If it still runs at the end, kill it and all that it started."""
    with subprocess.Popen(command, **options) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                family = psutil.Process(process.pid)
                for one in [*family.children(recursive=True), family]:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        one.kill()


def interrupt(process: "subprocess.Popen[Any]") -> None:
    """Press Ctrl-C, and wait for the end."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def started(client: httpx.Client, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait until the service answers."""
    for _ in range(600):
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(httpx.TransportError):
            if client.get("/readyz").status_code == 200:
                return
        time.sleep(0.1)
    raise AssertionError(log.read_text())


@contextlib.contextmanager
def serve(zoo: Path, **env: str) -> Iterator[httpx.Client]:
    """Start the service over `zoo` as a process, on a free loopback port. Yield a client."""
    port = free_port()
    log = zoo.parent / f"serve-{port}.log"
    command = [sys.executable, "-m", "cnnzoo", "serve", "--zoo", str(zoo), "--port", str(port)]
    with (
        log.open("w") as out,
        running(*command, env={**os.environ, **env}, stdout=out, stderr=subprocess.STDOUT) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
    ):
        started(client, process, log)
        yield client
        interrupt(process)


@contextlib.contextmanager
def listening(zoo: Path, **settings: Any) -> Iterator[httpx.Client]:
    """Run the app over `zoo` in a thread, on a free loopback port. Yield a client."""
    config = uvicorn.Config(create_app(read_settings(zoo=zoo, **settings)), log_level="critical", ws="none")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=60) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive(), "the service does not stop"


@contextlib.contextmanager
def web_server(handler: Callable[..., http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    """Run a plain web server in a thread. Yield its URL."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def server_processes(client: httpx.Client) -> list[psutil.Process]:
    """Return the processes that listen on the client's port: BentoML's supervisor and its workers."""
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


CLI = [sys.executable, "-m", "cnnzoo.train"]

Cli = Callable[..., subprocess.CompletedProcess[str]]
Here = Callable[..., Finished]


_parsers: dict[str, Any] = {}
_setup_parser = ZooCLI.setup_parser


def _set_parser(self: ZooCLI, *arguments: Any) -> None:
    """Build the parser of a command once: Lightning builds it each time, for a tenth of a second."""
    name = self.command.__name__
    if name not in _parsers:
        _setup_parser(self, *arguments)
        _parsers[name] = self.parser, self.names
    self.parser, self.names = _parsers[name]


def command(*words: str, cwd: Path) -> Finished:
    """Run `cnnzoo` in this process, which saves the start of a process and the import of torch."""
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ZooCLI, "setup_parser", _set_parser)
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


def done(*words: str, cwd: Path) -> str:
    """Run a command that succeeds, and return its output."""
    finished = command(*words, cwd=cwd)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def refused(*words: str, cwd: Path) -> str:
    """Run a command that fails, and return its output and its message."""
    finished = command(*words, cwd=cwd)
    assert finished.returncode == 1
    assert "Traceback" not in finished.stderr
    return finished.stdout + finished.stderr


@functools.cache
def exported(name: str) -> tuple[ImageClassifier, onnx.ModelProto]:
    """Return an untrained network and its ONNX file. Tests share them and must not change them."""
    torch.manual_seed(0)
    model = create_model(name)
    return model, to_onnx(model)


def write(proto: onnx.ModelProto, card: ModelCard, zoo: Path) -> Path:
    """Add a network with its card to a zoo folder, and return the file's path."""
    return ZooFolder(zoo).add(ModelId(card.name, card.version), with_card(proto, card))


def copy_of_export(name: str) -> onnx.ModelProto:
    """Return a copy of an untrained network's ONNX file."""
    proto = onnx.ModelProto()
    proto.CopyFrom(exported(name)[1])
    return proto


def module_outputs(model: ImageClassifier, images: torch.Tensor) -> list[torch.Tensor]:
    """Return what each module answers in eval mode, one view: by forward hooks. Flatten and dropout are left out."""
    seen: list[torch.Tensor] = []
    hooks = [
        module.register_forward_hook(lambda module, inputs, output: seen.append(output))
        for module in model.eval().network.modules()
        if not isinstance(module, (nn.Flatten, nn.Dropout)) and type(module) is not nn.Sequential
    ]
    with torch.no_grad():
        model.logits_in_training(images)
    for hook in hooks:
        hook.remove()
    return seen


def change_one_byte(path: Path) -> None:
    """Change a byte in the middle of the weights, so that the card and the graph stay readable."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def png(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    """Encode uint8 [H, W] or [H, W, 3] as an image file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def error(response: httpx.Response, status: int) -> str:
    """Check the status and the form of an error response, and return its message."""
    assert response.status_code == status, response.text
    body = response.json()
    assert set(body) == {"error", "code", "request_id"}
    assert body["request_id"] == response.headers["x-request-id"]
    return body["error"]


def place(zoo: Path, version: int, source: Path, name: str = "digits_cnn", spoil: Callable | None = None) -> Path:
    """Add the model in `source` as another version, with an atomic rename like `cnnzoo export`."""
    proto = onnx.load(source)
    for entry in proto.metadata_props:
        if entry.key == CARD_KEY:
            card = ModelCard.from_json(entry.value)
            entry.value = ModelCard(**{**card.__dict__, "version": version, "name": name}).to_json()
    if spoil:
        spoil(proto)
    path = zoo / name / str(version) / "model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    onnx.save(proto, temporary)
    os.replace(temporary, path)
    return path
