"""What Prometheus is told, by model and by route template: never by an address that a stranger chose.

Several workers of a service keep their numbers in files; each answers for all of them.
"""

import os
import shutil
from contextlib import suppress
from functools import cache
from pathlib import Path

import psutil
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from .settings import settings

FOLDER = "PROMETHEUS_MULTIPROC_DIR"


def _own_folder() -> str | None:
    """A folder for the workers of this service. BentoML's is one for all services of a user, and each empties it."""
    if FOLDER not in os.environ or settings().workers == 1:
        return None
    beside = Path(os.environ[FOLDER])
    folder = beside.with_name(f"cnnzoo-metrics-{os.getppid()}")
    for other in beside.parent.glob("cnnzoo-metrics-*"):
        if other != folder and not psutil.pid_exists(int(other.name.rsplit("-", 1)[1])):
            shutil.rmtree(other, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    os.environ[FOLDER] = str(folder)
    return str(folder)


_folder = _own_folder()
_pid = os.getpid()  # a worker never forks: asking each time is a system call for every number
values.ValueClass = values.MultiProcessValue(lambda: _pid) if _folder else values.MutexValue
_registry = CollectorRegistry()
_requests = Counter("cnnzoo_requests", "Requests answered.", ["route", "model", "status"], registry=_registry)
_seconds = Histogram(
    "cnnzoo_request_seconds", "From a request's first line to its answer's last byte.", ["route", "model"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30), registry=_registry,
)  # fmt: skip
_in_flight = Gauge("cnnzoo_requests_in_flight", "Requests in flight.", registry=_registry, multiprocess_mode="livesum")
_queued = Gauge(
    "cnnzoo_queued_images", "Images that wait for a network.", ["model"], registry=_registry,
    multiprocess_mode="livesum",
)  # fmt: skip
_batches = Histogram(
    "cnnzoo_batch_images", "Images that a network was given at once.", ["model"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024), registry=_registry,
)  # fmt: skip

# Looking a labelled number up takes longer than adding to it. There are few: routes, models and statuses.
count = cache(_requests.labels)
seconds = cache(_seconds.labels)
batches = cache(_batches.labels)


def sample(in_flight: int, queued: dict[str, int]) -> None:
    """Sets the gauges, which are looked at now and then rather than kept with every request."""
    _in_flight.set(in_flight)
    for model, images in queued.items():
        _queued.labels(model).set(images)


def exposition() -> bytes:
    """Everything in Prometheus' text format, of all workers."""
    if not _folder:
        return generate_latest(_registry)
    _forget_dead_workers(Path(_folder))
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=_folder)
    return generate_latest(registry)


def _forget_dead_workers(folder: Path) -> None:
    """What a killed worker had in hand or waiting is not in hand any more."""
    for file in folder.glob("gauge_live*_*.db"):
        pid = int(file.stem.rsplit("_", 1)[1])
        if not psutil.pid_exists(pid):
            with suppress(OSError):
                mark_process_dead(pid, str(folder))
