"""One long computation at a time."""

import asyncio
from types import TracebackType

from .batcher import QueueFull


class Turns:
    """An asynchronous context manager that one task enters at a time, in the order in which they came.

    Args:
        waiting: tasks that may wait. Entering raises QueueFull beyond.
    """

    def __init__(self, waiting: int) -> None:
        self._most = 1 + waiting
        self._inside = 0  # or waiting
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> None:
        if self._inside >= self._most:
            raise QueueFull
        self._inside += 1
        try:
            await self._turn.acquire()
        except BaseException:
            self._inside -= 1
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._turn.release()
        self._inside -= 1
