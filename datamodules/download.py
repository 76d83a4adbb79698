"""Downloads through torchvision, with a clear error within seconds if there is no internet."""

import socket
from collections.abc import Callable
from pathlib import Path

CONNECT_TIMEOUT = 5.0  # seconds


def download(name: str, expected: str, folder: Path, fetch: Callable[[], object]) -> None:
    """Run `fetch`, torchvision's download into `folder`.

    Raises FileNotFoundError, which says what was expected where and how to get it, if that fails.
    """
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(CONNECT_TIMEOUT)
    try:
        fetch()
    except (OSError, RuntimeError) as error:  # URLError is an OSError; torchvision raises RuntimeError
        reason = str(error).splitlines()[0]
        raise FileNotFoundError(
            f"{name} is not in {folder.absolute()}, and could not be downloaded ({reason}).\n"
            f"Expected there: {expected}.\n"
            "Copy these files into that folder from a machine that has them, or point CNNZOO_DATA "
            "(or --data.data_dir) at a folder that does."
        ) from None
    finally:
        socket.setdefaulttimeout(timeout)
