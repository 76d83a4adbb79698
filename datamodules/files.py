"""Class folders of image files, decoded once into a memory-mapped array."""

import hashlib
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from ..contract.images import SUFFIXES, UndecodableImage, decode, fit

FORMAT = 1  # raise it when the same files would be decoded to other pixels


def cache_dir() -> Path:
    """Return the folder of decoded datasets: CNNZOO_CACHE, else ~/.cache/cnnzoo."""
    return Path(os.environ.get("CNNZOO_CACHE", "~/.cache/cnnzoo")).expanduser()


def class_names(folder: Path) -> tuple[str, ...]:
    """Return the sorted names of the class folders in `folder`. Raises FileNotFoundError if there are none."""
    names = [entry.name for entry in os.scandir(folder) if entry.is_dir()] if folder.is_dir() else []
    names = sorted(name for name in names if not name.startswith("."))
    if not names:
        raise FileNotFoundError(
            f"no class folders in {folder.absolute()}: expected one folder of PNG or JPEG images for "
            "each class, named after it"
        )
    return tuple(names)


def load_folder(folder: Path, classes: tuple[str, ...], shape: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """Return all images of `folder`/<class>/, cropped and resized to `shape` (channels, height, width).

    Decodes on the first use, and memory-maps the cached pixels until a file changes. If several processes decode at
    the same time, the first to finish fills the cache.

    Returns:
        images uint8 [N, C, H, W] in the order of classes and paths, and labels int64 [N].

    Raises:
        FileNotFoundError: no class folders, or a class without images.
        ValueError: other classes than `classes`, or a file that cannot be decoded.
    """
    if (found := class_names(folder)) != classes:
        raise ValueError(f"{folder.absolute()} holds the classes {', '.join(found)}: expected {', '.join(classes)}")
    files = [(label, *file) for label, name in enumerate(classes) for file in _images(folder / name)]
    cached = cache_dir() / f"{folder.parent.name}-{folder.name}-{_fingerprint(folder, files, shape)}"
    if not cached.is_dir():
        _decode_into(cached, [(label, Path(path)) for label, path, *_ in files], shape)
    # Copy-on-write: processes share the pages, and torch gets writable memory.
    images = np.load(cached / "images.npy", mmap_mode="c")
    labels = np.load(cached / "labels.npy")
    return torch.from_numpy(images), torch.from_numpy(labels)


def _images(folder: Path) -> list[tuple[str, int, int]]:
    """Return (path, size, time of last change) of each image below `folder`, sorted by path.

    Strings, since it runs at every start and a Path takes ten times as long.
    """
    found, folders = [], [str(folder)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir():
                    folders.append(entry.path)
                elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:
                    stat = entry.stat()
                    found.append((entry.path, stat.st_size, stat.st_mtime_ns))
    if not found:
        raise FileNotFoundError(f"no PNG or JPEG images in {folder.absolute()}: add some, or remove the folder")
    return sorted(found)


def _fingerprint(folder: Path, files: list[tuple[int, str, int, int]], shape: tuple[int, int, int]) -> str:
    start = len(str(folder))
    content = (FORMAT, shape, [(label, path[start:], *times) for label, path, *times in files])
    return hashlib.sha256(repr(content).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _decode_into(target: Path, files: list[tuple[int, Path]], shape: tuple[int, int, int]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        images = np.lib.format.open_memmap(staging / "images.npy", "w+", np.uint8, (len(files), *shape))

        def decode_one(number: int) -> None:
            path = files[number][1]
            try:
                images[number] = fit(decode(path.read_bytes()), shape)
            except UndecodableImage as error:
                raise ValueError(f"{path}: {error}; remove or replace it") from None

        with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes outside the GIL
            results = pool.map(decode_one, range(len(files)))
            for _ in track(results, f"Decoding {target.name}", total=len(files), transient=True):
                pass
        images.flush()
        np.save(staging / "labels.npy", np.array([label for label, _ in files], np.int64))
        if not target.is_dir():
            staging.rename(target)
    except OSError:
        if not target.is_dir():  # else another process finished first
            raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
