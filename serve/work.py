"""Work that would block the event loop, on a few threads that stop when nobody waits any more."""

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_threads = ThreadPoolExecutor(os.cpu_count() or 1, "work")
_own = threading.local()


class GivenUp(Exception):
    """Nobody waits for this work any more."""


async def in_thread(function: Callable[..., T], *args: object) -> T:
    """`function(*args)` on a thread. If the request is cancelled it is not begun, or ends at its next `check`."""
    given_up = threading.Event()

    def run() -> T:
        _own.given_up = given_up
        return function(*args)

    try:
        return await asyncio.get_running_loop().run_in_executor(_threads, run)
    except asyncio.CancelledError:
        given_up.set()
        raise


def check() -> None:
    """Called now and then. Raises GivenUp on such a thread if the request was cancelled."""
    given_up = getattr(_own, "given_up", None)
    if given_up and given_up.is_set():
        raise GivenUp
