"""Test the service under overload, at shutdown under load, and after its worker is killed."""

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import onnxruntime as ort
import pytest
from helpers import copy_of_export, free_port, interrupt, running, serve, server_processes, started, write

from cnnzoo.contract.card import ModelCard

pytestmark = pytest.mark.slow

INFER = "/v2/models/mnist_cnn/infer"
RAW = {"Inference-Header-Content-Length": "0"}
IMAGES = 512  # a request


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory, trained: Path) -> Path:
    folder = tmp_path_factory.mktemp("busy") / "zoo"
    shutil.copytree(trained / "zoo", folder)
    card = ModelCard("mnist_cnn", 1, tuple("0123456789"), (1, 28, 28), "mnist")
    write(copy_of_export("mnist_cnn"), card, folder)
    return folder


@pytest.fixture(scope="module")
def asked(zoo: Path) -> list[tuple[bytes, np.ndarray]]:
    """Return a few requests, and the probabilities that ONNX Runtime gives without the service."""
    session = ort.InferenceSession(zoo / "mnist_cnn/1/model.onnx")
    rng = np.random.default_rng(0)
    batches = [rng.integers(0, 256, (IMAGES, 1, 28, 28), dtype=np.uint8) for _ in range(4)]
    return [(b.tobytes(), session.run(["probabilities"], {"images": b})[0]) for b in batches]


def right(response: httpx.Response, expected: np.ndarray) -> bool:
    start = int(response.headers["Inference-Header-Content-Length"]) + expected.nbytes  # the logits come first
    values = np.frombuffer(response.content[start : start + expected.nbytes], "<f4").reshape(expected.shape)
    return bool(np.allclose(values, expected, atol=1e-5))


def test_ten_times_what_it_can_do(zoo: Path, asked: list[tuple[bytes, np.ndarray]]):
    """Send requests at ten times the rate that it can answer, without waiting for answers."""
    with serve(zoo, CNNZOO_MAX_QUEUE="2048") as client:
        start = time.monotonic()
        for body, expected in asked * 5:
            assert right(client.post(INFER, content=body, headers=RAW), expected)
        rate = 10 * 20 / (time.monotonic() - start)
        outcomes = asyncio.run(_flood(client.base_url, asked, rate, seconds=float(os.environ.get("OVERLOAD", "15"))))
        end = time.monotonic()
        while client.post(INFER, content=asked[0][0], headers=RAW).status_code != 200:
            assert time.monotonic() - end < 2
    statuses = Counter(status for status, _, _ in outcomes)
    print(f"asked {rate:.0f} requests/s: {dict(statuses)}, slowest {max(s for _, s, _ in outcomes):.1f} s")
    assert set(statuses) <= {200, 429, 503}, statuses
    assert statuses[200] > 0
    assert statuses[429] + statuses[503] > statuses[200]
    assert all(fine for _, _, fine in outcomes)
    assert max(seconds for status, seconds, _ in outcomes if status == 200) < 10


async def _flood(
    url: httpx.URL, asked: list[tuple[bytes, np.ndarray]], rate: float, seconds: float
) -> list[tuple[int, float, bool]]:
    """Return (status, seconds, fine) of each request. Fine: a correct answer, or a refusal with Retry-After."""
    outcomes: list[tuple[int, float, bool]] = []
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=200)
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client:

        async def ask(i: int) -> None:
            body, expected = asked[i % len(asked)]
            start = time.monotonic()
            response = await client.post(INFER, content=body, headers=RAW)
            fine = right(response, expected) if response.status_code == 200 else "retry-after" in response.headers
            outcomes.append((response.status_code, time.monotonic() - start, fine))

        tasks = []
        begin = time.monotonic()
        for i in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, begin + i / rate - time.monotonic()))
            tasks.append(asyncio.create_task(ask(i)))
        await asyncio.gather(*tasks)
    return outcomes


