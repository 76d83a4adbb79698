"""Find the image files below a folder."""

import os
from collections import Counter
from collections.abc import Iterator

from .images import SUFFIXES

OTHER_IMAGES = (".avif", ".bmp", ".gif", ".heic", ".heif", ".jxl", ".tif", ".tiff", ".webp")

Identity = tuple[int, int]
"""Device and inode of a folder: the same for all links to it."""


def identity(folder: str | os.PathLike[str]) -> Identity:
    """Return the identity of a folder."""
    found = os.stat(folder)
    return found.st_dev, found.st_ino


def image_files(
    folder: str, others: Counter[str] | None = None, visited: set[Identity] | None = None
) -> Iterator[os.DirEntry[str]]:
    """Give the PNG and JPEG files at any depth, by name within each folder.

    Hidden files and folders are left out: macOS adds such files to archives. Links are followed, to each folder once. A
    link to nothing is given, so that whoever reads it can say so.

    Entries of strings, since a Path takes ten times as long.

    Args:
        others: counts images of other formats by their suffix.
        visited: folders within this one that are left out. Those that are read here are added.
    """
    visited = set() if visited is None else visited
    visited.add(identity(folder))
    with os.scandir(folder) as scanned:
        entries = sorted(scanned, key=lambda entry: entry.name)
    for entry in entries:
        suffix = os.path.splitext(entry.name)[1].lower()
        if entry.name.startswith("."):
            continue
        if is_folder(entry):
            if identity(entry) not in visited:
                yield from image_files(entry.path, others, visited)
        elif suffix in SUFFIXES and _may_be_read(entry):
            yield entry
        elif others is not None and suffix in OTHER_IMAGES:
            others[suffix] += 1


def _may_be_read(entry: os.DirEntry[str]) -> bool:
    """Return True for a file, and for a link that leads nowhere, whose reading says so. A device could have no end."""
    try:
        return entry.is_file() or not os.path.exists(entry.path)
    except OSError:  # a link to itself
        return True


def readable(path: str | os.PathLike[str]) -> str:
    """Return a path as text. Bytes that are no UTF-8 are replaced."""
    return os.fsencode(path).decode(errors="replace")


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return True for a folder or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
