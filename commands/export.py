"""Export of a trained network into the zoo: calibrate, check parity, measure, write."""

from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import onnx
from torch import Tensor

from ..contract.card import ModelCard, Precision, Training, dataset_title
from ..contract.names import check_name
from ..contract.zoo_folder import ModelId, ZooFolder
from ..datamodules import ImageDataModule
from ..datamodules.batches import evenly_spaced
from ..models import ImageClassifier
from ..models.export import Answers, OnnxFile, check_parity, to_onnx, torch_answers, with_card
from ..models.recalibration import refit_familiarity
from ..models.summary import multiply_adds
from ..models.variants import to_fp16, to_int8
from .measure import fit_outputs, measure, measure_familiarity, robustness
from .provenance import command, commit, recipe

LIBRARIES = ("cnnzoo", "torch", "lightning", "onnx", "onnxruntime-gpu", "onnxruntime")
MAX_ACCURACY_DROP = 0.003  # of int8 and fp16 on validation images
RANGE_IMAGES = 512  # training images that determine int8's ranges


class GateError(ValueError):
    """An int8 or fp16 network that is too much worse than its fp32 network."""


class Exported(NamedTuple):
    """An exported file."""

    path: Path
    card: ModelCard
    check: str  # that it passed, for people


def export_model(
    model: ImageClassifier,
    data: ImageDataModule,
    name: str,
    zoo: ZooFolder,
    config: dict[str, Any],
    training: Training,
    precision: Precision = "fp32",
    corruption_images: int | None = None,
    license: str = "",
) -> Exported:
    """Calibrate a trained network, compare its ONNX file with torch on the whole test set, and add it to the zoo.

    Args:
        name: the model's name in the zoo; int8 and fp16 append _int8 or _fp16.
        config: the resolved configuration of the training run.
        training: provenance of the training run.
        precision: int8 and fp16 are also compared with fp32 on the validation split.
        corruption_images: see `robustness`.
        license: of the weights; empty makes no claim.

    Raises ParityError, GateError, ContractError for the name or the card, OSError for the zoo, or what the data raises.
    Nothing is written then.
    """
    zoo.check_writable()
    zoo.checksums()
    full_name = check_name(name if precision == "fp32" else f"{name}_{precision}")
    data.prepare_data()
    fit_outputs(model, data)
    images, labels = data.load(train=False)
    proto, answers, check = _checked_network(model, data, images, precision)
    file, dataset, seed = OnnxFile(proto), data.describe(), config.get("seed_everything")
    measured = measure(answers, labels)
    accuracy = measured["metrics"]["accuracy"]
    card = ModelCard(
        name=full_name,
        version=zoo.next_version(full_name),
        classes=data.classes,
        input_shape=data.image_shape,
        prepare=data.prepare_image,
        summary=f"{type(model).__name__}, {dataset_title(dataset)}: {accuracy:.2%} of {len(labels):,} test images",
        intended_use=data.intended_use,
        limitations=data.limitations,
        dataset=dataset,
        temperature=float(model.temperature),
        robustness=robustness(file, data, images, labels, corruption_images),
        familiarity=measure_familiarity(file, data, images, answers, len(data.splits["val"])),
        precision=precision,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        multiply_adds=multiply_adds(model),
        training=training,
        command=command(),
        config=recipe(config),
        seed=None if isinstance(seed, bool) else seed,  # false: no seed was set
        commit=commit(),
        libraries=_libraries(),
        license=license,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        **measured,
    )
    ModelCard.from_json(card.to_json())  # readers refuse what this refuses, such as a class name with a line break
    return _add(zoo, proto, card, check)


def _checked_network(
    model: ImageClassifier, data: ImageDataModule, images: Tensor, precision: Precision
) -> tuple[onnx.ModelProto, Answers, str]:
    """Return the network as ONNX, its answers to the test images, and the check that it passed, for people.

    Raises ParityError or GateError.
    """
    proto = to_onnx(model.cpu())
    file = OnnxFile(proto)
    answers = file.answers(images)
    difference = check_parity(answers, torch_answers(model, images))
    n = f"{len(images):,}"
    check = f"Parity: {n} of {n} classes as in torch, probabilities within {difference:.1e}"
    if precision != "fp32":
        proto, check = _convert(proto, file, data, precision)
        answers = OnnxFile(proto).answers(images)
    return proto, answers, check


def _add(zoo: ZooFolder, proto: onnx.ModelProto, card: ModelCard, check: str) -> Exported:
    """Add the file under the next version, also if another export takes that version at the same time."""
    while True:
        model_id = ModelId(card.name, card.version)
        try:
            return Exported(zoo.add(model_id, with_card(proto, card)), card, check)
        except FileExistsError:
            if not zoo.file(model_id).parent.is_dir():
                raise
            card = replace(card, version=zoo.next_version(card.name))


def _convert(
    proto: onnx.ModelProto, full: OnnxFile, data: ImageDataModule, precision: Precision
) -> tuple[onnx.ModelProto, str]:
    """Return the network in `precision`, and its accuracy beside fp32's in words. Raises GateError."""
    data.setup("validate")
    train, held_out = data.splits["train"], data.splits["val"]
    if not len(held_out):
        raise GateError(
            f"{precision} is compared with fp32 on held-out images, and data.val_fraction is 0: "
            "train with a data.val_fraction above 0"
        )
    if precision == "int8":
        spread = evenly_spaced(RANGE_IMAGES, len(train))
        converted = to_int8(proto, train[spread][0])
    else:
        converted = to_fp16(proto)
    images, labels = held_out[:]
    answers = full.answers(images), OnnxFile(converted).answers(images)
    before, after = ((logits.argmax(1) == labels).double().mean().item() for logits, *_ in answers)
    if len(answers[1]) > 2:
        refit_familiarity(converted, images)
    compared = f"{precision} {after:.2%} of {len(labels):,} validation images correct, fp32 {before:.2%}"
    if after < before - MAX_ACCURACY_DROP:
        raise GateError(f"{compared}: more than {MAX_ACCURACY_DROP:.1%} less. Nothing was written")
    return converted, f"Gate: {compared}"


def _libraries() -> dict[str, str]:
    """Return the versions of the installed ones of LIBRARIES."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # there are two builds of onnxruntime
            continue
    return found
