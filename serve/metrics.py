"""What Prometheus is told, by model and by route template: never by an address that a stranger chose.

The workers of a service keep their numbers in files that BentoML makes a folder for; each worker answers for all.
"""

import os
from contextlib import suppress
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

_FOLDER = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
_registry = CollectorRegistry()

requests = Counter("cnnzoo_requests", "Requests answered.", ["route", "model", "status"], registry=_registry)
seconds = Histogram(
    "cnnzoo_request_seconds", "From a request's first line to its answer's last byte.", ["route", "model"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30), registry=_registry,
)  # fmt: skip
in_flight = Gauge("cnnzoo_requests_in_flight", "Requests in hand.", registry=_registry, multiprocess_mode="livesum")
queued_images = Gauge(
    "cnnzoo_queued_images", "Images that wait for a network.", ["model"], registry=_registry,
    multiprocess_mode="livesum",
)  # fmt: skip
batch_images = Histogram(
    "cnnzoo_batch_images", "Images that a network was given at once.", ["model"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024), registry=_registry,
)  # fmt: skip


def exposition() -> bytes:
    """Everything in Prometheus' text format, of all workers."""
    if not _FOLDER:
        return generate_latest(_registry)
    _forget_dead_workers(Path(_FOLDER))
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=_FOLDER)
    return generate_latest(registry)


def _forget_dead_workers(folder: Path) -> None:
    """What a killed worker had in hand or waiting is not in hand any more."""
    for file in folder.glob("gauge_live*_*.db"):
        pid = int(file.stem.rsplit("_", 1)[1])
        if not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists():
            with suppress(OSError):
                mark_process_dead(pid, str(folder))
