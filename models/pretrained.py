"""Weights from exported files back into networks, and as a start for training."""

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from onnx.numpy_helper import to_array
from torch import Tensor

from ..contract.card import ModelCard
from ..contract.model_file import card_of, parse_onnx
from ..contract.names import ContractError, naming
from ..contract.zoo_folder import find_file, read_listed
from .classifier import ImageClassifier
from .familiarity import Familiarity
from .head import last_layer

logger = logging.getLogger("cnnzoo.models")


def load(
    network: type[ImageClassifier], name: str, path: Path | None, kwargs: dict[str, Any], others: Collection[str] = ()
) -> ImageClassifier:
    """Return a network with the weights in the file at `path`, or of the newest version of `name`.

    Args:
        kwargs: arguments of the network that replace those in the card.
        others: names of other models: a file of one of them is refused.

    Raises FileNotFoundError, ContractError for a file without a card, and ValueError for weights that do not fit.
    """
    path = path.expanduser() if path else find_file(name)
    card, weights = read(path)
    class_name, arguments = _recipe(card, path)
    if class_name not in ("", network.__name__):
        raise ValueError(f"{path} holds a {class_name[:40]!r}, {name} is a {network.__name__}")
    if card.name != name and card.name in others:
        raise ValueError(f"{path} holds {card.name}, not {name}")
    arguments |= kwargs
    with torch.device("meta"):  # allocates nothing: a stranger's card may ask for any size
        try:
            _check_shapes(network(**arguments), card, weights)
        except TypeError as error:
            raise ValueError(f"{path} has arguments that do not fit a {network.__name__}: {error}") from None
    return load_weights(network(**arguments), card, weights).eval()


def restore(path: Path) -> ImageClassifier:
    """Return the network in an exported file of any name. Raises as `load`, and for a class of another package."""
    from . import CLASSES

    card, _ = read(path)
    class_name, _ = _recipe(card, path)
    if class_name not in CLASSES:
        raise ContractError(f"{path} holds a {class_name[:40]!r}: expected one of {', '.join(CLASSES)}")
    return load(CLASSES[class_name], card.name, path, {})


def _recipe(card: ModelCard, path: Path) -> tuple[str, dict[str, Any]]:
    with naming(path):
        return card.recipe("model")


def read(path: Path) -> tuple[ModelCard, dict[str, Tensor]]:
    """Return the card and the weights by name in an exported file.

    Raises FileNotFoundError, and ContractError for a file without a card or of another precision than fp32.
    """
    with naming(path):
        proto = parse_onnx(read_listed(path))
        card = card_of(proto)
    if card.precision != "fp32":
        full = card.name.removesuffix(f"_{card.precision}")
        raise ContractError(f"{path} holds {card.precision} weights, which cannot be trained: use {full}")
    return card, {tensor.name: torch.from_numpy(to_array(tensor).copy()) for tensor in proto.graph.initializer}


def init_from(model: ImageClassifier, start: str) -> None:
    """Load the weights of a model of the zoo, by its name, or of an exported file into `model`.

    What its export had fitted is left out: after more training it no longer fits.

    Raises as `read` and `load_weights`, and ValueError for a checkpoint.
    """
    if start.endswith(".ckpt"):
        raise ValueError(f"{start} is a checkpoint: export it first (cnnzoo export --config <its run folder>)")
    load_weights(model, *read(find_file(start))).reset_fitted()


def load_weights(model: ImageClassifier, card: ModelCard, weights: dict[str, Tensor]) -> ImageClassifier:
    """Load `weights` into `model`, but not into its last layer if that has another number of classes, and return it.

    Raises ValueError for weights that do not fit, or that were trained with another normalization.
    """
    wanted, head, new_head = _check_shapes(model, card, weights)
    for name, own in (("mean", model.mean), ("std", model.std)):
        if name in weights and not torch.equal(*torch.broadcast_tensors(weights[name], own.cpu())):
            theirs = [round(value, 6) for value in weights[name].flatten().tolist()]
            raise ValueError(f"{card.name} was trained with pixels' {name} {theirs}: set the network's {name} to it")
    if new_head:
        logger.warning(
            "The last layer (%s) is new, with %d classes instead of %d; the other weights are %s's, version %d.",
            head, model.num_classes, len(card.classes), card.name, card.version,
        )  # fmt: skip
    else:
        _load_fitted(model, weights)
    model.load_state_dict({key: weights[key] for key in wanted}, strict=False)
    return model


def _load_fitted(model: ImageClassifier, weights: dict[str, Tensor]) -> None:
    """Load what export had fitted: temperature, views and familiarity. Older files lack some of it."""
    for name in ("temperature", "sure"):
        if name in weights and hasattr(model, name):
            model.get_buffer(name).copy_(weights[name])
    prefix = "familiarity."
    fitted = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    if fitted:
        model.familiarity = Familiarity.restore(fitted)


def _check_shapes(model: ImageClassifier, card: ModelCard, weights: dict[str, Tensor]) -> tuple[list[str], str, bool]:
    """Return the weights to load, the last layer's name, and whether it is new, for another number of classes.

    Raises ValueError for weights that do not fit.
    """
    # Exported files have no counters of batch norm, and no indices of attention, which the architecture determines.
    wanted = {key: v for key, v in model.state_dict().items() if v.is_floating_point()}
    head, _ = last_layer(model)
    new_head = len(card.classes) != model.num_classes
    if new_head:
        wanted = {key: v for key, v in wanted.items() if not key.startswith(f"{head}.")}
    differing = [k for k, v in wanted.items() if k not in weights or weights[k].shape != v.shape]
    if differing:
        raise ValueError(
            f"the weights of {card.name} do not fit this {type(model).__name__}: {', '.join(differing)} "
            "differ; omit the arguments that change its size"
        )
    return list(wanted), head, new_head