def test_every_answer_is_right_whoever_asks_at_once(zoo: Path, asked: list[tuple[bytes, np.ndarray]]):
    """64 clients send different images to two networks, in requests of different sizes."""
    digits = ort.InferenceSession(zoo / "digits_cnn/2/model.onnx")
    mnist = ort.InferenceSession(zoo / "mnist_cnn/1/model.onnx")

    async def ask(client: httpx.AsyncClient, seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(10):
            name, session, size = (("digits_cnn", digits, 8), ("mnist_cnn", mnist, 28))[rng.integers(2)]
            images = rng.integers(0, 256, (rng.integers(1, 9), 1, size, size), dtype=np.uint8)
            response = await client.post(f"/v2/models/{name}/infer", content=images.tobytes(), headers=RAW)
            assert response.status_code == 200, response.text
            assert right(response, session.run(["probabilities"], {"images": images})[0])

    async def all_of_them() -> None:
        async with httpx.AsyncClient(
            base_url=client.base_url, timeout=60, limits=httpx.Limits(max_connections=64)
        ) as c:
            await asyncio.gather(*(ask(c, seed) for seed in range(64)))

    with serve(zoo) as client:
        asyncio.run(all_of_them())


@contextlib.contextmanager
def service(zoo: Path, **env: str) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client, Path]]:
    """Start the service with a JSON log. Yield its process, a client and the path of its log."""
    port = free_port()
    log = zoo.parent / f"log-{port}"
    command = [sys.executable, "-m", "cnnzoo", "serve", "--zoo", str(zoo), "--port", str(port)]
    settings = {**os.environ, "CNNZOO_LOG": "json", **env}
    with (
        log.open("w") as out,
        running(*command, env=settings, stdout=out, stderr=subprocess.STDOUT) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
    ):
        started(client, process, log)
        yield process, client, log
        interrupt(process)


def test_a_client_that_has_stopped_reading_does_not_delay_the_end_for_ever(shipped: Path):
    with (
        service(shipped, CNNZOO_TIMEOUT="1") as (process, client, log),
        socket.create_connection(("127.0.0.1", client.base_url.port)) as stuck,
    ):
        stuck.sendall(b"GET /models/mnist_cnn.onnx HTTP/1.1\r\nHost: x\r\n\r\n")  # 13 MB
        assert stuck.recv(100).startswith(b"HTTP/1.1 200")
        time.sleep(1.5)
        process.terminate()
        assert process.wait(25) == 0, log.read_text()[-2000:]


def test_sigterm_under_load_loses_nothing(zoo: Path, asked: list[tuple[bytes, np.ndarray]]):
    """Each request that the service began gets a full and correct answer. Then the service exits with 0."""
    answered: dict[str, bool] = {}

    async def load(url: httpx.URL, process: subprocess.Popen[bytes]) -> None:
        async def ask(worker: int) -> None:
            for i in range(1000):
                body, expected = asked[i % len(asked)]
                name = f"{worker}-{i}"
                try:
                    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
                        response = await client.post(INFER, content=body, headers={**RAW, "X-Request-ID": name})
                except httpx.TransportError:
                    return
                answered[name] = response.status_code == 200 and right(response, expected)

        tasks = [asyncio.create_task(ask(worker)) for worker in range(16)]
        await asyncio.sleep(3)
        process.terminate()
        await asyncio.gather(*tasks)

    with service(zoo, CNNZOO_MAX_QUEUE="100000") as (process, client, log):
        asyncio.run(load(client.base_url, process))
        assert process.wait(30) == 0, log.read_text()[-2000:]
        lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    began = {line["request_id"] for line in lines if line["route"].endswith("/infer")}
    assert len(answered) > 16
    assert all(answered.values())
    assert began == set(answered), "the service began requests whose clients got no answer"


def test_a_killed_worker_is_replaced(zoo: Path, asked: list[tuple[bytes, np.ndarray]]):
    with service(zoo) as (process, client, log):
        (worker,) = (p for p in server_processes(client) if p.pid != process.pid)
        worker.kill()
        deadline = time.monotonic() + 30
        while True:
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            with contextlib.suppress(httpx.TransportError):
                if right(client.post(INFER, content=asked[0][0], headers=RAW), asked[0][1]):
                    break
            time.sleep(0.1)
        assert process.poll() is None
        assert worker.pid not in {p.pid for p in server_processes(client)}


def test_in_a_container_a_killed_worker_ends_the_service(zoo: Path):
    """In a container, BentoML does not restart a worker. The service must exit with an error for the supervisor."""
    with service(zoo, BENTOML_CONTAINERIZED="1") as (process, client, log):
        (worker,) = (p for p in server_processes(client) if p.pid != process.pid)
        worker.kill()
        assert process.wait(60) != 0, log.read_text()[-2000:]
