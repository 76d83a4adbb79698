"""Your own images, in class folders."""

from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from .augment import Augmentation
from .base import ImageDataModule
from .files import class_names, load_folder


class ImageFolderDataModule(ImageDataModule):
    """PNG or JPEG images of any size in `data_dir`/train/<class>/ and `data_dir`/test/<class>/.

    Each is turned upright (EXIF), cropped around the centre to the wanted proportions, resized with
    antialiasing, once, and cached: the service does the same to a picture it is sent.

    Args:
        data_dir: the folder that holds train/ and test/.
        size: (height, width) that the images are brought to.
        mode: RGB for colour, L for grey.
        batch_size: see ImageDataModule.
        eval_batch_size: see ImageDataModule.
        val_fraction: see ImageDataModule.
        augmentation: see ImageDataModule.
        seed: see ImageDataModule.
    """

    def __init__(
        self,
        data_dir: str | Path,
        size: tuple[int, int] = (32, 32),
        mode: Literal["RGB", "L"] = "RGB",
        batch_size: int = 64,
        eval_batch_size: int = 1000,
        val_fraction: float = 0.1,
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(data_dir, batch_size, eval_batch_size, val_fraction, augmentation, seed)
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
        part = self.data_dir / ("train" if train else "test")
        found = class_names(part)
        if found != self.classes:
            raise ValueError(f"{part} has the classes {', '.join(found)}, train/ has {', '.join(self.classes)}")
        return load_folder(part, found, self.image_shape)

    def describe(self) -> dict[str, Any]:
        return {"name": self.data_dir.absolute().name, "variant": "image folder"}
