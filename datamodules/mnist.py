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

FILES = [f"{split}-{kind}-ubyte" for split in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
EXPECTED = "MNIST/raw/ with the four files {train,t10k}-{images-idx3,labels-idx1}-ubyte"


class MNISTDataModule(ImageDataModule):
    """60,000 training and 10,000 test digits in the official files, which are downloaded if they are missing.

    Source: LeCun, Cortes & Burges, 1998.
    """

    classes = tuple("0123456789")
    image_shape = (1, 28, 28)
    prepare_image: Preparation = "mnist"
    intended_use = "One handwritten digit an image, light on dark and framed as in MNIST. The service frames images so."
    limitations = (
        "Not for printed digits, letters, several digits in one image, or digits in photographs: it answers with a "
        "digit for any image. Americans wrote its digits in the early 1990s; others write 1, 4 and 7 differently."
    )

    def prepare_data(self) -> None:
        if all((self.data_dir / "MNIST/raw" / name).is_file() for name in FILES):
            return  # torchvision would read all of them to find out
        download("MNIST", EXPECTED, self.data_dir, lambda: MNIST(self.data_dir, download=True))

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
    split = data_dir / "MNIST" / "raw" / ("train" if train else "t10k")
    images = _mapped(split.with_name(f"{split.name}-images-idx3-ubyte"))
    return images[:, None], _mapped(split.with_name(f"{split.name}-labels-idx1-ubyte")).long()


def _mapped(path: Path) -> Tensor:
    """Memory-map an idx file of uint8: the fourth byte is the number of dimensions; four bytes each; then the data.

    Raises ValueError for a truncated file or another format.
    """
    with path.open("rb") as file:
        start = file.read(16)
    shape = [int.from_bytes(start[at : at + 4]) for at in range(4, 4 + 4 * start[3], 4)] if len(start) > 3 else []
    header = 4 + 4 * len(shape)
    if start[:3] != b"\0\0\x08" or path.stat().st_size != header + math.prod(shape):
        raise ValueError(f"{path.absolute()} is not a whole idx file of bytes: delete it to download it again")
    # Copy-on-write: processes share the pages, and torch gets writable memory.
    return torch.from_numpy(np.memmap(path, np.uint8, "c", header, tuple(shape)))
