"""CIFAR-10: 32×32 photographs of ten things."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.datasets import CIFAR10

from .base import ImageDataModule
from .download import download
from .files import SUFFIXES, class_names, load_folder

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SHAPE = (3, 32, 32)
EXPECTED = "cifar-10-batches-py/ (the official python version), or cifar10/{train,test}/<class>/ with images"

# The luminance quantisation table of the JPEG standard (ITU-T T.81, table K.1), which libjpeg
# scales by the quality setting.
_LUMINANCE = np.array([
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
])  # fmt: skip


class CIFAR10DataModule(ImageDataModule):
    """50,000 training and 10,000 test images in ten classes.

    Class folders `cifar10/{train,test}/<class>/` are read where they exist; else the official
    files, downloaded if they are not there. Source: Krizhevsky, "Learning Multiple Layers of
    Features from Tiny Images", 2009.
    """

    intended_use = "Photographs of one of its ten things, filling the picture, seen at 32×32 pixels."
    limitations = (
        "Not for anything but its ten classes, of which it names one whatever it is shown, people among it; nor for "
        "small things in large pictures. Its pictures are what the web gave for English words before 2009."
    )

    @property
    def classes(self) -> tuple[str, ...]:
        return CLASSES

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return SHAPE

    @property
    def folder(self) -> Path:
        return self.data_dir / "cifar10"

    def prepare_data(self) -> None:
        if self.folder.is_dir():
            for train in (True, False):
                self.load(train)  # decoded once, by one process a host
            return
        fetch = lambda: CIFAR10(self.data_dir, download=True)  # noqa: E731
        download("CIFAR-10", EXPECTED, self.data_dir, fetch)

    def load(self, train: bool) -> tuple[Tensor, Tensor]:
        if not self.folder.is_dir():
            return _official(self.data_dir, train)
        part = self.folder / ("train" if train else "test")
        found = class_names(part)
        if found != CLASSES:
            raise ValueError(f"{part.absolute()} holds the classes {', '.join(found)}: expected {', '.join(CLASSES)}")
        return load_folder(part, CLASSES, SHAPE)

    def describe(self) -> dict[str, Any]:
        variant = "official files"
        if self.folder.is_dir():
            first = next(p for p in sorted(self.folder.rglob("*")) if p.suffix.lower() in SUFFIXES)
            variant = encoding(first)
        return {
            "name": "CIFAR-10",
            "variant": variant,
            "source": "Krizhevsky (2009), Learning Multiple Layers of Features from Tiny Images",
            "license": "none stated by its authors",
        }


def encoding(path: Path) -> str:
    """How an image file is encoded: "PNG", or "JPEG q75" where its tables are libjpeg's for quality 75."""
    with Image.open(path) as image:
        tables = getattr(image, "quantization", None)
        if not tables:
            return str(image.format)
        for quality in range(100, 0, -1):
            scale = 200 - 2 * quality if quality >= 50 else 5000 // quality
            if np.array_equal(np.clip((_LUMINANCE * scale + 50) // 100, 1, 255), tables[0]):
                return f"JPEG q{quality}"
    return "JPEG"


@cache
def _official(data_dir: Path, train: bool) -> tuple[Tensor, Tensor]:
    files = CIFAR10(data_dir, train=train)
    images = torch.from_numpy(files.data).permute(0, 3, 1, 2).contiguous()
    return images, torch.tensor(files.targets, dtype=torch.int64)
