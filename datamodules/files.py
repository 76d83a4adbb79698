"""Class folders of image files."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..contract.images import SUFFIXES
from .decoded import Stamp, decoded

OnError = Literal["raise", "skip"]
SHOWN = 10  # unreadable files that an error lists

logger = logging.getLogger("cnnzoo.datamodules")


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


def load_folder(
    folder: Path, classes: Sequence[str], shape: tuple[int, int, int], on_error: OnError = "raise"
) -> tuple[Tensor, Tensor]:
    """Return all images of `folder`/<class>/, cropped and resized to `shape` (channels, height, width).

    Args:
        on_error: what to do with files that cannot be decoded: raise, or skip them with a warning.

    Returns:
        images uint8 [N, C, H, W], memory-mapped, in the order of classes and paths, and labels int64 [N].

    Raises:
        FileNotFoundError: no class folders, or a class without images.
        ValueError: other classes than `classes`, files that cannot be decoded, or too little space on the disk.
    """
    if (found := class_names(folder)) != tuple(classes):
        raise ValueError(f"{folder.absolute()} holds the classes {', '.join(found)}: expected {', '.join(classes)}")
    files = [file for name in classes for file in _images(folder, name)]
    result = decoded(folder, files, shape)
    if result.unreadable:
        _report(folder, result.unreadable, len(files), on_error)
    number = {name: label for label, name in enumerate(classes)}
    labels = [number[path.split(os.sep, 1)[0]] for path, *_ in result.files]
    if len(set(labels)) < len(classes):
        empty = [name for name in classes if number[name] not in set(labels)]
        raise ValueError(f"none of the images of {', '.join(empty)} in {folder.absolute()} can be decoded")
    return torch.from_numpy(result.images), torch.from_numpy(np.array(labels, np.int64))


def _report(folder: Path, unreadable: dict[str, str], files: int, on_error: OnError) -> None:
    lines = [f"  {folder / path}: {reason}" for path, reason in list(unreadable.items())[:SHOWN]]
    lines += [f"  and {len(unreadable) - SHOWN} more"] if len(unreadable) > SHOWN else []
    what = f"{len(unreadable):,} of {files:,} files in {folder.absolute()} cannot be decoded"
    if on_error == "raise":
        advice = "remove or replace them, or leave them out with data.on_error: skip"
        raise ValueError("\n".join([f"{what}; {advice}:", *lines]))
    logger.warning("%s and are left out:\n%s", what, "\n".join(lines))


def _images(folder: Path, name: str) -> list[Stamp]:
    """Return the image files below a class folder, sorted by path.

    Strings, since it runs at every start and a Path takes ten times as long.
    """
    root = os.path.join(folder, "")
    found, folders = [], [root + name]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir():
                    folders.append(entry.path)
                elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:
                    stat = entry.stat()
                    found.append((entry.path[len(root) :], stat.st_size, stat.st_mtime_ns))
    if not found:
        raise FileNotFoundError(
            f"no PNG or JPEG images in {(folder / name).absolute()}: add some, or remove the folder"
        )
    return sorted(found)
