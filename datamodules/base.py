"""Base class of the datasets: one uint8 tensor, split, batched and augmented."""

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
    """Base class of the datasets.

    A subclass defines `classes`, `image_shape`, `load` and `describe`, and for the model card `intended_use`,
    `limitations`, and `prepare_image` if images need other preparation than a photo (contract/images.py).

    Args:
        data_dir: folder of the datasets; by default the environment variable CNNZOO_DATA, else data/.
        batch_size: global batch size: images a training step, over all devices.
        eval_batch_size: images a validation or test step, over all devices.
        val_fraction: share of the training images that is held out for validation, stratified by class. 0 trains on
            all images and validates on none.
        augmentation: random changes of training images.
        seed: of the validation split, the order of the batches and the augmentation.
    """

    intended_use = "Images like those that it was trained on."
    limitations = "It answers with one of its classes for any image, also for one that shows none of them."

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
            raise ValueError(
                f"data.batch_size is {batch_size} and data.eval_batch_size {eval_batch_size}: give 1 or more"
            )
        if not 0 <= val_fraction < 1:
            raise ValueError(f"data.val_fraction is {val_fraction}: expected a share from 0 up to but not including 1")
        if seed < 0:
            raise ValueError(f"data.seed is {seed}: give 0 or more")
        self.data_dir = Path(data_dir or os.environ.get("CNNZOO_DATA") or "data").expanduser()
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.val_fraction = val_fraction
        self.augmentation = augmentation or Augmentation()
        self.seed = seed
        self.splits: dict[str, ImageDataset] = {}

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the labels."""
        raise NotImplementedError

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of every image."""
        raise NotImplementedError

    @property
    def prepare_image(self) -> Preparation:
        """Return how an image becomes an input: a name of contract/images.py."""
        return "photo"

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def validates(self) -> bool:
        """Return True if some images are held out for validation."""
        return self.val_fraction > 0

    def load(self, train: bool) -> tuple[Tensor, Tensor]:
        """Return all training or all test images, uint8 [N, C, H, W], and their labels, int64 [N].

        Raises FileNotFoundError or RuntimeError if they are missing.
        """
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        """Return the card's dataset field: name, variant, source and license."""
        raise NotImplementedError

    def setup(self, stage: str | None = None) -> None:
        if stage in (None, "fit") and self.batch_size % self._world_size:
            raise ValueError(
                f"data.batch_size {self.batch_size} is over all devices and does not divide evenly by "
                f"{self._world_size}: choose a multiple, or fewer --trainer.devices"
            )
        if stage in (None, "fit", "validate") and "train" not in self.splits:
            self.split_training_images()
        if stage in (None, "test") and "test" not in self.splits:
            self.load_test_images()

    def split_training_images(self) -> None:
        images, labels = self.load(train=True)
        train, val = self._held_out(labels)
        self.fill(images, labels, train=train, val=val)

    def load_test_images(self) -> None:
        self.splits["test"] = ImageDataset(*self.load(train=False))

    def fill(self, images: Tensor, labels: Tensor, **splits: np.ndarray) -> None:
        """Fill splits with the images at these positions."""
        for split, indices in splits.items():
            self.splits[split] = ImageDataset(images, labels, torch.from_numpy(indices))

    def _held_out(self, labels: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Return the positions of the images to train on and of those that are held out, by class.

        Raises ValueError if a class has too few images.
        """
        indices = np.arange(len(labels))
        if not self.val_fraction:
            return indices, indices[:0]
        try:
            train, val = train_test_split(indices, test_size=self.val_fraction, stratify=labels, random_state=self.seed)
        except ValueError as error:
            raise ValueError(
                f"cannot hold out {self.val_fraction:.1%} of {len(labels)} images in {self.num_classes} classes "
                f"({error}): add images, or set data.val_fraction so that each class has images on both sides"
            ) from None
        return np.sort(train), np.sort(val)  # so that a memory-mapped file is read forwards

    def train_dataloader(self) -> BatchLoader:
        return self._loader("train", self.batch_size)

    def val_dataloader(self) -> BatchLoader | list[Any]:
        return self._loader("val", self.eval_batch_size) if self.validates else []

    def test_dataloader(self) -> BatchLoader:
        return self._loader("test", self.eval_batch_size)

    def _loader(self, split: str, batch_size: int) -> BatchLoader:
        if split not in self.splits:
            stage = "test" if split == "test" else "fit"
            raise ValueError(f"the {split} split is not loaded: call setup({stage!r}) first")
        dataset = self.splits[split]
        if len(dataset) < self._world_size:
            raise ValueError(f"the {split} split has {len(dataset)} images for {self._world_size} devices: use fewer")
        rank = self.trainer.global_rank if self.trainer else 0
        batches = Batches(dataset, batch_size, split == "train", self.seed, rank, self._world_size)
        pins = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        return BatchLoader(dataset, batches, pin_memory=pins)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        trainer = self.trainer
        if trainer is None or not trainer.training:
            return batch
        images, labels = batch
        # This batch is the last one that the loader yielded: Lightning does not prefetch from a loader with a length.
        loader = trainer.train_dataloader
        assert isinstance(loader, BatchLoader)
        key = (self.seed, trainer.current_epoch, loader.batches.given - 1)
        return self.augmentation(images, key, trainer.global_rank, trainer.world_size), labels

    @property
    def _world_size(self) -> int:
        return self.trainer.world_size if self.trainer else 1
