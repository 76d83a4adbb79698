"""End a worker process whose first process was killed, and so could not end it."""

import multiprocessing
import os
from threading import Thread


def end_with_parent() -> None:
    """End this process, with exit code 1, as soon as the one that started it has ended."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    Thread(target=wait, daemon=True).start()
