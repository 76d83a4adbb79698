"""Work that would block the event loop, on a few threads that stop when nobody waits any more."""

import os
from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread

T = TypeVar("T")

_threads = anyio.CapacityLimiter(os.cpu_count() or 1)


async def in_thread(function: Callable[..., T], *args: object) -> T:
    """`function(*args)` on a thread. If the request is cancelled it is left behind, and ends at its next
    `anyio.from_thread.check_cancelled()`."""
    return await anyio.to_thread.run_sync(function, *args, abandon_on_cancel=True, limiter=_threads)
