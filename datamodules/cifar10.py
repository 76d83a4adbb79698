"""CIFAR-10: 32×32 photographs in ten classes."""

import io
from functools import cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.datasets import CIFAR10

from ..contract.card import Preparation
from ..contract.image_files import image_files
from .base import ImageDataModule
from .download import download
from .files import load_folder

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
EXPECTED = "cifar-10-batches-py/ (the official python version), or cifar10/{train,test}/<class>/ with images"


class CIFAR10DataModule(ImageDataModule):
    """50,000 training and 10,000 test images in ten classes.

    Reads the class folders `cifar10/{train,test}/<class>/` if they exist, else the official files, which are
    downloaded if they are missing. Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
    """

    classes = CLASSES
    image_shape = (3, 32, 32)
    intended_use = "Photographs of one object of its ten classes that fills the image, at 32×32 pixels."
    limitations = (
        "Not for anything but its ten classes: it answers with one of them for any image, also for one of a person. "
        "Not for small objects in large images. Its images were found on the web by English words before 2009."
    )

    @property
    def folder(self) -> Path:
        return self.data_dir / "cifar10"

    @property
    def prepare_image(self) -> Preparation:
        # The copy's pixels have lost details that a photo still has when it is scaled to 32×32.
        return "photo_jpeg75" if self.folder.is_dir() and _variant(self.folder) == "JPEG q75" else "photo"

    def prepare_data(self) -> None:
        if self.folder.is_dir():
            for train in (True, False):
                self.load(train)  # decoded once, by one process a host
            return
        download("CIFAR-10", EXPECTED, self.data_dir, lambda: CIFAR10(self.data_dir, download=True))

    def load(self, train: bool) -> tuple[Tensor, Tensor]:
        if not self.folder.is_dir():
            return _official(self.data_dir, train)
        return load_folder(self.folder / ("train" if train else "test"), CLASSES, self.image_shape)[:2]

    def describe(self) -> dict[str, Any]:
        return {
            "name": "CIFAR-10",
            "variant": _variant(self.folder) if self.folder.is_dir() else "official files",
            "source": "Krizhevsky (2009), Learning Multiple Layers of Features from Tiny Images",
            "license": "none stated by its authors",
        }


@cache
def _variant(folder: Path) -> str:
    """Return the encoding of a folder's first image. Raises FileNotFoundError if there is none."""
    first = next(image_files(str(folder)), None)
    if first is None:
        raise FileNotFoundError(f"no PNG or JPEG images in {folder.absolute()}: add them, or remove it")
    return encoding(Path(first.path))


def encoding(path: Path) -> str:
    """Return an image file's encoding: "PNG", or "JPEG q75" if its tables are libjpeg's for quality 75."""
    with Image.open(path) as image:
        tables = getattr(image, "quantization", None)
        if not tables:
            return str(image.format)
        quality = next((q for q in range(100, 0, -1) if _luminance_table(q) == list(tables[0])), None)
        return f"JPEG q{quality}" if quality else "JPEG"


def _luminance_table(quality: int) -> list[int]:
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as image:
        return list(image.quantization[0])  # type: ignore[attr-defined]


@cache
def _official(data_dir: Path, train: bool) -> tuple[Tensor, Tensor]:
    files = CIFAR10(data_dir, train=train)
    images = torch.from_numpy(files.data).permute(0, 3, 1, 2).contiguous()
    return images, torch.tensor(files.targets, dtype=torch.int64)
