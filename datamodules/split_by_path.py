"""Hold out files by the hash of their path, so that files that are added move no others.

A class of a few files is an exception: it has at least one in each split, and which one may change as it grows.
"""

import hashlib
from collections.abc import Sequence

import numpy as np


def held_out(
    paths: Sequence[str], labels: np.ndarray, share: float, seed: int, split: str, stay: int = 1
) -> np.ndarray:
    """Return True for the files that are held out, bool [N].

    The hash of a path is a number from 0 to 1, and a file is held out if its number is below `share`. Of each
    class, at least one file is held out and at least `stay` are not.

    Args:
        paths: of the files, relative to the folder of classes.
        labels: of the files, int64 [N].
        split: name of the split that they are held out for. Each has other numbers.
        stay: files of each class that are not held out.

    Raises ValueError if a class has too few files.
    """
    if not share:
        return np.zeros(len(labels), bool)
    numbers = np.array([_number(f"{seed}/{split}/{path}") for path in paths])
    held = numbers < share
    order = np.argsort(labels, kind="stable")
    for files in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1):
        if len(files) <= stay:
            raise ValueError(
                f"too few images like {paths[files[0]]}: each class needs one for each split (training, test, and "
                "validation unless data.val_fraction is 0); add some, or remove the class"
            )
        files = files[numbers[files].argsort()]
        held[files[0]] = True
        held[files[-stay:]] = False
    return held


def _number(text: str) -> float:
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
