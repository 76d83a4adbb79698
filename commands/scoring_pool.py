"""Classify many image files with a process for each core."""

import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from ..contract.machine import cores
from ..serve.session import CUDA, provider
from . import UsageError
from .parent import end_with_parent, ignoring_interrupts
from .scoring import Row, Scorer

GPU_PROCESSES = 4  # each has its own CUDA context, of some hundred megabytes
AHEAD = 2  # batches of each process that wait, so that none is idle

_scorer: Scorer  # of a process of the pool


Score = Callable[[Iterable[Sequence[Path]]], Iterator[list[Row]]]
"""Function that gives the rows of each batch of image files, in order. Raises UsageError if a process is ended."""


@contextmanager
def scoring_pool(model: Path, **options: Any) -> Iterator[Score]:
    """Start the processes, which open the model meanwhile, and give the function that they score with.

    Args:
        model: the ONNX file.
        options: of `Scorer.open`.
    """
    processes = min(cores(), GPU_PROCESSES) if provider() == CUDA else cores()
    pool = ProcessPoolExecutor(processes, get_context("spawn"), _start, (model, options))
    try:
        with ignoring_interrupts():
            for _ in range(processes):  # the pool starts a process for a call that waits
                pool.submit(int)
        yield partial(_scored, pool, processes * AHEAD)
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


def _scored(pool: ProcessPoolExecutor, ahead: int, batches: Iterable[Sequence[Path]]) -> Iterator[list[Row]]:
    waiting: deque[Future[list[Row]]] = deque()
    try:
        for batch in batches:
            waiting.append(pool.submit(_score, batch))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise UsageError(
            "a process that classified images ended early, perhaps since the memory was full: repeat the command to "
            "resume it"
        ) from None


def _start(model: Path, options: dict[str, Any]) -> None:
    """Open the model in a process of the pool."""
    global _scorer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Windows does not inherit it
    end_with_parent()
    _scorer = Scorer.open(str(model), threads=1, **options)


def _score(files: Sequence[Path]) -> list[Row]:
    return list(_scorer.rows(files))
