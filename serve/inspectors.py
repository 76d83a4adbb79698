"""The inspectors in memory, and the one thread that they work on."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from weakref import WeakKeyDictionary

from .batcher import QueueFull
from .inspector import Inspector
from .model import Model

T = TypeVar("T")

MAX_OPEN = 4  # inspectors in memory; the least recently used one is dropped
MAX_WAITING = 32  # inspections that wait; beyond: 429


class Inspectors:
    """Opens a model's inspector when it is first asked for. One inspection runs at a time, on a thread of its own.

    So inspections take one core at most from the requests that predict.
    """

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, "inspection")
        self._open: WeakKeyDictionary[Model, Inspector] = WeakKeyDictionary()  # the least recently used one is first
        self._asked = 0  # inspections that wait, and the one that runs

    async def ask(self, model: Model, question: Callable[[Inspector], T]) -> T:
        """Return what a function returns for a model's inspector.

        Raises QueueFull, ContractError if the file cannot be inspected, and what the function raises.
        """
        if self._asked > MAX_WAITING:
            raise QueueFull
        self._asked += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._executor, lambda: question(self._get(model)))
        finally:
            self._asked -= 1

    def _get(self, model: Model) -> Inspector:
        inspector = self._open.pop(model, None) or Inspector(model.read())
        self._open[model] = inspector
        while len(self._open) > MAX_OPEN:
            del self._open[next(iter(self._open))]
        return inspector
