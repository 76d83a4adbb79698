"""Throughput, latency and CPU time of this project's service, compared with other servers of the same ONNX file.

    python benchmarks/serving.py [--peers cnnzoo fastapi …] [--payloads tensor json png batch] [--connections 1 16 …]
    python benchmarks/serving.py --against ../checkout-of-an-older-commit [--against_model ../an-older-file.onnx]

Needs wrk (apt-get install wrk), npm and node for one peer, and an otherwise idle machine. Each peer of
benchmarks/peers/ gets an environment of its own in build/peers and one worker (--workers). The servers take turns, and
one runs at a time: it is started, its answers are compared with ONNX Runtime's (other answers are an error), it is
loaded with every payload at every number of connections after a second of warm-up, and it is stopped. Every connection
sends its next request as soon as it has a response.

Payloads: one image as a binary tensor, one as a JSON tensor, one as a PNG file, and 64 images as a binary tensor.

--against compares with the service of another checkout, run by that checkout's .venv, and prints ratios of medians;
other peers run only if --peers names them. With --against_model, that service serves another file.

Prints medians over the rounds, with the lowest and the highest in brackets. CPU time is the server's for 1,000
requests. Memory is the PSS after all load. Writes benchmarks/serving.json, from which docs/speed.md is made, if all
peers and payloads were measured. Another comparison is written only to an --output. Half an hour with the defaults.
"""

import argparse
import os
import signal
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common import HERE, machine, median, number, options, python_of, run_alone, save, show
from payloads import PAYLOADS, Payloads, prepare
from peers import PEERS
from protocols import Protocol, Request
from server import PeerError, Server, install, install_npm, require_wrk, versions

from cnnzoo.contract.zoo_folder import SHIPPED, find_file

OURS, AGAINST = "cnnzoo", "against"
MODEL = find_file("mnist_cnn", SHIPPED)
TOLERANCE = 1e-4  # of a probability, between a peer's answer and ONNX Runtime's
COLUMNS = {"requests_per_second": "requests/s", "p50_ms": "p50 ms", "p99_ms": "p99 ms"}
COLUMNS["cpu_seconds_per_1000"] = "CPU s/1000"
FOOTPRINT = {"startup_seconds": "start-up s", "megabytes": "memory MB (PSS)"}
Runs = dict[Any, list[dict[str, Any]]]


def check(server: Server, protocol: Protocol, payload: str, data: Payloads) -> None:
    """Raise PeerError unless classes and probabilities are ONNX Runtime's."""
    for content, expected in data.contents(payload):
        answer = protocol.decode(*server.ask(protocol.encode(data.name, data.shape, content)))
        correct = len(answer) == len(expected) and _classes(answer, data) == _classes(expected, data)
        if not correct or any(not abs(a - b) <= TOLERANCE for a, b in zip(answer, expected, strict=True)):
            found = f"{len(answer)} numbers, {answer[:3]} …; expected {len(expected)}, {expected[:3]} …"
            raise PeerError(f"{payload}: the answer is {found}")


def _classes(probabilities: list[float], data: Payloads) -> list[int]:
    starts = range(0, len(probabilities), data.classes)
    rows = [probabilities[start : start + data.classes] for start in starts]
    return [row.index(max(row)) for row in rows]


def measure(server: Server, request: Request, connections: int, seconds: int) -> dict[str, Any]:
    """Load an idle server, after a second of warm-up."""
    server.settle()
    server.load(request, connections, 1)
    server.settle()
    before = server.cpu_seconds()
    figures = server.load(request, connections, seconds)
    cpu = server.cpu_seconds() - before
    return {**figures, "cpu_seconds_per_1000": cpu / figures["requests"] * 1000 if figures["requests"] else None}


def serve(name: str, binaries: Path, data: Payloads, args: argparse.Namespace, cells: Runs, starts: Runs) -> None:
    """Run one turn of a server and append its figures."""
    peer = PEERS[name]
    values = {"name": data.name, "zoo": data.zoo, "model": data.model, "workers": args.workers}
    with Server(peer, binaries, args.cache, args.cache / f"{name}.log", values) as server:
        protocols = {payload: protocol for payload, protocol in peer.protocols.items() if payload in args.payloads}
        requests = {
            payload: protocol.encode(data.name, data.shape, data.contents(payload)[0][0])
            for payload, protocol in protocols.items()
        }
        startup = server.wait(next(iter(requests.values())))
        for payload, protocol in protocols.items():
            check(server, protocol, payload, data)
            for connections in args.connections:
                figures = measure(server, requests[payload], connections, args.seconds)
                cells[payload, connections, name].append(figures)
        starts[name,].append({"startup_seconds": startup, "megabytes": server.megabytes()})


def rows(runs: Runs, columns: dict[str, str]) -> list[list[str]]:
    """Return a row of medians for each key, with the number of errors."""
    found = []
    for key, rounds in runs.items():
        errors = sum(figures.get("errors", 0) for figures in rounds)
        cells = [_cell([figures[column] for figures in rounds if figures[column] is not None]) for column in columns]
        found.append([*map(str, key), *cells, f"{errors} errors" if errors else ""])
    return found


def _cell(values: list[float]) -> str:
    spread = f" ({number(min(values))}–{number(max(values))})" if len(values) > 1 else ""
    return number(median([{"": value} for value in values], "")) + spread


