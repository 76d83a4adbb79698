"""Requests a second and what they cost: this project's service against others that serve the same ONNX file.

    python benchmarks/serving.py [--peers cnnzoo fastapi …] [--payloads tensor json png batch] [--connections 1 16 …]

Needs wrk (apt-get install wrk). Each peer of benchmarks/peers/ is installed into an environment of its own under
build/peers and run with one worker (`--workers`). They take turns, one server alive at a time: started, its answers
compared with ONNX Runtime's own (a peer that answers otherwise is an error, not a number), loaded with every payload
at every number of connections, after a second of warm-up each, and ended. wrk and the server share the machine: keep it
idle otherwise. Latencies are those of connections that each send a request as soon as the last one is answered.

payloads: one image as a binary tensor, one as a JSON tensor, one as a PNG, a batch of 64 as a binary tensor; and none,
for servers that do nothing. A peer without a way to take a payload is not in its rows. `onnxruntime` is the network
alone, in a loop: one image a call on one thread, 64 on all cores. THREADS=1 in the environment gives the sessions of
all peers that many threads, for who wants to see whether a peer's own choice holds it back.

Prints medians over the rounds, lowest and highest in brackets: requests a second, latencies, and the server's CPU time
for a thousand requests; then each server's seconds from its start to the first good answer, and its memory after all
that load (PSS: what its processes share counts once). Writes benchmarks/serving.json. Half an hour with the defaults.
"""

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from load import load, require_wrk
from material import BATCH, PAYLOADS, Material, prepare
from peers import PEERS
from rich.console import Console
from rich.table import Table
from server import PEERS_DIR, PeerError, Server, install, versions
from wires import Wire

LOOP = "onnxruntime"  # the network alone
TOLERANCE = 1e-4  # of a probability, between a peer's answer and ONNX Runtime's own
COLUMNS = {"requests_per_second": "requests/s", "p50_ms": "p50 ms", "p99_ms": "p99 ms"}
COLUMNS["cpu_seconds_per_1000"] = "CPU s/1000"
FOOTPRINT = {"startup_seconds": "start-up s", "megabytes": "memory MB (PSS)"}
Runs = dict[Any, list[dict[str, Any]]]


def check(server: Server, wire: Wire, payload: str, material: Material) -> None:
    """Raises PeerError unless the answers are ONNX Runtime's own, class and probabilities."""
    for content, expected in material.contents(payload):
        answer = wire.read(*server.ask(wire.ask(material.name, material.shape, content)))
        right = len(answer) == len(expected) and _classes(answer, material) == _classes(expected, material)
        if not right or any(not abs(a - b) <= TOLERANCE for a, b in zip(answer, expected, strict=True)):
            said = f"{len(answer)} numbers {answer[:3]} … where ONNX Runtime says {len(expected)} {expected[:3]} …"
            raise PeerError(f"{payload}: it answers {said}")


def _classes(probabilities: list[float], material: Material) -> list[int]:
    starts = range(0, len(probabilities), material.classes)
    rows = [probabilities[start : start + material.classes] for start in starts]
    return [row.index(max(row)) for row in rows]


def measure(server: Server, request: bytes, connections: int, seconds: int) -> dict[str, Any]:
    """A second of warm-up, then the figures; each starts when the server has done with what came before."""
    server.settle()
    load(request, server.port, connections, 1)
    server.settle()
    before = server.cpu_seconds()
    figures = load(request, server.port, connections, seconds)
    cpu = server.cpu_seconds() - before
    return {**figures, "cpu_seconds_per_1000": cpu / figures["requests"] * 1000 if figures["requests"] else None}


def serve(name: str, binaries: Path, material: Material, args: argparse.Namespace, cells: Runs, starts: Runs) -> None:
    """One turn of a server."""
    peer = PEERS[name]
    values = {"name": material.name, "zoo": material.zoo, "model": material.model, "workers": args.workers}
    with Server(peer, binaries, args.cache, args.cache / f"{name}.log", values) as server:
        wires = {payload: wire for payload, wire in peer.wires.items() if payload in args.payloads}
        asked = {
            payload: wire.ask(material.name, material.shape, material.contents(payload)[0][0])
            for payload, wire in wires.items()
        }
        startup = server.wait(next(iter(asked.values())))
        for payload, wire in wires.items():
            check(server, wire, payload, material)
            for connections in args.connections:
                request = asked[payload].raw(server.port)
                cells[payload, connections, name].append(measure(server, request, connections, args.seconds))
        starts[name,].append({"startup_seconds": startup, "megabytes": server.megabytes()})


