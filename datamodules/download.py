"""Downloads through torchvision, with an answer within seconds where there is no internet."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

CONNECT_TIMEOUT = 5.0  # seconds without an answer after which a mirror counts as out of reach


def download(what: str, expected: str, folder: Path, fetch: Callable[[], object]) -> None:
    """Runs `fetch`, torchvision's download into `folder`.

    Raises FileNotFoundError, which says what was expected where and how to get it, if that fails.
    """
    try:
        with _timeout(CONNECT_TIMEOUT):
            fetch()
    except (OSError, RuntimeError) as error:  # URLError is an OSError; torchvision raises RuntimeError
        reason = str(error).splitlines()[0]
        raise FileNotFoundError(
            f"{what} is not in {folder.absolute()}, and could not be downloaded ({reason}).\n"
            f"Expected there: {expected}.\n"
            "Copy these files into that folder from a machine that has them, or point CNNZOO_DATA "
            "(or --data.data_dir) at a folder that does."
        ) from None


@contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
