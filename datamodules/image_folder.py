"""Your own images, in class folders."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor

from .base import ImageDataModule
from .batches import ImageDataset
from .files import OnError, class_names, load_folder


class ImageFolderDataModule(ImageDataModule):
    """PNG or JPEG images of any size, in a folder for each class.

    Either `data_dir` has the class folders, and parts of each class are held out for validation and test. Or it has the
    folders train/ and test/ with the class folders in them, and also val/ if no training images shall be held out.

    Each image is turned upright (EXIF), cropped around the center to the proportions of `size`, resized with
    antialiasing, and cached. The service prepares an image that it is sent in the same way.

    Args:
        data_dir: the folder. It must be given.
        size: (height, width) of the network's input.
        mode: RGB for color, L for grey.
        test_fraction: share of the images that is held out for the test, stratified by class, if there is no train/.
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
        return class_names(self.data_dir if self._in_one_folder else self.data_dir / "train")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return (1 if self.mode == "L" else 3, *self.size)

    @property
    def validates(self) -> bool:
        return self._has_val or super().validates

    @property
    def _in_one_folder(self) -> bool:
        return not (self.data_dir / "train").is_dir()

    @property
    def _has_val(self) -> bool:
        return not self._in_one_folder and (self.data_dir / "val").is_dir()

    def prepare_data(self) -> None:
        if self._in_one_folder:
            self._read("")
            return
        for part in ("train", "val", "test"):
            if part == "train" or (self.data_dir / part).is_dir():
                self._read(part)

    def load(self, train: bool) -> tuple[Tensor, Tensor]:
        if not self._in_one_folder:
            return self._read("train" if train else "test")
        images, labels, *parts = self._divided()
        indices = parts[0 if train else 1]
        return images[indices], labels[indices]

    def split_training_images(self) -> None:
        if self._in_one_folder:
            images, labels, training, _ = self._divided()
            train, val = self.held_out(labels, training, "val_fraction")
            self.fill(images, labels, train=train, val=val)
        elif self._has_val:
            self.splits |= {part: ImageDataset(*self._read(part)) for part in ("train", "val")}
        else:
            super().split_training_images()

    def load_test_images(self) -> None:
        if self._in_one_folder:
            images, labels, _, test = self._divided()
            self.fill(images, labels, test=test)
        else:
            super().load_test_images()

    def _divided(self) -> tuple[Tensor, Tensor, np.ndarray, np.ndarray]:
        """Return all images and labels of the one folder, and the positions of those for training and for the test."""
        images, labels = self._read("")
        return images, labels, *self.held_out(labels, np.arange(len(labels)), "test_fraction")

    def _read(self, part: str) -> tuple[Tensor, Tensor]:
        return load_folder(self.data_dir / part, self.classes, self.image_shape, self.on_error)

    def describe(self) -> dict[str, Any]:
        return {"name": self.data_dir.absolute().name, "variant": "image folder"}
