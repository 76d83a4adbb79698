"""MNIST: 28×28 handwritten digits."""

import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.datasets import MNIST

from ..contract.card import Preparation
from .base import ImageDataModule
from .download import download

FILES = [f"{part}-{what}-ubyte" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1")]
EXPECTED = "MNIST/raw/ with the four files {train,t10k}-{images-idx3,labels-idx1}-ubyte"


class MNISTDataModule(ImageDataModule):
    """60,000 training and 10,000 test digits in the official files, downloaded if they are not there.

    Source: LeCun, Cortes & Burges, 1998.
    """

    prepare_image: Preparation = "mnist"
    intended_use = "One handwritten digit a picture, light on dark, framed as MNIST's are: the service sees to that."
    limitations = (
        "Not for printed digits, letters, several digits in one picture or digits in photographs: it names a digit "
        "whatever it is shown. Its writers were Americans of the early 1990s; other hands write 1, 4 and 7 otherwise."
    )

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple("0123456789")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return (1, 28, 28)

    def prepare_data(self) -> None:
        if all((self.data_dir / "MNIST/raw" / name).is_file() for name in FILES):
            return  # torchvision would read them all to say so
        fetch = lambda: MNIST(self.data_dir, download=True)  # noqa: E731
        download("MNIST", EXPECTED, self.data_dir, fetch)

    def load(self, train: bool) -> tuple[Tensor, Tensor]:
        return _mnist(self.data_dir, train)

    def describe(self) -> dict[str, Any]:
        return {
            "name": "MNIST",
            "variant": "official files",
            "source": "LeCun, Cortes & Burges (1998), The MNIST database of handwritten digits",
            "license": "CC-BY-SA-3.0",
        }


@cache
def _mnist(data_dir: Path, train: bool) -> tuple[Tensor, Tensor]:
    part = data_dir / "MNIST" / "raw" / ("train" if train else "t10k")
    images = _mapped(part.with_name(f"{part.name}-images-idx3-ubyte"))
    return images[:, None], _mapped(part.with_name(f"{part.name}-labels-idx1-ubyte")).long()


def _mapped(path: Path) -> Tensor:
    """An idx file where it lies, uint8: the number of dimensions in its fourth byte, each as four bytes, the data.

    Raises ValueError for a file that is cut short or something else.
    """
    start = path.open("rb").read(16)
    shape = [int.from_bytes(start[at : at + 4]) for at in range(4, 4 + 4 * start[3], 4)] if len(start) > 3 else []
    header = 4 + 4 * len(shape)
    if start[:3] != b"\0\0\x08" or path.stat().st_size != header + math.prod(shape):
        raise ValueError(f"{path.absolute()} is not a whole idx file of bytes: delete it, and it is fetched again")
    # Copy-on-write: the pages are shared, and torch gets memory that it may call writable.
    return torch.from_numpy(np.memmap(path, np.uint8, "c", header, tuple(shape)))
