"""Shared fixtures: the command line, a small exported zoo, and running services."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import tables
import torch
from helpers import CHROMIUM, CLI, Cli, Here, command, done, in_process, serve
from playwright.sync_api import Browser, sync_playwright

from cnnzoo.commands import measure
from cnnzoo.contract.checksums import add_checksum, sha256_of
from cnnzoo.contract.zoo_folder import SHIPPED

# A developer's own settings are not those of the tests, which must not write into a zoo that is in use.
DATA = os.path.abspath(os.environ["CNNZOO_DATA"]) if os.environ.get("CNNZOO_DATA") else None
for name in [name for name in os.environ if name.startswith(("CNNZOO_", "OTEL_"))]:
    del os.environ[name]
if DATA:
    os.environ["CNNZOO_DATA"] = DATA

# Small networks gain nothing from threads, and on a busy machine the threads wait for each other.
torch.set_num_threads(1)

# A shell's background job ignores SIGINT, and so does all that it starts; the tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)


# The figures in the cards of files that tests export need few images.
measure.STRANGERS = measure.CORRUPTED = 60


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # A file is run by one worker, and all files that need a running BentoML by the same.
    served = {
        item.path for item in items if "served" in getattr(item, "fixturenames", ()) and "slow" not in item.keywords
    }
    for item in items:
        item.add_marker(pytest.mark.xdist_group("served" if item.path in served else item.nodeid.partition("::")[0]))
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
    """Keep decoded datasets of the tests out of the user's cache."""
    os.environ["CNNZOO_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    os.environ["BENTOML_DO_NOT_TRACK"] = "True"


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Return the folder of the real MNIST and CIFAR-10. Only tests marked `data` have it."""
    assert DATA is not None
    return Path(DATA)


@pytest.fixture(scope="session")
def cli() -> Cli:
    """Run the command line as a process: cli("fit", "--config", "digits", cwd=folder)."""

    def run(*words: str, cwd: Path, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*CLI, *words], cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, timeout=500
        )
        assert not check or done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done

    return run


@pytest.fixture(scope="session")
def here() -> Here:
    """Run the command line in this process, where torch is loaded already."""
    return command


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a trained run, runs/digits_cnn/version_0, that is exported twice into zoo/."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNNZOO_DATA", str(folder))  # the card is the same on a machine without CIFAR-10
        done("fit", "--config", "digits", "--trainer.max_epochs", "8", cwd=folder)
        done("export", "--config", "digits", cwd=folder)
        done("export", "--config", "runs/digits_cnn/version_0", "--corruption_images", "60", cwd=folder)
    return folder


@pytest.fixture
def copied(tmp_path: Path, trained: Path) -> Path:
    """Return a folder with a copy of that zoo/, which a test may change: digits_cnn, versions 1 and 2."""
    shutil.copytree(trained / "zoo", tmp_path / "zoo")
    return tmp_path


@pytest.fixture(scope="session")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a zoo with copies of the shipped models, without other files of the repository's zoo/."""
    zoo = tmp_path_factory.mktemp("shipped") / "zoo"
    for entry in tables.shipped():
        path = zoo / entry.path.relative_to(SHIPPED)
        path.parent.mkdir(parents=True)
        shutil.copy(entry.path, path)
        add_checksum(zoo, path.relative_to(zoo).as_posix(), sha256_of(path))
    return zoo


@pytest.fixture(scope="session")
def client(trained: Path) -> Iterator[httpx.Client]:
    """Return a client of the app over the zoo of `trained`, in this process and without BentoML."""
    with in_process(trained / "zoo") as client:
        yield client


@pytest.fixture(scope="session")
def served(trained: Path) -> Iterator[httpx.Client]:
    """Return a client of the service as a process: for sockets, BentoML's routes and third-party clients."""
    with serve(trained / "zoo") as client:
        yield client


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start headless Chromium. While Playwright runs, no other event loop can start in the same thread."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """Return the held-out digits of seed 0: uint8 [360, 1, 8, 8] and labels."""
    from cnnzoo.datamodules import DigitsDataModule

    return DigitsDataModule().load(train=False)
