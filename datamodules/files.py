"""Class folders of image files."""

import logging
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..contract.card import printable
from ..contract.image_files import Identity, identity, image_files, is_folder
from .decoded import Stamp, decoded

OnError = Literal["raise", "skip"]
SHOWN = 10  # unreadable files that an error lists
SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"} | {
    "test": "test", "testing": "test",
}  # fmt: skip

logger = logging.getLogger("cnnzoo.datamodules")


class Folder(NamedTuple):
    """Images of class folders.

    Args:
        images: uint8 [N, C, H, W], memory-mapped, in the order of classes and paths.
        labels: int64 [N].
        paths: of the files, relative to the folder, with forward slashes.
    """

    images: Tensor
    labels: Tensor
    paths: list[str]


def find_splits(folder: Path) -> dict[str, Path]:
    """Return the folders of a dataset's splits: train, val and test. Empty if it is not split.

    It is split if it has a folder for training, and one for validation or for the test or no other folder. So a class
    may be called train.

    Raises ValueError if two folders are of the same split.
    """
    folders = folder_names(folder)
    found: dict[str, list[Path]] = {}
    for name in folders:
        if split := SPLITS.get(name.lower()):
            found.setdefault(split, []).append(folder / name)
    if "train" not in found or (len(found) == 1 and len(found["train"]) < len(folders)):
        return {}
    for split, same in found.items():
        if len(same) > 1:
            raise ValueError(f"{same[0]} and {same[1]} are both for {split}: keep one of them")
    return {split: same[0] for split, same in found.items()}


def class_names(folder: Path) -> tuple[str, ...]:
    """Return the sorted names of the class folders in `folder`.

    Raises FileNotFoundError for none, and ValueError for a single one, or for a name with control characters or
    bytes that are no UTF-8.
    """
    names = folder_names(folder)
    if not names:
        what = "no class folders in" if folder.is_dir() else "there is no folder"
        raise FileNotFoundError(
            f"{what} {folder.absolute()}: expected one folder of PNG or JPEG images for each class, named after it"
        )
    if len(names) == 1:
        raise ValueError(
            f"{folder.absolute()} has one class folder, {names[0]!r}: give the folder that holds one for each of at "
            "least two classes"
        )
    for name in names:
        try:
            printable(name).encode()
        except ValueError:
            raise ValueError(f"the folder {str(folder.absolute() / name)!r} cannot name a class: rename it") from None
    return tuple(names)


def folder_names(folder: Path) -> list[str]:
    """Return the sorted names of the folders in a folder, if there is one, without hidden ones."""
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in os.scandir(folder) if is_folder(entry) and not entry.name.startswith("."))


def load_folder(
    folder: Path, classes: Sequence[str], shape: tuple[int, int, int], on_error: OnError = "raise"
) -> Folder:
    """Return all images of `folder`/<class>/, cropped and resized to `shape` (channels, height, width).

    Args:
        on_error: what to do with files that cannot be decoded: raise, or skip them with a warning.

    Warns of images that are neither PNG nor JPEG, and leaves them out.

    Raises:
        FileNotFoundError: no class folders, or a class without images.
        ValueError: other classes than `classes`, files that cannot be decoded, or too little space on the disk.
    """
    if (found := class_names(folder)) != tuple(classes):
        raise ValueError(f"{folder.absolute()} holds the classes {', '.join(found)}: expected {', '.join(classes)}")
    others: Counter[str] = Counter()
    visited = {identity(folder), *(identity(folder / name) for name in classes)}  # a link to another class is none
    files = [file for name in classes for file in _images(folder, name, others, visited)]
    if others:
        logger.warning("%s in %s are left out: convert them to PNG or JPEG", _counts(others), folder.absolute())
    result = decoded(folder, files, shape)
    if result.unreadable:
        _report(folder, result.unreadable, len(files), on_error)
    number = {name: label for label, name in enumerate(classes)}
    labels = [number[path.split(os.sep, 1)[0]] for path, *_ in result.files]
    if len(set(labels)) < len(classes):
        empty = [name for name in classes if number[name] not in set(labels)]
        raise ValueError(f"none of the images of {', '.join(empty)} in {folder.absolute()} can be decoded")
    paths = [path.replace(os.sep, "/") for path, *_ in result.files]
    return Folder(torch.from_numpy(result.images), torch.from_numpy(np.array(labels, np.int64)), paths)


def _report(folder: Path, unreadable: dict[str, str], files: int, on_error: OnError) -> None:
    lines = [f"  {folder / path}: {reason}" for path, reason in list(unreadable.items())[:SHOWN]]
    lines += [f"  and {len(unreadable) - SHOWN} more"] if len(unreadable) > SHOWN else []
    what = f"{len(unreadable):,} of {files:,} files in {folder.absolute()} cannot be decoded"
    if on_error == "raise":
        advice = "remove or replace them, or leave them out with data.on_error: skip"
        raise ValueError("\n".join([f"{what}; {advice}:", *lines]))
    logger.warning("%s and are left out:\n%s", what, "\n".join(lines))


def _images(folder: Path, name: str, others: Counter[str], visited: set[Identity]) -> list[Stamp]:
    """Return the image files below a class folder, sorted by path, and count images of other formats."""
    root = os.path.join(folder, "")
    own: Counter[str] = Counter()
    found = [(entry.path[len(root) :], *_stamp(entry)) for entry in image_files(root + name, own, visited)]
    others.update(own)
    if not found:
        left_out = f" (it has {_counts(own)})" if own else ""
        raise FileNotFoundError(
            f"no PNG or JPEG images in {(folder / name).absolute()}{left_out}: add some, or remove this class from "
            "all splits"
        )
    return sorted(found)


def _stamp(entry: os.DirEntry[str]) -> tuple[int, int]:
    try:
        found = entry.stat()
    except OSError:  # a link to nothing, which is reported when it is read
        return 0, 0
    return found.st_size, found.st_mtime_ns


def _counts(others: Counter[str]) -> str:
    return ", ".join(f"{count:,} {suffix}" for suffix, count in sorted(others.items()))
