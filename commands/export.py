"""A checkpoint becomes a file in the zoo, through the parity gate."""

from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..datamodules import ImageDataModule
from ..models import ImageClassifier
from ..models.export import check_parity, next_version, to_onnx, torch_logits, write
from ..models.metrics import classification_metrics
from ..models.summary import summarize
from ..serve.contract import ModelCard, check_name
from .provenance import command, commit

LIBRARIES = ("cnnzoo", "torch", "lightning", "onnx", "onnxruntime-gpu", "onnxruntime")


def export(
    model: ImageClassifier, data: ImageDataModule, name: str, zoo: Path, config: dict[str, Any]
) -> tuple[Path, ModelCard, float]:
    """Exports a trained model, compares it with torch on the whole test set and puts it into the zoo.

    Args:
        config: the resolved configuration it was trained with.

    Returns:
        the file, its card, and the largest difference of a probability from torch's.

    Raises:
        ParityError, ContractError (the name), or what the data raises; nothing is written then.
    """
    check_name(name)
    data.prepare_data()
    images, labels = data.load(train=False)
    logits = torch_logits(model, images)
    proto = to_onnx(model)
    difference = check_parity(proto, images, logits)

    layers = summarize(model)
    metrics = classification_metrics(logits, labels)
    dataset = data.describe()
    card = ModelCard(
        name=name,
        version=next_version(zoo, name),
        classes=data.classes,
        input_shape=data.image_shape,
        prepare=data.prepare_picture,
        summary=f"{type(model).__name__}, {dataset['name']}: {metrics['accuracy']:.2%} of {metrics['n']:,} test images",
        dataset=dataset,
        metrics=metrics,
        parameters=sum(layer.parameters for layer in layers),
        multiply_adds=sum(layer.multiply_adds for layer in layers),
        command=command(),
        config=config,
        seed=config.get("seed_everything"),
        commit=commit(),
        libraries=_libraries(),
        licence="Apache-2.0",
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    while True:
        try:
            return write(proto, card, zoo), card, difference
        except FileExistsError:  # another export took the number
            card = replace(card, version=next_version(zoo, name))


def _libraries() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except ModuleNotFoundError:  # PackageNotFoundError: the other build of onnxruntime
            continue
    return found
