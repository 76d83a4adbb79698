"""Weights back out of an exported file: the zoo's one artefact serves training too."""

import logging
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import onnx
import onnx.numpy_helper
import torch
from torch import Tensor, nn

from ..contract.card import ModelCard
from ..contract.names import CARD_KEY, ContractError
from ..contract.zoo_folder import SHIPPED, ZooFolder
from .classifier import ImageClassifier

logger = logging.getLogger("cnnzoo.models")


def load(
    network: type[ImageClassifier], name: str, path: Path | None, kwargs: dict[str, Any], others: Collection[str] = ()
) -> ImageClassifier:
    """`network` with the weights in the file at `path`, or in the newest version under `name` in the zoo.

    Raises FileNotFoundError for no such file, ContractError for one without a card, and ValueError for
    weights that do not fit, or are those of one of the `others`.
    """
    path = path.expanduser() if path else newest(name)
    card, weights = read(path)
    made_of, arguments = _made_of(card, path)
    if made_of not in ("", network.__name__):
        raise ValueError(f"{path} holds a {made_of}, {name} is a {network.__name__}")
    if card.name != name and card.name in others:
        raise ValueError(f"{path} holds {card.name}, not {name}")
    arguments |= kwargs
    with torch.device("meta"):  # without memory: a stranger's card may ask for any size
        _check_shapes(network(**arguments), card, weights)
    return load_weights(network(**arguments), card, weights).eval()


def restore(path: Path) -> ImageClassifier:
    """The network in an exported file, whatever its name. Raises as `load`, and for a class that is not cnnzoo's."""
    from . import CLASSES

    card, _ = read(path)
    made_of, _ = _made_of(card, path)
    if made_of not in CLASSES:
        raise ContractError(f"{path} holds no network of cnnzoo's: {made_of[:40]!r}")
    return load(CLASSES[made_of], card.name, path, {})


def _made_of(card: ModelCard, path: Path) -> tuple[str, dict[str, Any]]:
    """The name of the network's class and its arguments, as the card has them; empty where it has none."""
    said = card.config.get("model", {})
    arguments = said.get("init_args", {}) if isinstance(said, dict) else None
    if not isinstance(arguments, dict):
        raise ContractError(f"{path}: its card's config says nothing readable of the network")
    return str(said.get("class_path", "")).rpartition(".")[2], dict(arguments)


def read(path: Path) -> tuple[ModelCard, dict[str, Tensor]]:
    """The card and the weights, by their names, in an exported file.

    Raises FileNotFoundError, or ContractError for anything but a whole file of a network as it was trained.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        proto = onnx.load(path, load_external_data=False)
    except Exception:  # protobuf's own error, which says nothing of the file
        raise ContractError(f"{path} is not an ONNX file, or is damaged") from None
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    if CARD_KEY not in metadata:
        raise ContractError(f"{path} has no model card: it was not exported by cnnzoo")
    card = ModelCard.from_json(metadata[CARD_KEY])
    if card.precision != "fp32":
        full = card.name.removesuffix(f"_{card.precision}")
        raise ContractError(f"{path} holds {card.precision} weights, for answering only: take {full}")
    return card, {t.name: torch.from_numpy(onnx.numpy_helper.to_array(t).copy()) for t in proto.graph.initializer}


def init_from(model: ImageClassifier, start: str) -> None:
    """Gives `model` the weights to begin with: those of a model of the zoo by its name, or of an exported file.

    Raises as `read` and `load_weights`, and ValueError for a checkpoint.
    """
    if start.endswith(".ckpt"):
        raise ValueError(f"{start} is a checkpoint: export it first (cnnzoo export --config <its run folder>)")
    load_weights(model, *read(Path(start).expanduser() if start.endswith(".onnx") else newest(start)))


def load_weights(model: ImageClassifier, card: ModelCard, weights: dict[str, Tensor]) -> ImageClassifier:
    """`model` with `weights`. If it has another number of classes its last layer stays as it is, which is logged.

    Raises ValueError, naming them, for weights that do not fit, or that were trained on pixels scaled otherwise.
    """
    wanted, head, new_head = _check_shapes(model, card, weights)
    for name, own in (("mean", model.mean), ("std", model.std)):
        if name in weights and not torch.equal(*torch.broadcast_tensors(weights[name], own)):
            theirs = [round(value, 6) for value in weights[name].flatten().tolist()]
            raise ValueError(f"{card.name} was trained with pixels' {name} as {theirs}: set the network's {name} so")
    if new_head:
        logger.warning(
            "The last layer (%s) is new, for %d classes in place of %d; the rest is %s's, version %d.",
            head, model.num_classes, len(card.classes), card.name, card.version,
        )  # fmt: skip
    elif "temperature" in weights:
        model.temperature.copy_(weights["temperature"])
    model.load_state_dict({key: weights[key] for key in wanted}, strict=False)
    return model


def _check_shapes(model: ImageClassifier, card: ModelCard, weights: dict[str, Tensor]) -> tuple[list[str], str, bool]:
    """What of `model` is to be loaded, its last layer, and whether that stays as it is. Raises ValueError."""
    # What batch norm counts is no weight, and not in the file.
    wanted = {key: v for key, v in model.state_dict().items() if not key.endswith("num_batches_tracked")}
    head = [name for name, layer in model.named_modules() if isinstance(layer, nn.Linear)][-1]
    new_head = len(card.classes) != model.num_classes
    if new_head:
        wanted = {key: v for key, v in wanted.items() if not key.startswith(f"{head}.")}
    differing = [k for k, v in wanted.items() if k not in weights or weights[k].shape != v.shape]
    if differing:
        raise ValueError(
            f"the weights of {card.name} do not fit {type(model).__name__} as asked for: {', '.join(differing)} "
            "differ; leave out the arguments that change its size"
        )
    return list(wanted), head, new_head


def newest(name: str) -> Path:
    """Return the file of the newest version of a model: in CNNZOO_ZOO if that is set, else in zoo/, else among the
    models that come with cnnzoo.

    Raises FileNotFoundError that says where it was searched.
    """
    default = ZooFolder.default()
    for folder in (default,) if os.environ.get("CNNZOO_ZOO") else (default, ZooFolder(SHIPPED)):
        if found := folder.newest(name):
            return folder.file(found)
    raise FileNotFoundError(
        f"no exported {name} in {default.path.absolute()}: export one (cnnzoo export --help), "
        "point CNNZOO_ZOO at a zoo folder, or give the file's path as pretrained"
    )
