"""Micro-batching: whoever asks a network while it computes shares its next run.

No timer: an idle network starts at once, a busy one gathers what arrives meanwhile.
"""

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np

from . import metrics

Outputs = tuple[np.ndarray, np.ndarray]

_threads = ThreadPoolExecutor(os.cpu_count() or 1, "inference")


class QueueFull(Exception):
    """As many images wait for this network as may."""


@dataclass(eq=False)
class Item:
    """Images, and their outputs once they are there."""

    images: np.ndarray
    outputs: asyncio.Future[Outputs]


class Batcher:
    """One network's queue, in one event loop.

    Args:
        run: computes (logits, probabilities) of images [N, C, H, W]; called on a thread, never twice at once.
        max_batch: images that are put together; a single request may bring more.
        max_queue: images that may wait.
        name: of the model, in the metrics.
    """

    def __init__(
        self, run: Callable[[np.ndarray], Outputs], max_batch: int = 64, max_queue: int = 4096, name: str = ""
    ) -> None:
        self._run = run
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._waiting: deque[Item] = deque()
        self._lock = threading.Lock()  # of what waits
        self._busy = False
        self.queued = 0  # images
        self._sizes = metrics.batches(name)

    async def __call__(self, images: np.ndarray) -> Outputs:
        """Logits and probabilities, float32 [N, classes], of uint8 images [N, C, H, W].

        Raises QueueFull, and whatever `run` raises for these images alone.
        """
        return await self.wait(self.submit(images))

    def submit(self, images: np.ndarray) -> Item:
        """Puts images into the queue; raises QueueFull."""
        loop = asyncio.get_running_loop()
        item = Item(images, loop.create_future())
        with self._lock:
            if self.queued + len(images) > self._max_queue:
                raise QueueFull
            self._waiting.append(item)
            self.queued += len(images)
        if not self._busy:
            self._start(loop)
        return item

    async def wait(self, item: Item) -> Outputs:
        """The outputs of what was submitted. If this is cancelled, or they are, it leaves the queue."""
        try:
            return await item.outputs
        except asyncio.CancelledError:
            with self._lock:
                if item in self._waiting:
                    self._waiting.remove(item)
                    self.queued -= len(item.images)
            raise

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        batch = self._take()
        self._busy = bool(batch)
        if batch:
            _threads.submit(self._work, batch, loop)

    def _take(self, least: int = 1) -> list[Item]:
        """The next batch, if at least so many images wait."""
        batch: list[Item] = []
        size = 0
        with self._lock:
            if self.queued < least:
                return batch
            while self._waiting and (not batch or size + len(self._waiting[0].images) <= self._max_batch):
                batch.append(self._waiting.popleft())
                size += len(batch[-1].images)
            self.queued -= size
        if batch:
            self._sizes.observe(size)
        return batch

    def _work(self, batch: list[Item], loop: asyncio.AbstractEventLoop) -> None:
        """On a thread: computes a batch, and goes on without asking the event loop while whole batches wait.

        The loop may be busy refusing requests then, and would take long to send the next one.
        """
        while batch:
            results = self._compute([item.images for item in batch])
            following = self._take(self._max_batch)
            loop.call_soon_threadsafe(self._finish, batch, results, None if following else loop)
            batch = following

    def _compute(self, parts: list[np.ndarray]) -> list[Outputs | Exception]:
        """The outputs of each part. If the whole batch fails each is tried alone: one never fails its neighbours."""
        try:
            logits, probabilities = self._run(parts[0] if len(parts) == 1 else np.concatenate(parts))
        except Exception as error:
            return [error] if len(parts) == 1 else [result for part in parts for result in self._compute([part])]
        if len(parts) == 1:
            return [(logits, probabilities)]
        ends = list(accumulate(len(part) for part in parts))
        return [(logits[a:b], probabilities[a:b]) for a, b in pairwise([0, *ends])]

    def _finish(
        self, batch: list[Item], results: list[Outputs | Exception], idle: asyncio.AbstractEventLoop | None
    ) -> None:
        for item, result in zip(batch, results, strict=True):
            if item.outputs.done():  # cancelled meanwhile
                continue
            if isinstance(result, Exception):
                item.outputs.set_exception(result)
            else:
                item.outputs.set_result(result)
        if idle:
            self._start(idle)
