"""A checkpoint becomes a file in the zoo: calibrated, through the parity gate, measured."""

from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import onnx
import torch

from ..contract.card import ModelCard, Precision, Training, dataset_title
from ..contract.names import check_name
from ..contract.zoo_folder import ZooFolder
from ..datamodules import ImageDataModule
from ..models import ImageClassifier
from ..models.export import OnnxFile, check_parity, to_onnx, torch_answers, write
from ..models.summary import summarize
from ..models.variants import to_fp16, to_int8
from .calibrate import held_out_temperature
from .measure import measure, robustness
from .provenance import command, commit, recipe

LIBRARIES = ("cnnzoo", "torch", "lightning", "onnx", "onnxruntime-gpu", "onnxruntime")
MAX_ACCURACY_DROP = 0.003  # of validation accuracy, for fewer bits
RANGED_BY = 512  # training images that int8's ranges are taken from


class GateError(ValueError):
    """A variant that answers too much worse than the network it was made from."""


class Exported(NamedTuple):
    path: Path
    card: ModelCard
    gate: str  # what was compared, in words


def export_model(
    model: ImageClassifier,
    data: ImageDataModule,
    name: str,
    zoo: ZooFolder,
    config: dict[str, Any],
    training: Training,
    precision: Precision = "fp32",
    corruption_images: int = 2000,
    license: str = "",
) -> Exported:
    """Calibrates a trained model, exports it, compares it with torch on the whole test set and puts it into the zoo.

    Args:
        config: the resolved configuration it was trained with.
        training: command, commit, hardware, epochs and seconds of the run.
        precision: int8 and fp16 are further compared with the full network on the validation part.
        corruption_images: of the test set, for the table of corruptions; 0 leaves it out.

    Raises:
        ParityError, GateError, ContractError (the name), or what the data raises; nothing is written then.
    """
    if zoo.path.is_file():
        raise NotADirectoryError(f"the zoo {zoo.path} is a file: give a folder")
    check_name(name if precision == "fp32" else f"{name}_{precision}")
    data.prepare_data()
    temperature = held_out_temperature(model, data)
    model.temperature.fill_(temperature or 1.0)
    proto = to_onnx(model)
    file = OnnxFile(proto)
    images, labels = data.load(train=False)
    answers = file.answers(images)
    difference = check_parity(answers, torch_answers(model, images))
    n = f"{len(labels):,}"
    gate = f"Parity: {n} of {n} classes as torch gives them, probabilities within {difference:.1e}"
    if precision != "fp32":
        smaller, gate = _variant(proto, file, data, precision)
        proto, file, name = smaller, OnnxFile(smaller), f"{name}_{precision}"
        answers = file.answers(images)

    layers = summarize(model)
    dataset = data.describe()
    figures = measure(answers, labels)
    accuracy = figures["metrics"]["accuracy"]
    card = ModelCard(
        name=name,
        version=zoo.next_version(name),
        classes=data.classes,
        input_shape=data.image_shape,
        prepare=data.prepare_image,
        summary=f"{type(model).__name__}, {dataset_title(dataset)}: {accuracy:.2%} of {n} test images",
        intended_use=data.intended_use,
        limitations=data.limitations,
        dataset=dataset,
        temperature=float(model.temperature),
        robustness=robustness(file, data, corruption_images),
        precision=precision,
        parameters=sum(layer.parameters for layer in layers),
        multiply_adds=sum(layer.multiply_adds for layer in layers),
        training=training,
        command=command(),
        config=recipe(config),
        seed=config.get("seed_everything"),
        commit=commit(),
        libraries=_libraries(),
        license=license,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        **figures,
    )
    while True:
        try:
            return Exported(write(proto, card, zoo.path), card, gate)
        except FileExistsError:
            if not (zoo.path / name / str(card.version)).is_dir():
                raise
            # Another export took the number.
            card = replace(card, version=zoo.next_version(name))


def _variant(
    proto: onnx.ModelProto, full: OnnxFile, data: ImageDataModule, precision: Precision
) -> tuple[onnx.ModelProto, str]:
    """The network in fewer bits, and how it compares. Raises GateError if it is too much worse."""
    data.setup("validate")
    train, held_out = data.splits["train"], data.splits["val"]
    if not len(held_out):
        raise GateError(
            f"{precision} is compared with fp32 on held-out images: there are none (data.val_fraction is 0)"
        )
    if precision == "int8":
        spread = torch.linspace(0, len(train) - 1, min(RANGED_BY, len(train))).long()
        smaller = to_int8(proto, train[spread][0])
    else:
        smaller = to_fp16(proto)
    images, labels = held_out[torch.arange(len(held_out))]
    before, after = (
        (one.answers(images)[0].argmax(1) == labels).double().mean().item() for one in (full, OnnxFile(smaller))
    )
    compared = f"{precision} gets {after:.2%} of {len(labels):,} validation images right, fp32 {before:.2%}"
    if after < before - MAX_ACCURACY_DROP:
        raise GateError(f"{compared}: more than {MAX_ACCURACY_DROP:.1%} less. Nothing was written")
    return smaller, f"Gate: {compared}"


def _libraries() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except ModuleNotFoundError:  # PackageNotFoundError: the other build of onnxruntime
            continue
    return found
