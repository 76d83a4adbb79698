"""Size, accuracy, latency and throughput of the files of a zoo folder by precision, with ratios to fp32.

    for precision in "" "--quantize int8" "--fp16 true"; do
      cnnzoo export --config RUN --zoo build/variants $precision
    done
    CNNZOO_DATA=<folder> python benchmarks/variants.py --zoo build/variants

ONNX Runtime runs the files of one network by turns in this process, on held-out images. A network that looks only at
unsure images in several views is also measured with all views of every image. Prints medians of all turns, and writes
benchmarks/variants.json, from which `make tables` makes the table of docs/speed.md.
"""

import statistics
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import torch
from common import number, options, save, show

from cnnzoo.contract.card import ModelCard
from cnnzoo.contract.model_file import read_card
from cnnzoo.contract.zoo_folder import ZooFolder
from cnnzoo.datamodules import from_card
from cnnzoo.models import SpeedNet
from cnnzoo.models.export import to_onnx
from cnnzoo.models.pretrained import restore

TURNS = 15
SECONDS = 0.15  # of a turn, at least; it ends with a whole pass over the images
IMAGES = 256  # of a pass
BATCHES = (1, 64)


class Side(NamedTuple):
    """One network to measure: a file, or a file's network with other views."""

    name: str
    card: ModelCard
    content: bytes


def sides(path: Path, card: ModelCard) -> list[Side]:
    """Return a file and, if it looks at unsure images in several views, its network with all views of all images."""
    own = Side(card.name, card, path.read_bytes())
    if card.precision != "fp32":
        return [own]
    model = restore(path)
    if not isinstance(model, SpeedNet) or model.views == "one":
        return [own]
    model.sure.fill_(float("inf"))
    return [own, Side(f"{card.name}, all views of every image", card, to_onnx(model).SerializeToString())]


def milliseconds(session: onnxruntime.InferenceSession, batches: list[np.ndarray]) -> float:
    """Return the mean time of a call over one turn."""
    calls, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < SECONDS:
        for images in batches:
            session.run(["probabilities"], {"images": images})
        calls += len(batches)
    return 1000 * spent / calls


def correct(session: onnxruntime.InferenceSession, images: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of images [N, C, H, W] whose most probable class is right."""
    parts = [session.run(["probabilities"], {"images": images[k : k + 250]})[0] for k in range(0, len(images), 250)]
    return float((np.concatenate(parts).argmax(1) == labels).mean())


def measure(files: list[Side]) -> list[dict[str, Any]]:
    """Return a row for each side of one network."""
    sessions = [onnxruntime.InferenceSession(side.content, providers=["CPUExecutionProvider"]) for side in files]
    data = from_card(files[0].card)
    data.setup("validate")
    held_out = data.splits["val"]
    tensors = held_out[torch.arange(len(held_out))]
    images, labels = (tensor.numpy() for tensor in tensors)
    taken: list[dict[int, list[float]]] = [{n: [] for n in BATCHES} for _ in files]
    for n in BATCHES:
        batches = [images[k : k + n] for k in range(0, min(IMAGES, len(images) // n * n), n)]
        for _ in range(TURNS):
            for session, times in zip(sessions, taken, strict=True):
                times[n].append(milliseconds(session, batches))
    return [
        {
            "model": side.name,
            "precision": side.card.precision,
            "bytes": len(side.content),
            "held_out": len(labels),
            "accuracy": correct(session, images, labels),
            "milliseconds": statistics.median(times[1]),
            "images_a_second": 1000 * BATCHES[-1] / statistics.median(times[BATCHES[-1]]),
        }
        for side, session, times in zip(files, sessions, taken, strict=True)
    ]


def main() -> None:
    """Measure, print and save."""
    parser = options(__doc__, __file__)
    parser.add_argument("--zoo", type=Path, default=Path("zoo"))
    args = parser.parse_args()
    networks: dict[str, list[Side]] = {}
    for path in ZooFolder(args.zoo).files():
        card = read_card(path)
        networks.setdefault(card.name.removesuffix(f"_{card.precision}"), []).extend(sides(path, card))
    rows: list[dict[str, Any]] = []
    for files in networks.values():
        files.sort(key=lambda side: side.card.precision != "fp32")
        rows += measure(files)
    show("by precision", list(rows[0]), [[v if isinstance(v, str) else number(v) for v in r.values()] for r in rows])
    save(args.output, rows)


if __name__ == "__main__":
    main()
