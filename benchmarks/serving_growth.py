"""What the service costs as what it is given grows: models in the zoo, images in a request, pixels in a picture.

    python benchmarks/serving_growth.py [--versions 3 100] [--seconds 3]

- A zoo of 3 and of 100 versions of an (untrained) MNIST CNN: seconds from the start of the process to the first good
  answer, seconds for /models, and memory of the worker after each version was asked once.
- Requests of 1 to 1,024 images in binary, one client: images a second, and their ratio to ONNX Runtime in a loop over
  the same batches in the same turn.
- PNG and JPEG pictures up to the pixel limit, one client: milliseconds of a request.

Prints tables and writes benchmarks/serving_growth.json. Needs 1.5 GB in the temporary folder.
"""

import argparse
import io
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import onnxruntime
from peers import PEERS
from PIL import Image
from rich.console import Console
from rich.table import Table
from server import Server
from wires import Request

from cnnzoo.contract.card import ModelCard
from cnnzoo.contract.names import CARD_KEY
from cnnzoo.models import create_model
from cnnzoo.models.export import to_onnx, write
from cnnzoo.serve.client import Client

NAME = "mnist_cnn"
BATCHES = (1, 4, 16, 64, 256, 1024)
SIDES = (28, 128, 512, 1024, 2048, 5000)  # pixels along a square picture; 25,000,000 is the limit
RAW = {"Inference-Header-Content-Length": "0"}
ONE = Request(f"/v2/models/{NAME}/infer", bytes(784), RAW)


def make_zoo(folder: Path, versions: int) -> Path:
    """Like a zoo that grew: the same file, its card saying another version each time."""
    proto = to_onnx(create_model(NAME))
    first = write(proto, ModelCard(NAME, 1, tuple("0123456789"), (1, 28, 28), "mnist"), folder)
    proto = onnx.load(first)
    entry = next(e for e in proto.metadata_props if e.key == CARD_KEY)
    card = ModelCard.from_json(entry.value)
    for version in range(2, versions + 1):
        entry.value = ModelCard(**{**card.__dict__, "version": version}).to_json()
        path = folder / NAME / str(version) / "model.onnx"
        path.parent.mkdir()
        onnx.save(proto, path)
    return folder


def serve(zoo: Path, log: Path) -> Server:
    values = {"name": NAME, "zoo": zoo, "model": zoo / NAME / "1/model.onnx", "workers": 1}
    return Server(PEERS["cnnzoo"], Path(sys.executable).parent, log.parent, log, values)


def worker_megabytes(server: Server) -> float:
    """RSS of the process that serves, the largest of the service's."""
    return max(p.memory_info().rss for p in server.process.children(recursive=True)) / 2**20


def by_versions(versions: list[int], work: Path) -> list[dict[str, Any]]:
    rows = []
    for count in versions:
        zoo = make_zoo(work / f"zoo-{count}", count)
        with serve(zoo, work / "log") as server:
            startup = server.wait(ONE)
            with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=60) as client:
                listing = seconds(lambda: client.get("/models").raise_for_status())
                again = seconds(lambda: client.get("/models").raise_for_status())
                for version in range(1, count + 1):
                    path = f"/v2/models/{NAME}/versions/{version}/infer"
                    client.post(path, content=bytes(784), headers=RAW).raise_for_status()
            rows.append({"versions": count, "startup_seconds": startup, "models_seconds": listing,
                         "models_again_seconds": again, "worker_megabytes": worker_megabytes(server)})  # fmt: skip
        shutil.rmtree(zoo)
    return rows


def by_batch(server: Server, model: Path, duration: float) -> list[dict[str, Any]]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    rows = []
    with Client(f"http://127.0.0.1:{server.port}") as client:
        for size in BATCHES:
            images = np.zeros((size, 1, 28, 28), np.uint8)
            ours = size / repeated(lambda images=images: client.infer(NAME, images), duration)
            raw = size / repeated(lambda images=images: session.run(None, {"images": images}), duration)
            rows.append({"images": size, "images_per_second": ours, "onnxruntime": raw, "ratio": ours / raw})
    return rows


def by_pixels(server: Server, duration: float) -> list[dict[str, Any]]:
    rows = []
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=60) as client:
        for side in SIDES:
            page = np.full((side, side), 235, np.uint8)
            page[side // 4 : side // 2, side // 3 : side // 2] = 20
            picture, row = Image.fromarray(page), {"pixels": side * side}
            for kind in ("PNG", "JPEG"):
                buffer = io.BytesIO()
                picture.save(buffer, kind)
                content, headers = buffer.getvalue(), {"Content-Type": f"image/{kind.lower()}"}

                def ask(content: bytes = content, headers: dict[str, str] = headers) -> object:
                    return client.post(
                        f"/v1/models/{NAME}/predict", content=content, headers=headers
                    ).raise_for_status()

                row[f"{kind.lower()}_ms"] = 1000 * repeated(ask, duration)
            rows.append(row)
    return rows


def seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def repeated(action: Callable[[], object], duration: float) -> float:
    """Median seconds of the action, repeated for `duration` seconds and at least 5 times, after one for warmth."""
    action()
    taken: list[float] = []
    while len(taken) < 5 or sum(taken) < duration:
        taken.append(seconds(action))
    return statistics.median(taken)


def show(title: str, rows: list[dict[str, Any]]) -> None:
    table = Table(*rows[0], title=title)
    for row in rows:
        table.add_row(*(f"{v:,}" if isinstance(v, int) else f"{v:,.2f}" for v in row.values()))
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--versions", nargs="+", type=int, default=[3, 100])
    parser.add_argument("--seconds", type=float, default=3, help="of one measurement (default: 3)")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        results = {"versions": by_versions(args.versions, work)}
        zoo = make_zoo(work / "zoo", 1)
        with serve(zoo, work / "log") as server:
            server.wait(ONE)
            results["images"] = by_batch(server, zoo / NAME / "1/model.onnx", args.seconds)
            results["pixels"] = by_pixels(server, args.seconds)
    for title, rows in results.items():
        show(f"by {title}", rows)
    args.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
