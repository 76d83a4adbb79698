"""Cost of the service as its input grows: models in the zoo, images in a request, pixels of an image, minutes of load.

    python benchmarks/serving_growth.py [--parts versions images pixels soak] [--versions 3 100] [--minutes 10]

- versions: a zoo of 3 and of 100 versions of the shipped MNIST CNN: seconds from the start of the process to the first
  response, seconds for /models, and memory of the worker after one request to each version.
- images: requests of 1 to 1,024 images in binary, by one connection and by four, with the ratio to ONNX Runtime in a
  loop over the same batches in the same turn. Needs wrk.
- pixels: PNG and JPEG files up to the pixel limit, one client.
- soak: full load on three networks (32 connections each, opened anew every ten seconds): memory, descriptors and
  threads of the worker, which should not grow. Needs wrk. Writes soak.json beside the other file.

Prints tables and writes benchmarks/serving_growth.json, where the other parts stay. Needs 1.5 GB in the temporary
folder.
"""

import io
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import onnxruntime
from common import number, options, save, show
from peers import PEERS
from PIL import Image
from protocols import Request
from server import Server, require_wrk

from cnnzoo.contract.names import CARD_KEY
from cnnzoo.contract.zoo_folder import SHIPPED, ModelId, ZooFolder, find_file

NAME = "mnist_cnn"
BATCHES = (1, 4, 16, 64, 256, 1024)
SIDES = (28, 128, 512, 1024, 2048, 5000)  # pixels along a square image; 25,000,000 pixels are the limit
RAW = {"Inference-Header-Content-Length": "0"}
ONE = Request(f"/v2/models/{NAME}/infer", bytes(784), RAW)
PREDICT = f"/v1/models/{NAME}/predict"
PARTS = ("versions", "images", "pixels", "soak")
SEVERAL = 4  # connections
SEGMENT, CONNECTIONS = 10, 32  # of the soak: seconds between samples, and connections for each network


def make_zoo(path: Path, versions: int) -> Path:
    """Create a zoo folder with copies of one file, each with its version in the card."""
    proto = onnx.load(find_file(NAME, SHIPPED))
    entry = next(e for e in proto.metadata_props if e.key == CARD_KEY)
    card = json.loads(entry.value)
    path.mkdir()
    for version in range(1, versions + 1):
        entry.value = json.dumps(card | {"version": version})
        ZooFolder(path).add(ModelId(NAME, version), proto.SerializeToString())
    return path


def serve(zoo: Path, work: Path) -> Server:
    """Return the service over a zoo folder."""
    values = {"name": "", "zoo": zoo, "model": "", "workers": 1}
    return Server(PEERS["cnnzoo"], Path(sys.executable).parent, work, work / "log", values)


def http_client(server: Server) -> httpx.Client:
    """Return an HTTP client of a server. It raises for statuses from 400."""
    hooks: dict[str, list[Callable[..., Any]]] = {"response": [httpx.Response.raise_for_status]}
    return httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=60, event_hooks=hooks)


def by_versions(versions: list[int], work: Path) -> list[dict[str, Any]]:
    """Measure start-up, listing and memory for each number of versions."""
    rows = []
    for count in versions:
        with serve(make_zoo(work / f"versions-{count}", count), work) as server, http_client(server) as client:
            startup = server.wait(ONE)
            listing = seconds(partial(client.get, "/models"))
            again = seconds(partial(client.get, "/models"))
            for version in range(1, count + 1):
                path = f"/v2/models/{NAME}/versions/{version}/infer"
                client.post(path, content=bytes(784), headers=RAW)
            megabytes = server.worker().memory_info().rss / 2**20
        rows.append({"versions": count, "startup_seconds": startup, "models_seconds": listing,
                     "models_again_seconds": again, "worker_megabytes": megabytes})  # fmt: skip
    return rows


