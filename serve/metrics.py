"""Prometheus metrics by model and by route template, never by a path that a client chose.

With several workers, each keeps its numbers in files of the folder in PROMETHEUS_MULTIPROC_DIR, and each answers for
all of them. That variable is prometheus_client's own; service.py sets it before this module is imported.
"""

import os
from contextlib import suppress
from functools import cache
from pathlib import Path

import psutil
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
IMAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """The metrics of one app."""

    def __init__(self) -> None:
        self.in_flight = 0
        self._folder = Path(os.environ[FOLDER]) if FOLDER in os.environ else None
        if self._folder:
            (self._folder / f"{os.getpid()}.worker").touch()
        self._registry = own = CollectorRegistry()
        self._requests = Counter("cnnzoo_requests", "Requests answered.", ["route", "model", "status"], registry=own)
        self._seconds = Histogram(
            "cnnzoo_request_seconds", "From a request's first line to its answer's last byte.", ["route", "model"],
            buckets=SECONDS, registry=own,
        )  # fmt: skip
        self._in_flight = Gauge(
            "cnnzoo_requests_in_flight", "Requests in flight.", registry=own, multiprocess_mode="livesum"
        )
        self._queued = Gauge(
            "cnnzoo_queued_images", "Images in the queue of a model.", ["model"], registry=own,
            multiprocess_mode="livesum",
        )  # fmt: skip
        self._batches = Histogram("cnnzoo_batch_images", "Images in a batch.", ["model"], buckets=IMAGES, registry=own)

        # There are few series: routes, models and statuses. To look one up takes longer than to add to it.
        self._requests_of = cache(self._requests.labels)
        self._seconds_of = cache(self._seconds.labels)
        self._batches_of = cache(self._batches.labels)

    def count_request(self, route: str, model: str, status: int, seconds: float) -> None:
        """Count an answered request and its time."""
        self._requests_of(route, model, status).inc()
        self._seconds_of(route, model).observe(seconds)

    def count_batch(self, model: str, images: int) -> None:
        """Count a batch of a model."""
        self._batches_of(model).observe(images)

    def sample(self, queued: dict[str, int]) -> None:
        """Set the gauges: requests in flight, and the images in each model's queue."""
        self._in_flight.set(self.in_flight)
        for model, images in queued.items():
            self._queued.labels(model).set(images)

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus's text format, of all workers."""
        if not self._folder:
            return generate_latest(self._registry)
        _drop_dead_workers(self._folder)
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(self._folder))
        return generate_latest(registry)


def _drop_dead_workers(folder: Path) -> None:
    """Drop the gauges of killed workers: their requests are no longer in flight."""
    for file in folder.glob("*.worker"):
        if not psutil.pid_exists(int(file.stem)):
            with suppress(FileNotFoundError):  # another worker was faster
                mark_process_dead(int(file.stem), str(folder))
                file.unlink()
