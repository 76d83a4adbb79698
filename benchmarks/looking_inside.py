"""Cost of looking inside a model: time and size of the answers, and what one who looks costs the others.

    python benchmarks/looking_inside.py [--rounds 5] [--seconds 5]

- answers: for each shipped model, the layers when first asked for, then layers, inspect (all layers, as the page asks
  for them while one draws, and as pictures) and explain, one client. The server has one core.
- neighbors: predictions by 16 connections (wrk), alone and beside a client that inspects or explains without a pause.
  The two take turns. All cores.

Prints tables and writes benchmarks/looking_inside.json. Needs wrk and an otherwise idle machine. Five minutes.
"""

import os
import statistics
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from common import machine, number, options, output_of, save, show, take_turns
from server import Server, require_wrk
from serving_growth import NAME, ONE, http_client, page, repeated, seconds, serve

from cnnzoo.contract.zoo_folder import SHIPPED, ZooFolder

PICTURE = page(120, "PNG")
PNG = {"Content-Type": "image/png"}
QUESTIONS = {
    "layers": ("GET", "/models/{}/layers"),
    "inspect": ("POST", "/v1/models/{}/inspect?format=binary"),
    "inspect as PNG": ("POST", "/v1/models/{}/inspect"),
    "explain": ("POST", "/v1/models/{}/explain"),
}
CONNECTIONS = 16


def answers(server: Server, duration: float) -> list[dict[str, Any]]:
    """Measure milliseconds and kilobytes of each answer, for each model."""
    rows = []
    with http_client(server) as client:
        for model in sorted({model.name for model in ZooFolder(SHIPPED).ids()}):
            row: dict[str, Any] = {"model": model}
            for question in QUESTIONS:
                ask = partial(_ask, client, question, model)
                if question == "layers":
                    row["first_ms"] = 1000 * seconds(ask)
                row[f"{question}_ms"] = 1000 * repeated(ask, duration)
                row[f"{question}_kB"] = len(ask().content) / 1000
            rows.append(row)
    return rows


def _ask(client: httpx.Client, question: str, model: str) -> httpx.Response:
    method, path = QUESTIONS[question]
    content, headers = (PICTURE, PNG) if method == "POST" else (None, {})
    return client.request(method, path.format(model), content=content, headers=headers)


def neighbors(server: Server, rounds: int, duration: int) -> list[dict[str, Any]]:
    """Measure predictions beside each kind of asking."""
    beside = {"alone": None, "inspect": "inspect", "explain": "explain"}
    sides = {name: partial(_beside, server, question, duration) for name, question in beside.items()}
    rows = []
    for name, found in take_turns(sides, rounds).items():
        row: dict[str, Any] = {"beside": name}
        for key in ("requests_per_second", "p50_ms", "p99_ms", "asked_per_second"):
            row[key] = statistics.median(figures[key] for figures in found)
        rows.append(row)
    return rows


def _beside(server: Server, question: str | None, duration: int) -> dict[str, Any]:
    server.settle()
    with asking(server, question) as asked:
        figures = server.load(ONE, CONNECTIONS, duration)
        return figures | {"asked_per_second": len(asked) / duration}


@contextmanager
def asking(server: Server, question: str | None) -> Iterator[list[int]]:
    """Ask about the model without a pause, and give the list of the answers' sizes. Asks nothing for None."""
    sizes: list[int] = []
    stop = threading.Event()

    def loop() -> None:
        with http_client(server) as client:
            while question and not stop.is_set():
                sizes.append(len(_ask(client, question, NAME).content))

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(loop)
        try:
            yield sizes
        finally:
            stop.set()
        asked.result()  # raises what ended it


def main() -> None:
    """Measure, print and save."""
    parser = options(__doc__, __file__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5, help="of one measurement (default: 5)")
    args = parser.parse_args()
    require_wrk()
    with tempfile.TemporaryDirectory() as folder:
        cores = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(cores)})  # which the server inherits
        with serve(SHIPPED, Path(folder)) as server:
            os.sched_setaffinity(0, cores)
            server.wait(ONE)
            rows = answers(server, args.seconds / 5)
        with serve(SHIPPED, Path(folder)) as server:
            server.wait(ONE)
            beside = neighbors(server, args.rounds, args.seconds)
    for title, table in {"answers": rows, "neighbors": beside}.items():
        cells = [[v if isinstance(v, str) else number(v) for v in row.values()] for row in table]
        show(title, list(table[0]), cells)
    save(output_of(parser, args, "rounds", "seconds"), {"machine": machine(), "answers": rows, "neighbors": beside})


if __name__ == "__main__":
    main()