def by_images(server: Server, duration: float) -> list[dict[str, Any]]:
    """Measure images a second for each batch size."""
    session = onnxruntime.InferenceSession(find_file(NAME, SHIPPED), providers=["CPUExecutionProvider"])
    rows = []
    for size in BATCHES:
        request = Request(ONE.path, bytes(size * len(ONE.body)), RAW)
        server.wait(request)
        ours = [size * server.load(request, n, math.ceil(duration))["requests_per_second"] for n in (1, SEVERAL)]
        server.settle()
        images = np.zeros((size, 1, 28, 28), np.uint8)
        raw = size / repeated(partial(session.run, None, {"images": images}), duration)
        row = {"images": size, "one": ours[0], "several": ours[1], "onnxruntime": raw}
        rows.append(row | {"one_ratio": ours[0] / raw, "several_ratio": ours[1] / raw})
    return rows


def by_pixels(server: Server, duration: float) -> list[dict[str, Any]]:
    """Measure milliseconds a request for each size and format of an image."""
    rows = []
    with http_client(server) as client:
        for side in SIDES:
            row: dict[str, Any] = {"pixels": side * side}
            for kind in ("PNG", "JPEG"):
                headers = {"Content-Type": f"image/{kind.lower()}"}
                ask = partial(client.post, PREDICT, content=page(side, kind), headers=headers)
                row[f"{kind.lower()}_ms"] = 1000 * repeated(ask, duration)
            rows.append(row)
    return rows


def soak(server: Server, minutes: float) -> list[dict[str, float]]:
    """Load three networks, and sample the worker after each segment."""
    requests = [
        ONE,
        Request("/v1/models/digits_cnn/predict", page(120, "PNG"), {"Content-Type": "image/png"}),
        Request("/v2/models/cifar10_cnn/infer", bytes(4 * 3072), RAW),
    ]
    for request in requests:
        server.wait(request)
    worker, rows = server.worker(), []
    with ThreadPoolExecutor() as threads:
        for _ in range(round(minutes * 60 / SEGMENT)):
            found = list(threads.map(lambda request: server.load(request, CONNECTIONS, SEGMENT), requests))
            server.settle()
            megabytes = worker.memory_info().rss / 2**20
            row = {"megabytes": megabytes, "descriptors": worker.num_fds(), "threads": worker.num_threads()}
            rows.append(row | {key: sum(figures[key] for figures in found) for key in ("requests", "errors")})
    return rows


def page(side: int, kind: str) -> bytes:
    """Return an image file of a dark bar on a light square."""
    pixels = np.full((side, side), 235, np.uint8)
    pixels[side // 4 : side // 2, side // 3 : side // 2] = 20
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def seconds(action: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def repeated(action: Callable[[], object], duration: float) -> float:
    """Return the median seconds of a call, repeated for `duration` seconds and at least 5 times after one warm-up."""
    action()
    taken: list[float] = []
    while len(taken) < 5 or sum(taken) < duration:
        taken.append(seconds(action))
    return statistics.median(taken)


def main() -> None:
    """Measure, print and save."""
    parser = options(__doc__, __file__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--versions", nargs="+", type=int, default=[3, 100])
    parser.add_argument("--seconds", type=float, default=3, help="of one measurement (default: 3)")
    parser.add_argument("--minutes", type=float, default=10, help="of the soak (default: 10)")
    args = parser.parse_args()
    results: dict[str, list[dict[str, Any]]] = {}
    if {"images", "soak"} & set(args.parts):
        require_wrk()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if "versions" in args.parts:
            results["versions"] = by_versions(args.versions, work)
        with serve(SHIPPED, work) as server:
            server.wait(ONE)
            if "images" in args.parts:
                results["images"] = by_images(server, args.seconds)
            if "pixels" in args.parts:
                results["pixels"] = by_pixels(server, args.seconds)
            if "soak" in args.parts:
                results["soak"] = soak(server, args.minutes)
    for part, rows in results.items():
        show(part, list(rows[0]), [[number(value) for value in row.values()] for row in rows])
    if "soak" in results:
        save(args.output.with_name("soak.json"), results.pop("soak"))
    if results:
        before = json.loads(args.output.read_text()) if args.output.is_file() else {}
        save(args.output, before | results)


if __name__ == "__main__":
    main()
