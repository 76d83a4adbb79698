"""Threads for work that would block the event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from ..contract.machine import cores

P = ParamSpec("P")
T = TypeVar("T")

# As many as cores: Starlette's run_in_threadpool has 40, which could decode 40 images of 25 megapixels at once.
_executor = ThreadPoolExecutor(cores(), "work")


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return `function(*args, **kwargs)`, computed on a thread."""
    return await asyncio.get_running_loop().run_in_executor(_executor, lambda: function(*args, **kwargs))
