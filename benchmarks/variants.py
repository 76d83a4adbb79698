"""What fewer bits win: size, accuracy, latency and throughput of each file of a zoo folder, beside its fp32 one.

    for weights in "" "--quantize int8" "--fp16 true"; do
      cnnzoo export --config RUN --zoo build/variants $weights
    done
    python benchmarks/variants.py --zoo build/variants

The files of one network are timed by turns, in this process; medians of all turns. Ratios are to fp32.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Column, Table

from cnnzoo.commands.listing import Entry, entries
from cnnzoo.serve.session import Session

TURNS = 15
SECONDS = 0.15  # of a turn
BATCHES = (1, 64)


def milliseconds(session: Session, images: np.ndarray) -> float:
    """Of one call, over one turn."""
    calls, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < SECONDS:
        session.run(images)
        calls += 1
    return 1000 * spent / calls


def measure(files: list[Entry]) -> list[dict[str, Any]]:
    """A row for each file of one network, timed by turns."""
    sessions = [Session(entry.path.read_bytes()) for entry in files]
    rng = np.random.default_rng(0)
    taken: list[dict[int, list[float]]] = [{n: [] for n in BATCHES} for _ in files]
    for n in BATCHES:
        images = rng.integers(0, 256, (n, *files[0].card.input_shape), dtype=np.uint8)
        for _ in range(TURNS):
            for session, times in zip(sessions, taken, strict=True):
                times[n].append(milliseconds(session, images))
    return [
        {
            "model": entry.card.name,
            "weights": entry.card.precision,
            "bytes": entry.size,
            "accuracy": entry.card.metrics["accuracy"],
            "milliseconds": statistics.median(times[1]),
            "images_a_second": 1000 * BATCHES[-1] / statistics.median(times[BATCHES[-1]]),
        }
        for entry, times in zip(files, taken, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, default=Path("zoo"))
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    networks: dict[str, list[Entry]] = {}
    for entry in entries(options.zoo):
        networks.setdefault(entry.card.name.removesuffix(f"_{entry.card.precision}"), []).append(entry)
    names = Column("model", no_wrap=True)
    table = Table(names, "MB", "test accuracy", "ms, 1 image", "images/s, batches of 64", title="What fewer bits win")
    rows: list[dict[str, Any]] = []
    for files in networks.values():
        files.sort(key=lambda entry: entry.card.precision != "fp32")
        measured = measure(files)
        full = measured[0]
        rows += measured
        for row in measured:
            table.add_row(
                row["model"],
                f"{row['bytes'] / 1e6:.2f} ({row['bytes'] / full['bytes']:.2f}×)",
                f"{row['accuracy']:.2%} ({100 * (row['accuracy'] - full['accuracy']):+.2f})",
                f"{row['milliseconds']:.2f} ({row['milliseconds'] / full['milliseconds']:.2f}×)",
                f"{row['images_a_second']:,.0f} ({row['images_a_second'] / full['images_a_second']:.2f}×)",
            )
    Console().print(table)
    options.output.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
