"""Environments and processes of the servers that are measured, and wrk, the load generator."""

import contextlib
import http.client
import importlib.metadata
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
from common import HERE
from peers import Peer
from protocols import Request

PEERS_DIR = HERE / "peers"
SAME = ("bentoml", "onnxruntime")  # every Python environment has this project's release of these
QUIET = {"BENTOML_DO_NOT_TRACK": "True", "DO_NOT_TRACK": "1"}


def require_wrk() -> None:
    """Exit with a message if wrk is missing."""
    if shutil.which("wrk") is None:
        sys.exit("wrk, the load generator, is missing; install it: apt-get install wrk")


class PeerError(Exception):
    """A server that cannot be measured. The message gives the reason."""


def install(requirements: str, cache: Path) -> Path:
    """Return the bin folder of an environment with these requirements; create it if it is missing or outdated."""
    found = importlib.metadata.packages_distributions()
    packages = (PEERS_DIR / f"{requirements}.txt").read_text().split()
    packages = [f"{p}=={importlib.metadata.version(found[p][0])}" if p in SAME else p for p in packages]
    venv, stamp = cache / requirements, cache / requirements / "installed.txt"
    if not stamp.is_file() or stamp.read_text().split() != packages:
        print(f"Installing {' '.join(packages)} into {venv}", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True)
        pip = [str(venv / "bin/pip"), "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *packages], check=True)
        stamp.write_text("\n".join(packages) + "\n")
    return venv / "bin"


def install_npm(requirements: str, cache: Path) -> Path:
    """Return the folder of node_modules with these packages; no script of a package is run."""
    packages, folder = (PEERS_DIR / f"{requirements}.txt").read_text().split(), cache / requirements
    stamp = folder / "installed.txt"
    if not stamp.is_file() or stamp.read_text().split() != packages:
        print(f"Installing {' '.join(packages)} into {folder}", file=sys.stderr, flush=True)
        folder.mkdir(parents=True, exist_ok=True)
        npm = ["npm", "install", "--silent", "--ignore-scripts", "--no-save", "--prefix", str(folder)]
        subprocess.run([*npm, *packages], check=True, cwd=folder)
        stamp.write_text("\n".join(packages) + "\n")
    return folder


def versions(binaries: Path) -> dict[str, str]:
    """Return the versions of an environment's packages that matter for speed."""
    if (binaries / "node_modules").is_dir():
        found = [binaries / "node_modules" / name / "package.json" for name in ("fastify", "onnxruntime-node")]
        return {file.parent.name: json.loads(file.read_text())["version"] for file in found}
    wanted = ("bentoml", "fastapi", "litserve", "numpy", "onnxruntime", "onnxruntime-gpu", "starlette", "uvicorn")
    code = "from importlib.metadata import distributions as found; import json; "
    code += "print(json.dumps({d.name.lower().replace('_', '-'): d.version for d in found()}))"
    done = subprocess.run([binaries / "python", "-c", code], stdout=subprocess.PIPE, check=True)
    return {name: version for name, version in json.loads(done.stdout).items() if name in wanted}


class Server:
    """Context manager: a peer's server on a free loopback port."""

    def __init__(self, peer: Peer, binaries: Path, cache: Path, log: Path, values: Mapping[str, object]) -> None:
        self.port = free_port()
        values = {**values, "port": self.port, "bin": binaries, "peers": PEERS_DIR}
        self.command = [word.format(**values) for word in peer.command.split()]
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV", "CNNZOO"))}
        common = {"MODEL": values["model"], "PORT": self.port, "WORKERS": values["workers"], "PYTHONPATH": PEERS_DIR}
        self.env = inherited | QUIET | {"BENTOML_HOME": str(cache / "home")}
        self.env |= {key: str(value) for key, value in common.items()}
        self.folder = cache / "run"
        self.log = log

    def __enter__(self) -> "Server":
        self.folder.mkdir(parents=True, exist_ok=True)
        self.started = time.perf_counter()
        with self.log.open("w") as log:
            self.popen = subprocess.Popen(
                self.command, cwd=self.folder, env=self.env, stdout=log, stderr=log, start_new_session=True
            )
        self.process = psutil.Process(self.popen.pid)
        return self

    def __exit__(self, *_: object) -> None:
        processes = self._processes()
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.popen.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.popen.wait(10)
        for process in psutil.wait_procs(processes, timeout=5)[1]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def wait(self, request: Request, deadline: float = 120) -> float:
        """Return the seconds from the start of the process to its first successful response."""
        while time.perf_counter() < self.started + deadline:
            if self.popen.poll() is not None:
                raise PeerError(f"the server ended with status {self.popen.returncode}:\n{self.tail()}")
            with contextlib.suppress(OSError, http.client.HTTPException, PeerError):
                self.ask(request)
                return time.perf_counter() - self.started
            time.sleep(0.01)
        raise PeerError(f"no successful response within {deadline:g} s:\n{self.tail()}")

    def ask(self, request: Request) -> tuple[Mapping[str, str], bytes]:
        """Return headers (names in lower case) and body of the response. Raises PeerError for any status but 200."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request("POST", request.path, request.body, request.headers)
            response = connection.getresponse()
            body = response.read()
        if response.status != 200:
            raise PeerError(f"status {response.status}: {body[:300].decode(errors='replace')}\n{self.tail()}")
        return {name.lower(): value for name, value in response.getheaders()}, body

    def load(self, request: Request, connections: int, seconds: int) -> dict[str, Any]:
        """Run wrk: each connection repeats a request. The latencies are None if no request succeeded."""
        with tempfile.NamedTemporaryFile() as file:
            file.write(request.raw(self.port))
            file.flush()
            command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "60s"]
            command += ["-s", str(HERE / "wrk.lua"), f"http://127.0.0.1:{self.port}"]
            env = {**os.environ, "REQUEST": file.name}
            done = subprocess.run(command, env=env, stdout=subprocess.PIPE, check=True, text=True)
        figures = json.loads(done.stdout.splitlines()[-1])
        if not figures["requests"]:
            figures |= {"p50_ms": None, "p99_ms": None}
        return {**figures, "requests_per_second": figures["requests"] / figures.pop("seconds")}

    def settle(self, deadline: float = 60) -> None:
        """Wait until the server is idle: requests of disconnected clients may keep it busy."""
        end, last = time.perf_counter() + deadline, self.cpu_seconds()
        while time.perf_counter() < end:
            time.sleep(0.2)
            before, last = last, self.cpu_seconds()
            if last - before < 0.04:  # a fifth of a core, since some servers poll
                return

    def cpu_seconds(self) -> float:
        """Return user and system time of the server's processes and of its ended children."""
        return sum(sum(process.cpu_times()[:4]) for process in self._processes())

    def megabytes(self) -> float:
        """Return the PSS of the server's processes: memory that several share counts once."""
        return sum(process.memory_full_info().pss for process in self._processes()) / 2**20

    def worker(self) -> psutil.Process:
        """Return the process that serves: the child with the most memory."""
        return max(self.process.children(recursive=True), key=lambda process: process.memory_info().rss)

    def tail(self) -> str:
        """Return the end of the server's log."""
        return self.log.read_text(errors="replace")[-1500:]

    def _processes(self) -> list[psutil.Process]:
        try:
            return [self.process, *self.process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


def free_port() -> int:
    """Return a port of 127.0.0.1 that no one listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]
