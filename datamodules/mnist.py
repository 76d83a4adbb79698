"""MNIST: 28×28 handwritten digits."""

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.datasets import MNIST

from .base import ImageDataModule
from .download import download

EXPECTED = "MNIST/raw/ with the four files {train,t10k}-{images-idx3,labels-idx1}-ubyte"


class MNISTDataModule(ImageDataModule):
    """60,000 training and 10,000 test digits in the official files, downloaded if they are not there.

    Source: LeCun, Cortes & Burges, 1998.
    """

    prepare_picture = "mnist"

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple("0123456789")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return (1, 28, 28)

    def prepare_data(self) -> None:
        fetch = lambda: MNIST(self.data_dir, download=True)  # noqa: E731
        download("MNIST", EXPECTED, self.data_dir, fetch)

    def load(self, train: bool) -> tuple[Tensor, Tensor]:
        return _mnist(self.data_dir, train)

    def describe(self) -> dict[str, Any]:
        return {
            "name": "MNIST",
            "variant": "official files",
            "source": "LeCun, Cortes & Burges (1998), The MNIST database of handwritten digits",
            "licence": "CC-BY-SA-3.0",
        }


@cache
def _mnist(data_dir: Path, train: bool) -> tuple[Tensor, Tensor]:
    files = MNIST(data_dir, train=train)
    return files.data[:, None], files.targets.to(torch.int64)
