"""Memory that a training step frees is kept for the next one."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of <malloc.h>


def keep_freed_memory() -> None:
    """Tells glibc not to hand freed memory back to the kernel; does nothing on other systems.

    Every step frees and asks for the same hundreds of megabytes. By default they go back each time, and come
    anew page by page. SpeedNet's large batches gain by it, the small networks hardly.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, -1)
