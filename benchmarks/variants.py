"""Size, accuracy, latency and throughput of the files of a zoo folder by precision, with ratios to fp32.

    for precision in "" "--quantize int8" "--fp16 true"; do
      cnnzoo export --config RUN --zoo build/variants $precision
    done
    python benchmarks/variants.py --zoo build/variants

ONNX Runtime runs the files of one network by turns in this process. Prints medians of all turns, and writes
benchmarks/variants.json, from which `make tables` makes the table of docs/speed.md.
"""

import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from common import number, options, save, show

from cnnzoo.contract.card import ModelCard
from cnnzoo.contract.model_file import read_card
from cnnzoo.contract.zoo_folder import ZooFolder

TURNS = 15
SECONDS = 0.15  # of a turn
BATCHES = (1, 64)


def milliseconds(session: onnxruntime.InferenceSession, images: np.ndarray) -> float:
    """Return the mean time of a call over one turn."""
    calls, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < SECONDS:
        session.run(["probabilities"], {"images": images})
        calls += 1
    return 1000 * spent / calls


def measure(files: list[tuple[Path, ModelCard]]) -> list[dict[str, Any]]:
    """Return a row for each file of one network."""
    sessions = [onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]) for path, _ in files]
    rng = np.random.default_rng(0)
    taken: list[dict[int, list[float]]] = [{n: [] for n in BATCHES} for _ in files]
    for n in BATCHES:
        images = rng.integers(0, 256, (n, *files[0][1].input_shape), dtype=np.uint8)
        for _ in range(TURNS):
            for session, times in zip(sessions, taken, strict=True):
                times[n].append(milliseconds(session, images))
    return [
        {
            "model": card.name,
            "precision": card.precision,
            "bytes": path.stat().st_size,
            "accuracy": card.metrics["accuracy"],
            "milliseconds": statistics.median(times[1]),
            "images_a_second": 1000 * BATCHES[-1] / statistics.median(times[BATCHES[-1]]),
        }
        for (path, card), times in zip(files, taken, strict=True)
    ]


def main() -> None:
    """Measure, print and save."""
    parser = options(__doc__, __file__)
    parser.add_argument("--zoo", type=Path, default=Path("zoo"))
    args = parser.parse_args()
    networks: dict[str, list[tuple[Path, ModelCard]]] = {}
    for path in ZooFolder(args.zoo).files():
        card = read_card(path)
        networks.setdefault(card.name.removesuffix(f"_{card.precision}"), []).append((path, card))
    rows: list[dict[str, Any]] = []
    for files in networks.values():
        files.sort(key=lambda file: file[1].precision != "fp32")
        rows += measure(files)
    show("by precision", list(rows[0]), [[v if isinstance(v, str) else number(v) for v in r.values()] for r in rows])
    save(args.output, rows)


if __name__ == "__main__":
    main()