def loop(binaries: Path, material: Material, args: argparse.Namespace, cells: Runs) -> None:
    for payload, size in {"tensor": 1, "batch": BATCH}.items():
        if payload in args.payloads:
            command = [binaries / "python", PEERS_DIR / "onnxruntime_loop.py", str(size), str(args.seconds)]
            env = {**os.environ, "MODEL": str(material.model)}
            done = subprocess.run(command, env=env, stdout=subprocess.PIPE, check=True)
            cells[payload, 0, LOOP].append(json.loads(done.stdout))


def show(runs: Runs, heads: Iterable[str], columns: dict[str, str]) -> None:
    """A table of medians; a cell whose runs had errors says so."""
    table = Table(*heads, *columns.values(), "")
    for key, rounds in runs.items():
        errors = sum(figures.get("errors", 0) for figures in rounds)
        cells = [_cell([figures[column] for figures in rounds]) for column in columns]
        table.add_row(*map(str, key), *cells, f"{errors} errors" if errors else "")
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def _cell(found: list[float | None]) -> str:
    values = [value for value in found if value is not None]
    if not values:
        return "–"
    digits = 0 if max(values) >= 1000 else 1 if max(values) >= 100 else 2
    spread = f" ({min(values):,.{digits}f}–{max(values):,.{digits}f})" if len(values) > 1 else ""
    return f"{statistics.median(values):,.{digits}f}{spread}"


def _binaries(name: str, cache: Path) -> Path:
    """Where the programs of a peer's environment are; the loop runs in FastAPI's."""
    requirements = "fastapi" if name == LOOP else PEERS[name].requirements
    return install(requirements, cache) if requirements else Path(sys.executable).parent


def _versions(name: str, binaries: Path) -> dict[str, str]:
    """Of the packages that the peer asks for, and of what serves them."""
    installed = versions(binaries)
    wanted = ("bentoml", "fastapi", "kserve", "litserve", "mlserver", "numpy", "onnxruntime", "onnxruntime-gpu")
    return {package: installed[package] for package in (*wanted, "starlette", "uvicorn") if package in installed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", nargs="+", choices=[*PEERS, LOOP], default=[*PEERS, LOOP], metavar="PEER")
    parser.add_argument("--payloads", nargs="+", choices=PAYLOADS, default=PAYLOADS, metavar="PAYLOAD")
    parser.add_argument("--connections", nargs="+", type=int, default=[1, 16, 64, 256])
    parser.add_argument("--model", type=Path, help="a zoo file (default: an untrained mnist_cnn)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="of one measurement (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="of each server (default: %(default)s)")
    parser.add_argument("--cache", type=Path, default=Path(__file__).parent.parent / "build" / "peers")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    require_wrk()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that `with` ends the server
    args.cache = args.cache.absolute()
    busy = os.getloadavg()[0]
    if busy > 0.5:
        print(f"The load average is {busy:.1f}: the figures are those of a busy machine.", file=sys.stderr)

    binaries = {name: _binaries(name, args.cache) for name in args.peers}
    cells: Runs = defaultdict(list)
    starts: Runs = defaultdict(list)
    failed: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        # In a process of its own: a library that this one has loaded too would count half in a server's PSS.
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            material = process.submit(prepare, args.model, Path(folder)).result()
        for number in range(args.rounds):
            for name in args.peers:
                print(f"round {number + 1} of {args.rounds}: {name}", file=sys.stderr, flush=True)
                try:
                    if name == LOOP:
                        loop(binaries[name], material, args, cells)
                    elif set(PEERS[name].wires) & set(args.payloads):
                        serve(name, binaries[name], material, args, cells, starts)
                except Exception as error:  # whatever breaks is that peer's alone
                    failed[name] = f"{type(error).__name__}: {error}"
                    print(f"{name}: {failed[name]}", file=sys.stderr)
    order = {payload: number for number, payload in enumerate(PAYLOADS)}
    cells = dict(sorted(cells.items(), key=lambda cell: (order[cell[0][0]], cell[0][1])))

    heads = ("payload", "connections", "peer")
    report = {
        "machine": {"cores": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()},
        "load_average_before": busy,
        "model": material.name,
        "options": {key: getattr(args, key) for key in ("rounds", "seconds", "workers")},
        "threads": os.environ.get("THREADS"),
        "versions": {name: _versions(name, binaries[name]) for name in args.peers},
        "results": [{**dict(zip(heads, key, strict=True)), "rounds": rounds} for key, rounds in cells.items()],
        "servers": [{"peer": name, "rounds": rounds} for (name,), rounds in starts.items()],
        "failed": failed,
    }
    args.output.write_text(json.dumps(report, indent=2) + "\n")
    show(cells, heads, COLUMNS)
    show(starts, ("peer",), FOOTPRINT)
    for name, reason in failed.items():
        print(f"{name} failed: {reason.splitlines()[0]}")


if __name__ == "__main__":
    main()
