"""Worker processes end with the one that started them, and leave Ctrl-C to it."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread


@contextmanager
def ignoring_interrupts() -> Iterator[None]:
    """Let the processes that are started meanwhile ignore Ctrl-C. On Windows they inherit nothing."""
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def end_with_parent() -> None:
    """End this process, with exit code 1, as soon as the one that started it has ended, such as by a kill."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    Thread(target=wait, daemon=True).start()
