"""Your own images, in class folders."""

import logging
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from .base import ImageDataModule
from .batches import ImageDataset
from .files import Folder, OnError, class_names, find_splits, folder_names, load_folder
from .split_by_path import held_out

logger = logging.getLogger("cnnzoo.datamodules")


class ImageFolderDataModule(ImageDataModule):
    """PNG or JPEG images of any size, in a folder for each class.

    Either `data_dir` has the class folders, and images of each class are held out for validation and test. Or it has
    the folders train/ and test/ with the class folders in them, and also val/ if no training images shall be held out.
    A file's path decides whether it is held out: files that are added move no others, except in a class of a few files.

    Each image is turned upright (EXIF), cropped around the center to the proportions of `size`, resized with
    antialiasing, and cached. The service prepares an image that it is sent in the same way.

    Args:
        data_dir: the folder. It must be given.
        size: (height, width) of the network's input.
        mode: RGB for color, L for grey.
        test_fraction: share of the images that is held out for the test, if there is no train/.
        on_error: what to do with files that cannot be decoded: raise an error that lists them, or skip them.
        kwargs: see ImageDataModule.
    """

    def __init__(
        self,
        data_dir: str | Path | None = None,
        size: tuple[int, int] = (32, 32),
        mode: Literal["RGB", "L"] = "RGB",
        test_fraction: float = 0.2,
        on_error: OnError = "raise",
        **kwargs: Any,
    ) -> None:
        if data_dir is None:
            raise ValueError("data.data_dir is not set: give your folder of images, such as --data.data_dir my_photos")
        super().__init__(data_dir, **kwargs)
        if not 0 < test_fraction < 1:
            raise ValueError(f"data.test_fraction is {test_fraction}: expected a share between 0 and 1")
        self.size = size
        self.mode = mode
        self.test_fraction = test_fraction
        self.on_error = on_error

    @property
    def classes(self) -> tuple[str, ...]:
        return class_names(self._folder("train"))

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return (1 if self.mode == "L" else 3, *self.size)

    @property
    def validates(self) -> bool:
        return "val" in find_splits(self.data_dir) or super().validates

    def prepare_data(self) -> None:
        splits = find_splits(self.data_dir)
        others = set(folder_names(self.data_dir)) - {folder.name for folder in splits.values()}
        if splits and others:
            logger.warning("%s in %s are left out", ", ".join(sorted(others)), self.data_dir.absolute())
        for split in splits or ("train",):
            self._read(split)

    def load(self, train: bool) -> tuple[Tensor, Tensor]:
        if find_splits(self.data_dir):
            found = self._read("train" if train else "test")
            return found.images, found.labels
        found = self._read("train")
        chosen = torch.from_numpy(self._tested(found) ^ train)
        return found.images[chosen], found.labels[chosen]

    def split_training_images(self) -> None:
        if "val" in find_splits(self.data_dir):
            self.splits |= {split: ImageDataset(*self._read(split)[:2]) for split in ("train", "val")}
            return
        found = self._read("train")
        training = np.flatnonzero(~self._tested(found))
        paths = [found.paths[number] for number in training]
        held = held_out(paths, found.labels.numpy()[training], self.val_fraction, self.seed, "validation")
        self.fill(found.images, found.labels, train=training[~held], val=training[held])

    def load_test_images(self) -> None:
        if find_splits(self.data_dir):
            super().load_test_images()
        else:
            found = self._read("train")
            self.fill(found.images, found.labels, test=np.flatnonzero(self._tested(found)))

    def _tested(self, found: Folder) -> np.ndarray:
        """Return True for the images of the folder that are held out for the test, bool [N]."""
        share = 0 if find_splits(self.data_dir) else self.test_fraction
        stay = 2 if self.val_fraction else 1  # one of them is held out for validation
        return held_out(found.paths, found.labels.numpy(), share, self.seed, "test", stay)

    def _read(self, split: str) -> Folder:
        return load_folder(self._folder(split), self.classes, self.image_shape, self.on_error)

    def _folder(self, split: str) -> Path:
        splits = find_splits(self.data_dir)
        if splits and split not in splits:
            there = ", ".join(f"{folder.name}/" for folder in splits.values())
            raise FileNotFoundError(
                f"{self.data_dir.absolute()} has {there} but no {split}/: add it, with the same class folders"
            )
        return splits[split] if splits else self.data_dir

    def describe(self) -> dict[str, Any]:
        return {"name": os.path.basename(os.path.abspath(self.data_dir)), "variant": "image folder"}
