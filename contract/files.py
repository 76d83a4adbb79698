"""The cache folder, and atomic writes: a file is complete or absent, even if the process is killed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_dir() -> Path:
    """Return the folder of decoded photos and of locks: CNNZOO_CACHE, else ~/.cache/cnnzoo."""
    return Path(os.environ.get("CNNZOO_CACHE") or "~/.cache/cnnzoo").expanduser()


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and rename it to `path` if the block succeeds.

    Creates the folder. Removes the temporary file if the block raises.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
