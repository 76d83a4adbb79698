"""The datasets, each a LightningDataModule over one uint8 tensor."""

from .augment import Augmentation
from .base import ImageDataModule
from .cifar10 import CIFAR10DataModule
from .digits import DigitsDataModule
from .image_folder import ImageFolderDataModule
from .mnist import MNISTDataModule

__all__ = [
    "DATASETS",
    "Augmentation",
    "CIFAR10DataModule",
    "DigitsDataModule",
    "ImageDataModule",
    "ImageFolderDataModule",
    "MNISTDataModule",
]

_MODULES: tuple[type[ImageDataModule], ...] = (
    CIFAR10DataModule, DigitsDataModule, ImageFolderDataModule, MNISTDataModule,
)  # fmt: skip
DATASETS = {module.__name__: module for module in _MODULES}
