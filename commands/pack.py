"""`cnnzoo pack`: a model of the zoo as a Hugging Face repository, an MLflow model, or a model in BentoML's store."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx

from ..contract.card import ModelCard
from ..contract.facts import facts
from ..contract.model_file import card_of, parse_onnx
from ..contract.names import INPUT, naming
from ..contract.zoo_folder import find_file, read_listed
from . import UsageError, say
from .huggingface import write_repository


def pack_model(
    model: str,
    /,
    *,
    as_: Literal["huggingface", "bentoml", "mlflow"],
    output: Path | None = None,
    zoo: Path | None = None,
) -> None:
    """Pack a model for Hugging Face, MLflow or BentoML.

    Args:
        model: NAME, NAME@VERSION or an ONNX file
        as_: huggingface: a folder to push to the Hub; mlflow: an MLflow model; bentoml: into BentoML's model store
        output: the new folder for huggingface and mlflow (default: packed/NAME)
        zoo: the zoo folder (default: CNNZOO_ZOO, else zoo/ and then the models that come with cnnzoo)
    """
    path = find_file(model, zoo)
    with naming(path):
        content = read_listed(path)
        proto = parse_onnx(content)
        card = card_of(proto)
    if as_ == "bentoml":
        if output:
            raise UsageError("--output is for huggingface and mlflow: BentoML's store is in BENTOML_HOME")
        say(f"bentoml.models.get({to_bentoml(card, content)!r})")
        return
    folder = output or Path("packed") / card.name
    if folder.exists():
        raise UsageError(f"{folder} exists: remove it, or give another --output")
    library = _needs({"huggingface": "safetensors.numpy", "mlflow": "mlflow.onnx"}[as_], as_)
    with naming(path), _whole(folder) as temporary:
        if as_ == "huggingface":
            write_repository(card, content, proto, temporary, library)
        else:
            save_mlflow(card, len(content), proto, temporary, library)
    say(f"{card.name}@{card.version} in {folder}")


def to_bentoml(card: ModelCard, content: bytes) -> str:
    """Put the file into BentoML's model store, and return its tag there: NAME:VERSION.

    Raises UsageError if the store has that version.
    """
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")  # else it tells its makers
    import bentoml

    tag = f"{card.name}:{card.version}"
    if bentoml.models.list(tag):
        raise UsageError(f"BentoML's store has {tag}: bentoml models delete {tag}")
    labels = {"dataset": card.dataset_title, "precision": card.precision}
    with bentoml.models.create(tag, labels=labels, metadata={"facts": facts(card, len(content))}) as reference:
        Path(reference.path_of("model.onnx")).write_bytes(content)
    return tag


def save_mlflow(card: ModelCard, size: int, proto: onnx.ModelProto, folder: Path, mlflow_onnx: Any) -> None:
    """Write an MLflow model of the ONNX flavor, with the signature of the file's input and outputs."""
    models, types = import_module("mlflow.models"), import_module("mlflow.types")
    images = types.TensorSpec(np.dtype(np.uint8), (-1, *card.input_shape), INPUT)
    shapes = {"familiarity": (-1,)}
    outputs = [
        types.TensorSpec(np.dtype(np.float32), shapes.get(name, (-1, len(card.classes))), name) for name in card.outputs
    ]
    signature = models.ModelSignature(types.Schema([images]), types.Schema(outputs))
    mlflow_onnx.save_model(
        proto, str(folder), signature=signature, metadata=facts(card, size), pip_requirements=["onnxruntime"]
    )


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """Give a temporary folder that becomes `folder` if the block succeeds, and is removed if it raises."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        made = work / "made"
        yield made
        made.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _needs(module: str, extra: str) -> Any:
    """Return a module of an optional dependency. Raises UsageError that says what to install."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        packages = {"huggingface": "safetensors", "mlflow": "mlflow-skinny pandas"}[extra]
        raise UsageError(f"--as {extra} needs {error.name}: pip install {packages}") from None
