"""Micro-batching: requests that arrive while a batch runs form the next batch.

There is no timer: an idle model starts as soon as the event loop has read what has arrived.
"""

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np

from . import timing

Outputs = tuple[np.ndarray, ...]  # one row an image in each


# If no other images wait, a batch that takes at most this long is computed on the event loop. A thread would have to
# wait for Python's lock, up to sys.getswitchinterval(), each time that it takes or returns a batch while the loop is
# busy with requests.
INLINE_SECONDS = 5e-3


class QueueFull(Exception):
    """The model's queue is full."""


@dataclass(eq=False)
class Item:
    """Images of one request, at most a batch, and the future of their outputs."""

    images: np.ndarray
    outputs: asyncio.Future[Outputs]
    inline: bool  # it may be computed on the event loop
    rest: "Item | None" = None  # the request's next images, which queue when these are taken
    started: float = 0.0  # when its batch began to compute, and when that had finished, in seconds of perf_counter
    finished: float = 0.0


class Batcher:
    """Queue of one model, used from one event loop.

    Args:
        run: computes the outputs of images [N, C, H, W]. It runs on the event loop if it takes little time and no
            other images wait, else on a thread, and never twice at once.
        max_batch: images in a batch. A request with more is computed in several, between those of other requests.
        max_queue: images in the queue.
        executor: the threads that compute; None: one of its own.
        observe: is called with the number of images in each batch.
        ready: tells whether `run` has all that it needs in memory.
    """

    def __init__(
        self,
        run: Callable[[np.ndarray], Outputs],
        max_batch: int = 64,
        max_queue: int = 4096,
        executor: Executor | None = None,
        observe: Callable[[int], None] = lambda images: None,
        ready: Callable[[], bool] = lambda: False,
    ) -> None:
        self._run = run
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._executor = executor or ThreadPoolExecutor(1)
        self._observe = observe
        self._ready = ready
        self._seconds = math.inf  # an image, of the last batch that was computed
        self._quickest = math.inf  # seconds of a batch, so far: a single image may take as long as many
        self._waiting: deque[Item] = deque()
        self._lock = threading.Lock()  # of the queue
        self._busy = False  # a batch is computed, or the next one is to start
        self.queued = 0  # images

    async def __call__(self, images: np.ndarray, inline: bool = True) -> Outputs:
        """Return the outputs of uint8 images [N, C, H, W], N > 0.

        Args:
            inline: they may be computed on the event loop. Without it, requests that come one by one share a batch.

        Raises QueueFull, or what `run` raises for these images; other requests of the batch are not affected. If a
        call is cancelled, its running batch is finished, and the rest is dropped.
        """
        queued = time.perf_counter()
        loop = asyncio.get_running_loop()
        starts = range(0, len(images), self._max_batch)
        items = [Item(images[i : i + self._max_batch], loop.create_future(), inline) for i in starts]
        for item, rest in pairwise(items):
            item.rest = rest
        with self._lock:
            if self.queued + len(images) > self._max_queue:
                raise QueueFull
            self._waiting.append(items[0])
            self.queued += len(images)
        if not self._busy:
            self._busy = True
            loop.call_soon(self._start)  # after the requests that arrived with this one
        try:
            parts = [await item.outputs for item in items]
        except BaseException:
            self._leave(items)
            raise
        timing.add("queue", queued, items[0].started)
        timing.add("compute", items[0].started, items[-1].finished)
        return parts[0] if len(parts) == 1 else tuple(np.concatenate(output) for output in zip(*parts, strict=True))

    def _leave(self, items: list[Item]) -> None:
        """Remove what still waits of a request that was cancelled or has failed."""
        with self._lock:
            for position, item in enumerate(items):
                if item in self._waiting:
                    self._waiting.remove(item)
                    self.queued -= _images(items[position:])
        for item in items:
            if not item.outputs.cancel() and not item.outputs.cancelled():
                item.outputs.exception()  # else asyncio complains that nobody looked at it

    def _start(self) -> None:
        """Compute the next batch, if there is one."""
        batch = self._take()
        self._busy = bool(batch)
        if not batch:
            return
        loop = asyncio.get_running_loop()
        seconds = max(self._seconds * _images(batch), self._quickest)
        quick = self._ready() and seconds <= INLINE_SECONDS
        if quick and not self._waiting and all(item.inline for item in batch):
            self._finish(batch, self._results(batch))
            loop.call_soon(self._start)
        else:
            self._executor.submit(self._work, batch, loop)

    def _take(self, least: int = 1) -> list[Item]:
        """Remove the next batch from the queue; none if fewer images than `least` wait."""
        batch: list[Item] = []
        size = 0
        with self._lock:
            if self.queued < least:
                return batch
            while self._waiting and (not batch or size + len(self._waiting[0].images) <= self._max_batch):
                batch.append(self._waiting.popleft())
                size += len(batch[-1].images)
                if batch[-1].rest:
                    self._waiting.append(batch[-1].rest)
            self.queued -= size
        return batch

    def _work(self, batch: list[Item], loop: asyncio.AbstractEventLoop) -> None:
        """Compute a batch on a thread, and queue the next one for the threads if a whole one waits.

        A loop that is busy with new requests would take long to start it. Other models come in between. No exception
        may leave the model busy.
        """
        loop.call_soon_threadsafe(self._finish, batch, self._results(batch))
        if batch := self._take(self._max_batch):
            self._executor.submit(self._work, batch, loop)
        else:
            loop.call_soon_threadsafe(self._start)

    def _results(self, batch: list[Item]) -> list[Outputs | Exception]:
        """Return the outputs of each item, and note in it when they were computed."""
        started = time.perf_counter()
        try:
            self._observe(_images(batch))
            results = self._compute([item.images for item in batch])
        except Exception as error:
            results = [error] * len(batch)
        finished = time.perf_counter()
        for item in batch:
            item.started, item.finished = started, finished
        if not any(isinstance(result, Exception) for result in results):
            self._seconds = (finished - started) / _images(batch)
            self._quickest = min(self._quickest, finished - started)
        return results

    def _finish(self, batch: list[Item], results: list[Outputs | Exception]) -> None:
        """Give each request its outputs."""
        for item, result in zip(batch, results, strict=True):
            if item.outputs.done():  # the request was cancelled
                continue
            if isinstance(result, Exception):
                item.outputs.set_exception(result)
            else:
                item.outputs.set_result(result)

    def _compute(self, parts: list[np.ndarray]) -> list[Outputs | Exception]:
        """Return the outputs of each part. If the batch fails, each part is tried alone."""
        try:
            outputs = self._run(parts[0] if len(parts) == 1 else np.concatenate(parts))
        except Exception as error:
            return [error] if len(parts) == 1 else [result for part in parts for result in self._compute([part])]
        ends = list(accumulate(len(part) for part in parts))
        return [tuple(output[a:b] for output in outputs) for a, b in pairwise([0, *ends])]


def _images(batch: list[Item]) -> int:
    return sum(len(item.images) for item in batch)
