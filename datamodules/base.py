"""`ImageDataModule`: a dataset as one uint8 tensor, split, batched and augmented."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import LightningDataModule
from sklearn.model_selection import train_test_split
from torch import Tensor

from ..contract.card import Preparation
from .augment import Augmentation
from .batches import Batches, BatchLoader, ImageDataset


class ImageDataModule(LightningDataModule):
    """What the datasets share. One says what its classes and images are; `load` reads a part of it.

    Args:
        data_dir: folder of the datasets; by default the environment variable CNNZOO_DATA, else data/.
        batch_size: the global batch: images a training step, dealt out evenly over all devices.
        eval_batch_size: images a validation or test step, over all devices.
        val_fraction: the share of the training images held out for validation, the same share of
            every class. 0 trains on all of them and validates on none.
        augmentation: what may happen to training images.
        seed: of the validation part, the order of the batches and the augmentation.
    """

    # What an uploaded picture goes through before a network trained on this data sees it; the
    # service does it (serve/images.py), the card says which.
    prepare_image: Preparation = "photo"
    # For the model card, too.
    intended_use = "Pictures like those that it was trained on."
    limitations = "Whatever it is shown, it names one of its classes: it cannot say that a picture is none of them."

    def __init__(
        self,
        data_dir: str | Path | None = None,
        batch_size: int = 64,
        eval_batch_size: int = 1000,
        val_fraction: float = 0.1,
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if batch_size < 1 or eval_batch_size < 1:
            raise ValueError("data.batch_size and data.eval_batch_size are at least 1")
        if not 0 <= val_fraction < 1:
            raise ValueError(f"data.val_fraction is a share from 0 up to but not including 1, not {val_fraction}")
        self.data_dir = Path(data_dir or os.environ.get("CNNZOO_DATA", "data")).expanduser()
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.val_fraction = val_fraction
        self.augmentation = augmentation or Augmentation()
        self.seed = seed
        self.splits: dict[str, ImageDataset] = {}

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names, in the order of the labels."""
        raise NotImplementedError

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of every image."""
        raise NotImplementedError

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    def load(self, train: bool) -> tuple[Tensor, Tensor]:
        """All training or all test images, uint8 [N, C, H, W], and their labels, int64 [N].

        Raises FileNotFoundError, saying what was expected where, when they are not there.
        """
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        """The dataset's name and variant, for the model card."""
        raise NotImplementedError

    def setup(self, stage: str | None = None) -> None:
        if self.batch_size % self._world_size:
            raise ValueError(
                f"data.batch_size {self.batch_size} is over all devices and does not divide evenly by "
                f"{self._world_size}: choose a multiple, or fewer --trainer.devices"
            )
        if stage in (None, "fit", "validate") and "train" not in self.splits:
            self._split_training_images()
        if stage in (None, "test") and "test" not in self.splits:
            self.splits["test"] = ImageDataset(*self.load(train=False))

    def _split_training_images(self) -> None:
        images, labels = self.load(train=True)
        train, val = np.arange(len(labels)), np.arange(0)
        if self.val_fraction:
            try:
                train, val = train_test_split(
                    train, test_size=self.val_fraction, stratify=labels, random_state=self.seed
                )
            except ValueError as error:
                raise ValueError(
                    f"cannot hold out {self.val_fraction:.0%} of {len(labels)} training images in "
                    f"{self.num_classes} classes for validation ({error}): set data.val_fraction to at least "
                    f"{self.num_classes / len(labels):.2g}, or to 0 for none, or add images"
                ) from None
        # Sorted, so that a memory-mapped file is read forwards.
        for part, indices in (("train", np.sort(train)), ("val", np.sort(val))):
            self.splits[part] = ImageDataset(images, labels, torch.from_numpy(indices))

    def train_dataloader(self) -> BatchLoader:
        return self._loader("train", self.batch_size)

    def val_dataloader(self) -> BatchLoader | list[Any]:
        return self._loader("val", self.eval_batch_size) if self.val_fraction else []

    def test_dataloader(self) -> BatchLoader:
        return self._loader("test", self.eval_batch_size)

    def _loader(self, part: str, batch_size: int) -> BatchLoader:
        if part not in self.splits:
            raise ValueError(
                f"the {part} part is not loaded: call setup({'test' if part == 'test' else 'fit'!r}) first"
            )
        dataset = self.splits[part]
        if len(dataset) < self._world_size:
            raise ValueError(f"the {part} part has {len(dataset)} images for {self._world_size} devices")
        rank = self.trainer.global_rank if self.trainer else 0
        batches = Batches(dataset, batch_size, part == "train", self.seed, rank, self._world_size)
        return BatchLoader(dataset, batches, pin_memory=torch.cuda.is_available())

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        trainer = self.trainer
        if trainer is None or not trainer.training:
            return batch
        images, labels = batch
        number = trainer.fit_loop.epoch_loop.batch_idx + 1  # the loop counts the batch after it is moved
        key = (self.seed, trainer.current_epoch, number)
        return self.augmentation(images, key, trainer.global_rank, trainer.world_size), labels

    @property
    def _world_size(self) -> int:
        return self.trainer.world_size if self.trainer else 1
