"""Your own images, in class folders."""

from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from .base import ImageDataModule
from .files import class_names, load_folder


class ImageFolderDataModule(ImageDataModule):
    """PNG or JPEG images of any size in `data_dir`/train/<class>/ and `data_dir`/test/<class>/.

    Each image is turned upright (EXIF), cropped around the center to the proportions of `size`, resized with
    antialiasing, and cached. The service prepares an image that it is sent in the same way.

    Args:
        data_dir: the folder that holds train/ and test/.
        size: (height, width) of the network's input.
        mode: RGB for color, L for grey.
        kwargs: see ImageDataModule.
    """

    def __init__(
        self,
        data_dir: str | Path,
        size: tuple[int, int] = (32, 32),
        mode: Literal["RGB", "L"] = "RGB",
        **kwargs: Any,
    ) -> None:
        super().__init__(data_dir, **kwargs)
        self.size = size
        self.mode = mode

    @property
    def classes(self) -> tuple[str, ...]:
        return class_names(self.data_dir / "train")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return (1 if self.mode == "L" else 3, *self.size)

    def prepare_data(self) -> None:
        self.load(train=True)
        if (self.data_dir / "test").is_dir():
            self.load(train=False)

    def load(self, train: bool) -> tuple[Tensor, Tensor]:
        return load_folder(self.data_dir / ("train" if train else "test"), self.classes, self.image_shape)

    def describe(self) -> dict[str, Any]:
        return {"name": self.data_dir.absolute().name, "variant": "image folder"}
