"""Image files, decoded once by all cores into one file of pixels that is memory-mapped."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from rich.progress import Progress

from ..contract.files import atomic_write, cache_dir
from ..contract.images import UndecodableImage, fit, read_image
from ..contract.machine import cores

FORMAT = 3  # raise it when the same files would be decoded to other pixels
CHUNK = 512  # images between two notes of what is done
INDEX = "index.json"

Stamp = tuple[str, int, int]
"""Path relative to the folder, size in bytes, and time of the last change in nanoseconds."""


@dataclass
class Decoded:
    """Pixels of image files.

    Args:
        images: uint8 [N, C, H, W], copy-on-write: processes share the pages, and torch gets writable memory.
        files: the N files, in the order of the images.
        unreadable: reason by path, of files that are not among them.
    """

    images: np.ndarray
    files: list[Stamp]
    unreadable: dict[str, str]


def decoded(folder: Path, files: Sequence[Stamp], shape: tuple[int, int, int]) -> Decoded:
    """Return the pixels of the files of a folder, cropped and resized to `shape` (channels, height, width).

    Decodes what is not in the cache yet: new and changed files. A decoding that was stopped goes on where it was. If
    several processes ask at the same time, one decodes and the others wait.

    Raises ValueError if the disk has too little space.
    """
    name = f"{folder.parent.name}-{folder.name}"[-60:]  # a file system takes 255 bytes
    place = cache_dir() / f"{name}-{_hash(FORMAT, str(folder.absolute()), shape)}"
    place.mkdir(parents=True, exist_ok=True)
    with FileLock(place / "lock"):
        index = _read_index(place)
        if index is None or {tuple(file) for file in index["asked"]} != set(files):
            index = _decode(folder, list(files), shape, place, index)
        size = (len(index["files"]), *shape)  # mapped before another process may replace the file
        images = np.memmap(place / index["pixels"], np.uint8, "c", shape=size) if size[0] else np.empty(size, np.uint8)
    return Decoded(images, [(str(p), int(s), int(m)) for p, s, m in index["files"]], index["unreadable"])


def _hash(*content: object) -> str:
    return hashlib.sha256(repr(content).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _read_index(place: Path) -> dict[str, Any] | None:
    """Return what the cache holds; None if it is not complete."""
    try:
        index: dict[str, Any] = json.loads((place / INDEX).read_text())
        return index if (place / index["pixels"]).is_file() else None
    except (OSError, ValueError):
        return None


def _decode(
    folder: Path, files: list[Stamp], shape: tuple[int, int, int], place: Path, before: dict[str, Any] | None
) -> dict[str, Any]:
    """Decode the files into a new file of pixels, and return its index."""
    # Never the name of the file that is copied from, which another process may have mapped.
    pixels = place / f"{_hash(files, before and before['pixels'])}.pixels"
    state = pixels.with_suffix(".done")
    size = int(np.prod(shape))
    _keep_only(place, {pixels.name, state.name, "lock", INDEX, before["pixels"] if before else ""})
    _check_space(pixels, len(files), shape)
    if not (pixels.is_file() and state.is_file()):
        _allocate(pixels, len(files) * size)
        _allocate(state, len(files))
    images = np.memmap(pixels, np.uint8, "r+", shape=(len(files), *shape))
    done = np.memmap(state, np.uint8, "r+", shape=len(files))
    copy = _copier(place, before, shape)
    unreadable: dict[str, str] = {}
    unopened: set[str] = set()  # which may be readable the next time

    def one(number: int) -> bool:
        path, *_ = files[number]
        known = copy(files[number])
        try:
            images[number] = fit(read_image(folder / path), shape) if known is None else known
        except UndecodableImage as error:
            unreadable[path] = str(error)
            return False
        except (OSError, MemoryError) as error:
            unreadable[path] = getattr(error, "strerror", None) or str(error) or "there is too little memory"
            unopened.add(path)
            return False
        return True

    def note(numbers: list[int]) -> None:
        images.flush()
        done[numbers] = 1
        done.flush()

    _in_chunks(np.flatnonzero(done == 0), one, note, f"Decoding {folder.name}")
    kept = np.flatnonzero(done)
    state.unlink()  # what follows cannot be resumed
    if unreadable:
        for to, number in enumerate(kept):
            images[to] = images[number]
        images.flush()
        os.truncate(pixels, len(kept) * size)
    asked = [file for file in files if file[0] not in unopened]
    index = {"pixels": pixels.name, "asked": asked, "files": [files[n] for n in kept], "unreadable": unreadable}
    with atomic_write(place / INDEX) as path:
        path.write_text(json.dumps(index))
    _keep_only(place, {pixels.name, "lock", INDEX})
    return index


def _in_chunks(numbers: np.ndarray, work: Callable[[int], bool], note: Callable[[list[int]], None], title: str) -> None:
    """Work on all numbers on all cores, with a progress bar, and note after each chunk those that succeeded."""
    chunks = np.array_split(numbers, range(CHUNK, len(numbers), CHUNK))
    with ThreadPoolExecutor(cores()) as pool, Progress(transient=True) as progress:
        bar = progress.add_task(title, total=len(numbers))
        for chunk in chunks:
            succeeded = []
            for number, success in zip(chunk, pool.map(work, chunk), strict=True):  # Pillow decodes outside the GIL
                progress.advance(bar)
                succeeded += [int(number)] if success else []
            note(succeeded)


def _copier(
    place: Path, before: dict[str, Any] | None, shape: tuple[int, int, int]
) -> Callable[[Stamp], np.ndarray | None]:
    """Return a function that gives the pixels of a file that has not changed since it was decoded before."""
    if before is None or not before["files"]:
        return lambda file: None
    images = np.memmap(place / before["pixels"], np.uint8, "r", shape=(len(before["files"]), *shape))
    row = {tuple(file): number for number, file in enumerate(before["files"])}
    return lambda file: images[row[file]] if file in row else None


def _check_space(pixels: Path, images: int, shape: tuple[int, int, int]) -> None:
    there = pixels.stat().st_size if pixels.is_file() else 0
    needed, free = images * int(np.prod(shape)) - there, shutil.disk_usage(pixels.parent).free
    if needed > free:
        gigabytes = f"take {needed / 1e9:.2f} GB in {pixels.parent.parent}, and {free / 1e9:.2f} GB are free"
        raise ValueError(
            f"{images:,} images of {shape[1]} × {shape[2]} pixels {gigabytes}: set CNNZOO_CACHE to a folder with more "
            "space, or data.size to less"
        )


def _allocate(path: Path, size: int) -> None:
    """Create a file of zeros whose space is reserved: a full disk is an error here, and not a crash later."""
    with path.open("wb") as file:
        if size and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:  # macOS and Windows
            file.truncate(size)


def _keep_only(place: Path, names: set[str]) -> None:
    for path in place.iterdir():
        if path.name not in names:
            path.unlink()
