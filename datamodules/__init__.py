"""The datasets, each a LightningDataModule over one uint8 tensor.

To add one: write its class, import it here, and add it to `DATASETS`.
"""

from pathlib import Path
from typing import Any, get_args, get_type_hints

from ..contract.card import ModelCard
from ..contract.names import ContractError
from .augment import Augmentation as Augmentation
from .base import ImageDataModule as ImageDataModule
from .cifar10 import CIFAR10DataModule as CIFAR10DataModule
from .digits import DigitsDataModule as DigitsDataModule
from .image_folder import ImageFolderDataModule as ImageFolderDataModule
from .mnist import MNISTDataModule as MNISTDataModule

DATASETS: dict[str, type[ImageDataModule]] = {
    dataset.__name__: dataset
    for dataset in (CIFAR10DataModule, DigitsDataModule, ImageFolderDataModule, MNISTDataModule)
}


def from_card(card: ModelCard, data_dir: Path | None = None) -> ImageDataModule:
    """Return the dataset that a card was measured on, with the arguments in the card's recipe.

    Takes no path from a card, which may be a stranger's, and no augmentation, which only training needs.

    Args:
        data_dir: folder of the datasets, as in ImageDataModule.

    Raises ContractError if the card's dataset or one of its arguments is unknown here, or if the data differs from
    what the card says, and FileNotFoundError if there is no data.
    """
    name, arguments = card.recipe("data")
    if name not in DATASETS:
        raise ContractError(f"its card's dataset is {name[:40]!r}: expected one of {', '.join(DATASETS)}")
    types = _argument_types(DATASETS[name])
    if unknown := [repr(argument[:40]) for argument in arguments if argument not in types]:
        raise ContractError(f"its card's {name} has arguments that are unknown here: {', '.join(unknown)}")
    if data_dir is None and name == "ImageFolderDataModule":
        raise ContractError("it was measured on an image folder: give the folder as --data_dir")
    taken = {
        key: value for key, value in arguments.items() if not {Path, Augmentation} & {types[key], *get_args(types[key])}
    }
    data = DATASETS[name](data_dir=data_dir, **taken)
    data.prepare_data()
    if (found := data.describe()) != card.dataset:
        raise ContractError(f"it was measured on {card.dataset}, the data here is {found}")
    if data.classes != card.classes:
        raise ContractError(f"its classes are {', '.join(card.classes)}, the data's {', '.join(data.classes)}")
    return data


def _argument_types(dataset: type[ImageDataModule]) -> dict[str, Any]:
    """Return the types of the arguments of a class by name, with those that it takes as **kwargs."""
    types: dict[str, Any] = {}
    for base in dataset.__mro__:
        if issubclass(base, ImageDataModule) and "__init__" in vars(base):
            hints = get_type_hints(vars(base)["__init__"])
            hints = {name: kind for name, kind in hints.items() if name not in ("kwargs", "return")}
            types = hints | types
    return types
