"""Refuse a start from weights that were trained on images which are held out now."""

from ..contract.model_file import read_model
from ..contract.zoo_folder import find_file, read_listed
from ..datamodules import ImageDataModule
from .runs import SPLIT


def check_held_out(start: str, data: ImageDataModule) -> None:
    """Raise ValueError if a model of the zoo was trained on the same data, split otherwise.

    Args:
        start: the model whose weights the training starts from, by its name, or an exported file.
        data: of the new training.
    """
    card = read_model(read_listed(find_file(start)))
    name, theirs = card.recipe("data")
    if name != type(data).__name__ or tuple(card.classes) != tuple(data.classes):
        return
    differing = [key for key in SPLIT if key in theirs and getattr(data, key, theirs[key]) != theirs[key]]
    if differing:
        raise ValueError(
            f"{card.name} was trained on images that would be held out now: give the split of its training, "
            + " ".join(f"--data.{key} {theirs[key]}" for key in differing)
        )
