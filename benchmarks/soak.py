"""Ten minutes at full load: do memory, descriptors and threads of the service stay as they are?

    python benchmarks/soak.py [--minutes 10]

Three (untrained) networks, one wrk each with 32 connections that are opened anew every ten seconds: tensors of one
image, tensors of four, and PNG pictures to be framed. Samples the worker after each ten seconds, prints the first and
the last minute's medians, and writes benchmarks/soak.json. Needs wrk.
"""

import argparse
import io
import json
import statistics
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from load import load, require_wrk
from peers import PEERS
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table
from server import Server
from wires import Request

from cnnzoo.contract.card import ModelCard
from cnnzoo.models import create_model
from cnnzoo.models.export import to_onnx, write

SEGMENT = 10  # seconds
CONNECTIONS = 32
RAW = {"Inference-Header-Content-Length": "0"}


def make_zoo(folder: Path) -> None:
    for name, prepare in (("digits_cnn", "digits"), ("mnist_cnn", "mnist"), ("cifar10_cnn", "photo")):
        model = create_model(name)
        write(to_onnx(model), ModelCard(name, 1, tuple("0123456789"), model.input_shape, prepare), folder)


def requests() -> list[Request]:
    """One for each wrk: a tensor, a picture to be framed, and another network's tensor."""
    page = np.full((120, 90), 240, np.uint8)
    page[30:90, 40:50] = 10
    buffer = io.BytesIO()
    Image.fromarray(page).save(buffer, "PNG")
    return [
        Request("/v2/models/mnist_cnn/infer", bytes(784), RAW),
        Request("/v1/models/digits_cnn/predict", buffer.getvalue(), {"Content-Type": "image/png"}),
        Request("/v2/models/cifar10_cnn/infer", bytes(4 * 3072), RAW),
    ]


def sample(worker: psutil.Process) -> dict[str, float]:
    with worker.oneshot():
        return {
            "megabytes": worker.memory_info().rss / 2**20,
            "descriptors": worker.num_fds(),
            "threads": worker.num_threads(),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    require_wrk()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        make_zoo(work / "zoo")
        values: dict[str, Any] = {"name": "", "zoo": work / "zoo", "model": "", "workers": 1}
        with (
            Server(PEERS["cnnzoo"], Path(sys.executable).parent, work, work / "log", values) as server,
            ThreadPoolExecutor() as threads,
        ):
            asked = requests()
            for request in asked:
                server.wait(request)
            worker = max(server.process.children(recursive=True), key=lambda p: p.memory_info().rss)
            rows: list[dict[str, float]] = []
            for _ in track(range(int(args.minutes * 60 / SEGMENT)), "Full load"):
                found = threads.map(lambda r: load(r.raw(server.port), server.port, CONNECTIONS, SEGMENT), asked)
                figures = list(found)
                served = {key: sum(f[key] for f in figures) for key in ("requests", "errors")}
                server.settle()
                rows.append({**sample(worker), **served})
    minute = 60 // SEGMENT
    table = Table("", "first minute", "last minute", title=f"{args.minutes:g} minutes at full load")
    for key in rows[0]:
        first, last = (statistics.median(row[key] for row in part) for part in (rows[:minute], rows[-minute:]))
        table.add_row(key, f"{first:,.1f}", f"{last:,.1f}")
    Console(width=None if sys.stdout.isatty() else 100).print(table)
    args.output.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
