"""Compare one pool of ONNX Runtime's threads for all models with one for each: memory and latency of 16 versions.

    python benchmarks/shared_threads.py --rounds 5

Each side runs in a process of its own, by turns: it opens a file 16 times and asks the sessions one after another, from
one thread, as the service's batchers do when each model gets some requests. Writes benchmarks/shared_threads.json.
"""

import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import psutil
from common import median, number, options, output_of, run_alone, save, show, take_turns
from serving import MODEL

VERSIONS = 16
CALLS = 4000
THREADS = 2


def measure(path: Path, shared: bool) -> dict[str, Any]:
    """Return the figures of one process."""
    process = psutil.Process()
    before, threads = process.memory_info().rss, process.num_threads()
    if shared:
        ort.set_global_thread_pool_sizes(THREADS, 1)
    settings = ort.SessionOptions()
    settings.use_per_session_threads = not shared
    settings.intra_op_num_threads = 0 if shared else THREADS
    settings.add_session_config_entry("session.intra_op.spin_duration_us", "50")
    content = path.read_bytes()
    sessions = [ort.InferenceSession(content, settings, providers=["CPUExecutionProvider"]) for _ in range(VERSIONS)]
    shape = sessions[0].get_inputs()[0].shape[1:]
    image = np.random.default_rng(0).integers(0, 256, (1, *shape), dtype=np.uint8)
    for session in sessions:
        session.run(["probabilities"], {"images": image})
    times, cpu = [], time.process_time()
    for call in range(CALLS):
        start = time.perf_counter()
        sessions[call % VERSIONS].run(["probabilities"], {"images": image})
        times.append(1000 * (time.perf_counter() - start))
    return {
        "megabytes": (process.memory_info().rss - before) / 1e6,
        "threads": process.num_threads() - threads,
        "p50_ms": statistics.median(times),
        "p99_ms": statistics.quantiles(times, n=100)[98],
        "cpu_ms": 1000 * (time.process_time() - cpu) / CALLS,
    }


def main() -> None:
    """Measure, print and save."""
    parser = options(__doc__, __file__)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    names = {"a pool for each": False, "one pool": True}
    turns = take_turns(
        {name: partial(run_alone, measure, args.model, shared) for name, shared in names.items()},
        args.rounds,
    )
    report = {name: {key: median(rounds, key) for key in rounds[0]} for name, rounds in turns.items()}
    heads = ["16 versions", *next(iter(report.values()))]
    show("threads", heads, [[name, *(number(value) for value in row.values())] for name, row in report.items()])
    save(output_of(parser, args, "rounds"), report)


if __name__ == "__main__":
    main()
