"""The image files below a folder."""

import os
from collections import Counter
from collections.abc import Iterator

from .images import SUFFIXES

OTHER_IMAGES = (".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jxl", ".tif", ".tiff", ".webp")

Visited = set[tuple[int, int]]
"""Device and inode of folders."""


def image_files(
    folder: str, others: Counter[str] | None = None, visited: Visited | None = None
) -> Iterator[os.DirEntry[str]]:
    """Give the PNG and JPEG files at any depth, by name within each folder.

    Hidden files and folders are left out: macOS adds such files to archives. Links are followed, to each folder once. A
    link to nothing is given, so that whoever reads it can say so.

    Entries of strings, since a Path takes ten times as long.

    Args:
        others: counts images of other formats by their suffix.
        visited: folders that are left out. Those that are read here are added.
    """
    visited = set() if visited is None else visited
    found = os.stat(folder)
    if (found.st_dev, found.st_ino) in visited:
        return
    visited.add((found.st_dev, found.st_ino))
    with os.scandir(folder) as scanned:
        entries = sorted(scanned, key=lambda entry: entry.name)
    for entry in entries:
        suffix = os.path.splitext(entry.name)[1].lower()
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from image_files(entry.path, others, visited)
        elif suffix in SUFFIXES and (entry.is_file() or entry.is_symlink()):
            yield entry
        elif others is not None and suffix in OTHER_IMAGES:
            others[suffix] += 1
