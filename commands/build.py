"""Build the network and the data of a recipe from its settings."""

from collections.abc import Callable
from functools import cache
from typing import Any

import lightning
from jsonargparse import ArgumentParser

from ..datamodules import ImageDataModule
from ..models import ImageClassifier, pretrained

# Arguments of every network that the data decides.
OF_DATA: dict[str, Callable[[ImageDataModule], Any]] = {
    "num_classes": lambda data: data.num_classes,
    "input_shape": lambda data: data.image_shape,
}


@cache
def settings_parser() -> ArgumentParser:
    """Return a parser of the parts `model` and `data` of a recipe."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(ImageClassifier, "model")
    parser.add_subclass_arguments(ImageDataModule, "data")
    return parser


def build(settings: dict[str, Any]) -> tuple[ImageClassifier, ImageDataModule]:
    """Return the network and the data of a recipe, as read from YAML.

    Sets the recipe's seed, and loads its `pretrained` weights.
    """
    if settings["seed_everything"] is not False:
        lightning.seed_everything(settings["seed_everything"], verbose=False)
    built = _instantiate({part: settings[part] for part in ("model", "data")})
    if start := settings.get("pretrained"):
        pretrained.init_from(built.model, start)
    return built.model, built.data


def make_data(settings: dict[str, Any]) -> ImageDataModule:
    """Return the data of the part `data` of a recipe, as read from YAML."""
    data: ImageDataModule = _instantiate({"data": settings}).data
    return data


def fill_from_data(model: Any, data: ImageDataModule) -> None:
    """Set the arguments that the data decides in the part `model` of a recipe.

    Not by jsonargparse's links: they apply when the network is created, and the settings are compared with those of
    earlier runs before that.
    """
    arguments = model.get("init_args") or {}
    for argument in OF_DATA.keys() & arguments.keys():
        arguments[argument] = OF_DATA[argument](data)


def _instantiate(settings: dict[str, Any]) -> Any:
    parser = settings_parser()
    return parser.instantiate(parser.parse_object(settings))
