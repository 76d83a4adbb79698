"""Overfitting on a few images, which every network can do if labels, loss and learning rate fit together."""

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only

from ..datamodules.batches import ImageDataset, evenly_spaced
from ..models import ImageClassifier
from ..models.export import torch_answers

EVERY = 10  # epochs between two checks


class Overfit(Callback):
    """Callback that trains on a few of the training images alone, until all are classified correctly.

    Raises ValueError at the end of training if some are not.

    Args:
        images: their number.
    """

    def __init__(self, images: int = 64) -> None:
        self.images = images
        self._correct = self._epochs = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            splits = trainer.datamodule.splits  # type: ignore[attr-defined]
            train: ImageDataset = splits["train"]
            self.images = min(self.images, len(train))
            spread = evenly_spaced(self.images, len(train))  # of all classes, if the images are sorted
            splits["train"] = ImageDataset(train.images, train.labels, train.indices[spread])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._epochs += 1
        if self._epochs % EVERY == 0:
            self._check(trainer, pl_module)
            trainer.should_stop |= self._correct == self.images

    def _check(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the images that are classified correctly."""
        assert isinstance(pl_module, ImageClassifier)
        train = trainer.datamodule.splits["train"]  # type: ignore[attr-defined]
        images, labels = train[:]
        correct = int((torch_answers(pl_module, images)[0].argmax(1) == labels).sum())
        self._correct = trainer.strategy.broadcast(correct)  # batch norm differs: all devices stop, or none
        pl_module.train()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]  # the recipe debug stops it after three batches
            return
        if self._correct < self.images:
            self._check(trainer, pl_module)
        if self._correct < self.images:
            raise ValueError(
                f"{self._correct} of {self.images} training images are correct after {self._epochs} epochs; "
                "expected all: look at the labels (cnnzoo preview), the normalization and the learning rate"
            )
        rank_zero_only(print)(f"All {self.images} images are classified correctly after {self._epochs} epochs")
