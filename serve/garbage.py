"""Python's cyclic garbage collector, kept from stopping the service in the middle of requests.

BentoML's timeout starts a timer for every request and never cancels it, so that thousands of small objects are alive
at any time. A full collection looks at each of them, and nobody is answered meanwhile.
Young garbage is collected seldom, since what a request leaves is freed without the collector; all of it once in a
while, if possible when nobody asks anything.
"""

import asyncio
import gc
import time
from collections.abc import Callable

QUIET = 10.0  # seconds after which there is a full collection, if nobody asks anything
LATEST = 600.0  # seconds after which there is one in any case


async def keep_collecting(idle: Callable[[], bool]) -> None:
    """Takes full collections over from the interpreter, for as long as the service runs."""
    gc.collect()
    gc.freeze()  # what has been imported and loaded stays, and need not be looked at again
    gc.set_threshold(50_000, 10, 1_000_000)
    last = time.monotonic()
    while True:
        await asyncio.sleep(QUIET)
        if idle() or time.monotonic() - last > LATEST:
            gc.collect()
            last = time.monotonic()
