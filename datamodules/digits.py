"""scikit-learn's 8×8 handwritten digits."""

from functools import cache
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

from ..contract.card import Preparation
from .base import ImageDataModule

TEST_FRACTION = 0.2  # the lecture's train_size is 0.8


class DigitsDataModule(ImageDataModule):
    """1,797 digits of 8×8 pixels with 17 grey levels. scikit-learn contains them, so no file is needed.

    There is no official split: a stratified fifth is the test set, chosen by `seed`. The values 0–16 are scaled to
    0–255 and rounded, each to a different value.
    Source: UCI Optical Recognition of Handwritten Digits (Alpaydin & Kaynak, 1998), its test set.
    """

    classes = tuple("0123456789")
    image_shape = (1, 8, 8)
    prepare_image: Preparation = "digits"
    intended_use = "Learning and experiments: one handwritten digit an image, at 8×8 pixels."
    limitations = (
        "Not for anything that matters: 8×8 pixels are few, and 13 people wrote its digits on a form in the 1990s. "
        "It answers with a digit for any image."
    )

    def load(self, train: bool) -> tuple[Tensor, Tensor]:
        images, labels = _digits()
        indices = train_test_split(
            np.arange(len(labels)), test_size=TEST_FRACTION, stratify=labels, random_state=self.seed
        )
        chosen = torch.from_numpy(np.sort(indices[0 if train else 1]))
        return images[chosen], labels[chosen]

    def describe(self) -> dict[str, Any]:
        return {
            "name": "digits",
            "variant": f"scikit-learn, 80/20 split by seed {self.seed}",
            "source": "UCI Optical Recognition of Handwritten Digits, doi:10.24432/C50P49",
            "license": "CC-BY-4.0",
        }


@cache
def _digits() -> tuple[Tensor, Tensor]:
    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    return torch.from_numpy(images[:, None]), torch.from_numpy(bunch.target.astype(np.int64))