def ratios(cells: Runs) -> list[list[str]]:
    """Return this checkout's medians divided by the other's; as times, so that above 1 is slower."""
    found = []
    for (payload, connections, name), rounds in cells.items():
        if name == OURS:
            others = cells.get((payload, connections, AGAINST), [])
            (rate, old_rate), *times = [(median(rounds, column), median(others, column)) for column in COLUMNS]
            slower = [(old_rate, rate), *times]
            found.append([payload, str(connections), *(f"{a / b:.3f}" if a and b else "–" for a, b in slower)])
    return found


@contextmanager
def recorded(name: str, failed: dict[str, str]) -> Iterator[None]:
    """Keep the failure of one peer, so that it does not end the measurements of the others."""
    try:
        yield
    except Exception as error:
        failed[name] = f"{type(error).__name__}: {error}"
        print(f"{name}: {failed[name]}", file=sys.stderr)


def _binaries(name: str, args: argparse.Namespace) -> Path:
    """Return the bin folder of a peer's environment."""
    if name == AGAINST:
        return python_of(args.against).parent
    requirements = PEERS[name].requirements
    if not requirements:
        return Path(sys.executable).parent
    return (install_npm if PEERS[name].npm else install)(requirements, args.cache)


def main() -> None:
    """Measure, print and save."""
    parser = options(__doc__, __file__)
    parser.set_defaults(output=None)
    parser.add_argument("--peers", nargs="+", choices=PEERS, metavar="PEER", help="(default: all)")
    parser.add_argument("--payloads", nargs="+", choices=PAYLOADS, default=PAYLOADS, metavar="PAYLOAD")
    parser.add_argument("--connections", nargs="+", type=int, default=[1, 16, 64, 256])
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="compare with the service of another checkout")
    parser.add_argument("--against_model", type=Path, metavar="FILE", help="that it serves (default: --model)")
    parser.add_argument("--model", type=Path, default=MODEL, help="a zoo file (default: the shipped mnist_cnn)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="of one measurement (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="of each server (default: %(default)s)")
    parser.add_argument("--cache", type=Path, default=HERE.parent / "build/peers")
    args = parser.parse_args()
    require_wrk()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that `with` stops the server
    args.cache = args.cache.absolute()
    if args.against_model and not args.against:
        parser.error("--against_model is the file that another checkout serves: give --against")
    names = args.peers or list(PEERS)
    if args.against:
        PEERS[AGAINST] = PEERS[OURS]
        names = [OURS, AGAINST, *(name for name in args.peers or [] if name != OURS)]
    if (busy := os.getloadavg()[0]) > 0.5:
        print(f"The load average is {busy:.1f}: expected an idle machine.", file=sys.stderr)

    binaries: dict[str, Path] = {}
    cells: Runs = defaultdict(list)
    starts: Runs = defaultdict(list)
    failed: dict[str, str] = {}
    for name in names:
        with recorded(name, failed):
            binaries[name] = _binaries(name, args)
    with tempfile.TemporaryDirectory() as folder:
        # In a process of its own: a library that this process has loaded too would count half in a server's PSS.
        ours = run_alone(prepare, args.model.absolute(), Path(folder, "zoo"))
        data = dict.fromkeys(names, ours)
        if args.against_model:
            data[AGAINST] = run_alone(prepare, args.against_model.absolute(), Path(folder, "their_zoo"))
        for turn in range(args.rounds):
            for name in list(binaries)[:: -1 if turn % 2 else 1]:
                print(f"round {turn + 1} of {args.rounds}: {name}", file=sys.stderr, flush=True)
                with recorded(name, failed):
                    if set(PEERS[name].protocols) & set(args.payloads):
                        serve(name, binaries[name], data[name], args, cells, starts)
    cells = dict(sorted(cells.items(), key=lambda cell: (PAYLOADS.index(cell[0][0]), cell[0][1])))

    heads = ("payload", "connections", "peer")
    report = {
        "machine": machine(),
        "model": ours.name,
        "options": {key: getattr(args, key) for key in ("rounds", "seconds", "workers")},
        "versions": {name: versions(folder) for name, folder in binaries.items()},
        "results": [{**dict(zip(heads, key, strict=True)), "rounds": rounds} for key, rounds in cells.items()],
        "servers": [{"peer": name, "rounds": rounds} for (name,), rounds in starts.items()],
        "failed": failed,
    }
    is_whole = not (args.peers or args.against or failed) and set(args.payloads) == set(PAYLOADS) and args.workers == 1
    is_whole = is_whole and args.model == MODEL and {1, 64} <= set(args.connections)  # the page shows these two
    if output := args.output or (Path(__file__).with_suffix(".json") if is_whole else None):
        save(output, report)
    show("medians", (*heads, *COLUMNS.values(), ""), rows(cells, COLUMNS))
    show("start and memory", ("peer", *FOOTPRINT.values(), ""), rows(starts, FOOTPRINT))
    if args.against:
        columns = ("time a request", "p50", "p99", "CPU")
        show(f"this checkout ÷ {args.against}", ("payload", "connections", *columns), ratios(cells))
    for name, reason in failed.items():
        print(f"{name} failed: {reason.splitlines()[0]}")


if __name__ == "__main__":
    main()
