"""Weights back out of an exported file: the zoo's one artefact serves training too."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import onnx
import onnx.numpy_helper
import torch

from ..serve.contract import CARD_KEY, FILE_NAME, ContractError, ModelCard
from .classifier import ImageClassifier


def load(
    network: type[ImageClassifier], name: str, path: Path | None, kwargs: dict[str, Any], others: Collection[str] = ()
) -> ImageClassifier:
    """`network` with the weights in the file at `path`, or in the newest version under `name` in the zoo.

    Raises FileNotFoundError for no such file, ContractError for one without a card, and ValueError for
    weights that do not fit, or are those of one of the `others`.
    """
    path = path.expanduser() if path else _newest(name)
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
    recipe = card.config.get("model", {})
    made_of = str(recipe.get("class_path", network.__name__)).rsplit(".", 1)[-1]
    if made_of != network.__name__:
        raise ValueError(f"{path} holds a {made_of}, {name} is a {network.__name__}")
    if card.name != name and card.name in others:
        raise ValueError(f"{path} holds {card.name}, not {name}")
    trained = recipe.get("init_args", {})
    model = network(**{**trained, **kwargs})
    weights = {t.name: torch.from_numpy(onnx.numpy_helper.to_array(t).copy()) for t in proto.graph.initializer}
    # What batch norm counts is no weight, and not in the file.
    wanted = {key: v for key, v in model.state_dict().items() if not key.endswith("num_batches_tracked")}
    missing = [k for k, v in wanted.items() if k not in weights or weights[k].shape != v.shape]
    if missing:
        raise ValueError(
            f"the weights in {path} do not fit {network.__name__} as asked for: {', '.join(missing)} differ; "
            "leave out the arguments that change its size"
        )
    model.load_state_dict({key: weights[key] for key in wanted})
    return model.eval()


def _newest(name: str) -> Path:
    folder = Path(os.environ.get("CNNZOO_ZOO", "zoo")).expanduser() / name
    versions = [int(p.parent.name) for p in folder.glob(f"*/{FILE_NAME}") if p.parent.name.isdecimal()]
    if not versions:
        raise FileNotFoundError(
            f"no exported {name} in {folder.absolute()}: export one (cnnzoo export --help), "
            "point CNNZOO_ZOO at a zoo folder, or give the file's path as pretrained"
        )
    return folder / str(max(versions)) / FILE_NAME
