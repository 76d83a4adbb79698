"""ONNX Runtime in a loop without HTTP: the upper limit of every server.

    MODEL=model.onnx python onnxruntime_loop.py BATCH SECONDS

Runs one image on one thread, several images on all cores. Prints the figures as JSON.
"""

import json
import sys
import time

import numpy as np
from network import Network


def main() -> None:
    batch, seconds = int(sys.argv[1]), float(sys.argv[2])
    network = Network(threads=1 if batch == 1 else 0)
    images = np.random.default_rng(0).integers(0, 256, (batch, *network.shape), np.uint8)
    for _ in range(20):
        network(images)
    times, cpu, start = [], time.process_time(), time.perf_counter()
    while (began := time.perf_counter()) < start + seconds:
        network(images)
        times.append(time.perf_counter() - began)
    elapsed, cpu = time.perf_counter() - start, time.process_time() - cpu
    p50, p99 = np.percentile(times, [50, 99]) * 1000
    figures = {"requests": len(times), "requests_per_second": len(times) / elapsed, "p50_ms": p50, "p99_ms": p99}
    print(json.dumps({**figures, "cpu_seconds_per_1000": cpu / len(times) * 1000, "errors": 0}))


if __name__ == "__main__":
    main()
