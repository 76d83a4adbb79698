"""Compare size, accuracy, latency and throughput of a zoo folder's networks in fp32, int8 and fp16.

    CNNZOO_DATA=<folder> python benchmarks/variants.py

Each fp32 file is converted as `cnnzoo export --quantize int8` and `--fp16 true` do. A network that looks only at unsure
images in several views is also measured with all views of every image. ONNX Runtime runs the files of one network by
turns in this process, on held-out images. Prints medians of all turns, and writes benchmarks/variants.json, from which
`make tables` makes the table of docs/speed.md.
"""

import statistics
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
from common import number, options, output_of, save, show

from cnnzoo.commands.export import RANGE_IMAGES
from cnnzoo.contract.card import ModelCard
from cnnzoo.contract.model_file import read_card
from cnnzoo.contract.zoo_folder import ZooFolder
from cnnzoo.datamodules import ImageDataModule, from_card
from cnnzoo.datamodules.batches import evenly_spaced
from cnnzoo.models import SpeedNet
from cnnzoo.models.export import to_onnx
from cnnzoo.models.pretrained import restore
from cnnzoo.models.variants import to_fp16, to_int8

TURNS = 15
SECONDS = 0.15  # of a turn, at least; it ends with a whole pass over the images
IMAGES = 256  # of a pass
BATCHES = (1, 64)


class Side(NamedTuple):
    """A network in one precision."""

    name: str
    precision: str
    content: bytes


def sides(path: Path, card: ModelCard, data: ImageDataModule) -> list[Side]:
    """Return an fp32 file, its network with all views of all images if that differs, and its int8 and fp16 networks."""
    found = [Side(card.name, card.precision, path.read_bytes())]
    model = restore(path)
    if isinstance(model, SpeedNet) and model.views != "one":
        model.sure.fill_(float("inf"))
        found.append(Side(f"{card.name}, all views of every image", "fp32", to_onnx(model).SerializeToString()))
    proto, train = onnx.load_model_from_string(found[0].content), data.splits["train"]
    spread = evenly_spaced(RANGE_IMAGES, len(train))
    for precision, converted in (("int8", to_int8(proto, train[spread][0])), ("fp16", to_fp16(proto))):
        found.append(Side(f"{card.name}_{precision}", precision, converted.SerializeToString()))
    return found


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


def measure(path: Path, card: ModelCard) -> list[dict[str, Any]]:
    """Return a row for each side of an fp32 file."""
    data = from_card(card)
    data.setup("validate")
    files = sides(path, card, data)
    sessions = [onnxruntime.InferenceSession(side.content, providers=["CPUExecutionProvider"]) for side in files]
    held_out = data.splits["val"]
    tensors = held_out[:]
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
            "precision": side.precision,
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
    cards = [(path, read_card(path)) for path in ZooFolder(args.zoo).files()]
    rows = [row for path, card in cards if card.precision == "fp32" for row in measure(path, card)]
    show("by precision", list(rows[0]), [[v if isinstance(v, str) else number(v) for v in r.values()] for r in rows])
    save(output_of(parser, args), rows)


if __name__ == "__main__":
    main()
