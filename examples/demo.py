"""Demo of the whole path: train, test, export, serve, send requests, download and verify.

It uses what a user has: the command line, the HTTP service, and a downloaded file with onnxruntime alone.
"""

import contextlib
import hashlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image
from rich.console import Console
from rich.table import Table

from cnnzoo.datamodules import DigitsDataModule

ZOO = Path("build/demo/zoo")  # a zoo of its own: a service may follow the user's
MIN_ACCURACY = 0.97  # on the held-out digits
NAME = "digits_cnn"
CLI = [sys.executable, "-m", "cnnzoo"]
console = Console()
web = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy leads to a loopback address


def main() -> None:
    """Run the demo. Raises AssertionError if a figure is not as expected."""
    rows: list[tuple[str, str]] = []

    console.rule("train, test and export")
    seconds = timed(lambda: run(*CLI, "fit", "--config", "digits"))
    run(*CLI, "test", "--config", "digits")
    run(*CLI, "export", "--config", "digits", "--zoo", str(ZOO))
    accuracy = json.loads(newest_run().joinpath("metrics.json").read_text())["accuracy"]
    assert accuracy >= MIN_ACCURACY, f"the test accuracy is {accuracy:.2%}: expected at least {MIN_ACCURACY:.0%}"
    rows.append(("trained", f"{NAME} in {seconds:.0f} s, start-up included"))
    rows.append(("tested", f"{accuracy:.2%} of the held-out digits"))

    console.rule("serve and send requests")
    data = DigitsDataModule()
    images, labels = data.load(train=False)
    with service() as url:
        model = next(m for m in get_json(f"{url}/models")["models"] if m["name"] == NAME)
        answers = [classify(f"{url}{model['links']['predict']}", png(image)) for image in images.numpy()]
        correct = int((np.array([int(a) for a in answers]) == labels.numpy()).sum())
        console.print(f"{correct} of {len(answers)} held-out digits, sent as PNG files, were classified correctly")
        with web.open(f"{url}{model['links']['download']}") as response:
            content, etag = response.read(), response.headers["ETag"]
    rows.append(("served", f"version {model['version']} at {url}, {correct} of {len(answers)} PNG files correct"))

    digest = hashlib.sha256(content).hexdigest()
    assert digest == etag.strip('"') == model["sha256"], f"SHA-256 {digest}, ETag {etag}, /models {model['sha256']}"
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    probabilities = session.run(["probabilities"], {"images": images.numpy()})[0]
    labels_found = [model["classes"][c] for c in probabilities.argmax(1)]
    assert labels_found == answers, "the downloaded file and the service give different answers"
    rows.append(("downloaded", f"{len(content):,} bytes, SHA-256 {digest[:12]}… as in ETag and /models"))
    rows.append(("verified", f"onnxruntime alone gives the same {len(answers)} answers"))

    table = Table(title="Results", show_header=False)
    for row in rows:
        table.add_row(*row)
    console.print(table)
    print(f"Look at  {newest_run()}/: learning_curves.png, confusion_matrix.png, mistakes.png")
    print(f"Next     make serve ZOO={ZOO}       (this model, at http://127.0.0.1:3000; make serve alone: all)")
    print("         .venv/bin/cnnzoo fit --config mnist  (the lecture's MNIST network)")


def run(*command: str) -> None:
    """Run a command. Raises CalledProcessError if it fails."""
    subprocess.run(command, check=True)


def timed(action: Callable[[], None]) -> float:
    """Run an action and return the seconds it took."""
    start = time.monotonic()
    action()
    return time.monotonic() - start


def newest_run() -> Path:
    """Return the newest run folder."""
    folders = Path("runs", NAME).glob("version_*")
    return max(folders, key=lambda folder: int(folder.name.removeprefix("version_")))


@contextlib.contextmanager
def service() -> Iterator[str]:
    """Start the service on a free loopback port, yield its URL, and stop it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "cnnzoo", "serve", "--zoo", str(ZOO), "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile("w+") as log:
        environment = {name: value for name, value in os.environ.items() if name != "CNNZOO_API_KEY"}
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        try:
            wait_until_ready(url, process)
            yield url
        except BaseException:
            log.seek(0)
            sys.stderr.write(log.read()[-5000:])
            raise
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def wait_until_ready(url: str, process: "subprocess.Popen[bytes]") -> None:
    """Wait until the service is ready. Exits if it ends, or after a minute."""
    for _ in range(600):
        if process.poll() is not None:
            sys.exit(f"the service ended with exit code {process.returncode}")
        try:
            web.open(f"{url}/readyz").close()
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    sys.exit("the service was not ready after a minute")


def get_json(url: str) -> dict[str, Any]:
    """Return the JSON at a URL."""
    with web.open(url) as response:
        return json.load(response)


def png(image: np.ndarray) -> bytes:
    """Encode an image, uint8 [1, H, W], as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(image[0]).save(buffer, "PNG")
    return buffer.getvalue()


def classify(url: str, image: bytes) -> str:
    """Send a PNG file and return the most probable class."""
    request = urllib.request.Request(url, image, {"Content-Type": "image/png"})
    with web.open(request) as response:
        return json.load(response)["predictions"][0]["classes"][0]["label"]


if __name__ == "__main__":
    main()
