"""What the tests share: the command line as a process, a small exported zoo, and a running service."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

# Before torch is loaded: so small networks gain nothing from threads, which wait for each other on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import httpx
import pytest
import tables
import torch
from helpers import CHROMIUM, Finished, command, done, in_process, serve
from playwright.sync_api import Browser, sync_playwright

from cnnzoo.contract.checksums import add_checksum, sha256_of
from cnnzoo.contract.zoo_folder import SHIPPED

DATA = os.environ.get("CNNZOO_DATA")
CLI = [sys.executable, "-m", "cnnzoo.train"]

# A shell's background job ignores SIGINT, and so does all that it starts; the tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = {
        "data": None if DATA else "set CNNZOO_DATA to a folder with MNIST and CIFAR-10",
        "browser": None if CHROMIUM else "no Chromium: apt-get install chromium",
        "gpu": None if torch.cuda.is_available() else "no NVIDIA GPU",
    }
    for item in items:
        for marker, reason in missing.items():
            if reason and marker in item.keywords:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Decoded datasets of these tests stay out of the user's cache."""
    os.environ["CNNZOO_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    os.environ["BENTOML_DO_NOT_TRACK"] = "True"


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The real MNIST and CIFAR-10; only for tests marked `data`."""
    assert DATA is not None
    return Path(DATA)


Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def cli() -> Cli:
    """Runs the command line in a folder: cli("fit", "--config", "digits", cwd=folder)."""

    def run(*words: str, cwd: Path, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*CLI, *words], cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, timeout=500
        )
        assert not check or done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done

    return run


Here = Callable[..., Finished]


@pytest.fixture(scope="session")
def here() -> Here:
    """The same command line in this process, which saves the seconds that torch takes to load."""
    return command


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a digits run in runs/digits_cnn/version_0, tested, and exported twice into zoo/."""
    folder = tmp_path_factory.mktemp("trained")
    done("fit", "--config", "digits", "--trainer.max_epochs", "8", cwd=folder)
    done("test", "--config", "digits", cwd=folder)
    for config in ("digits", "runs/digits_cnn/version_0"):
        done("export", "--config", config, cwd=folder)
    return folder


@pytest.fixture
def copied(tmp_path: Path, trained: Path) -> Path:
    """A folder with a zoo/ of its own: digits_cnn, versions 1 and 2."""
    shutil.copytree(trained / "zoo", tmp_path / "zoo")
    return tmp_path


@pytest.fixture(scope="session")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zoo of the models that come along, and of nothing that was exported beside them."""
    zoo = tmp_path_factory.mktemp("shipped") / "zoo"
    for entry in tables.shipped():
        path = zoo / entry.path.relative_to(SHIPPED)
        path.parent.mkdir(parents=True)
        shutil.copy(entry.path, path)
        add_checksum(zoo, path.relative_to(zoo).as_posix(), sha256_of(path))
    return zoo


@pytest.fixture(scope="session")
def client(trained: Path) -> Iterator[httpx.Client]:
    """The app over the zoo of `trained`, in this process and without BentoML."""
    with in_process(trained / "zoo") as client:
        yield client


@pytest.fixture(scope="session")
def served(trained: Path) -> Iterator[httpx.Client]:
    """The same as a process: for sockets, BentoML's paths, and clients that others wrote."""
    with serve(trained / "zoo") as client:
        yield client


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium. While Playwright runs, no test in the same thread can start an event loop of its own."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """The held-out digits of seed 0: uint8 [360, 1, 8, 8] and labels."""
    from cnnzoo.datamodules import DigitsDataModule

    return DigitsDataModule().load(train=False)
