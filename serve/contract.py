"""The contract of a zoo file: names of inputs, outputs and metadata, and the model card.

Plain Python, owned by the side that reads it; `models/export.py` writes what is described here.
"""

import json
import re
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from .onnx_header import read_metadata

INPUT = "images"  # uint8 [batch, C, H, W], raw pixels 0-255
LOGITS = "logits"  # float32 [batch, classes]
PROBABILITIES = "probabilities"  # float32 [batch, classes], softmax of the logits
CARD_KEY = "cnnzoo.card"  # the metadata entry that holds the card as JSON
FILE_NAME = "model.onnx"  # zoo/<model>/<version>/model.onnx
SCHEMA = 1
SHIPPED = Path(__file__).parent.parent / "zoo"  # the models that come with cnnzoo

# How an uploaded picture becomes the network's input (serve/images.py): as a photo is, or as the
# pictures of a dataset of handwritten digits were made.
PREPARATIONS = ("photo", "digits", "mnist")

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


class ContractError(ValueError):
    """A file that is not a contract file; the message says what is missing or wrong."""


class NoMetadata(ContractError):
    """A file whose metadata cannot even be read."""


@dataclass(frozen=True)
class ModelCard:
    """What a zoo file says of itself.

    Args:
        name: the model's name in addresses and folders.
        version: 1, 2, 3 … under that name.
        classes: names in the order of the outputs.
        input_shape: (channels, height, width) of one image.
        prepare: how an uploaded picture becomes an input, one of PREPARATIONS.
        summary: one line for people.
        intended_use: what it is for.
        limits: what it is not for.
        dataset: name, variant, source and licence of the data.
        metrics: on the test set: accuracy, accuracy_low and accuracy_high (Wilson's interval of 95%), n, loss,
            calibration_error, calibration_error_before.
        temperature: that the logits are divided by before they become probabilities.
        confusion_matrix: of the test set; rows are the true classes, columns the predicted ones.
        reliability: (mean confidence, accuracy, images) of each bin of confidence.
        robustness: accuracy under corruptions: {"images": how many, "accuracy": {name: [at severity 1 to 5]}}.
        weights: fp32, fp16 or int8.
        parameters: how many are trained.
        multiply_adds: for one image.
        training: command, commit, hardware, precision, epochs and seconds of the run.
        command: the command line that wrote the file.
        config: the resolved configuration that trained it.
        seed: of the run.
        commit: the git commit it was written at, or None.
        libraries: versions.
        licence: of the weights.
        date: ISO 8601, UTC.
    """

    name: str
    version: int
    classes: tuple[str, ...]
    input_shape: tuple[int, int, int]
    prepare: str = "photo"
    summary: str = ""
    intended_use: str = ""
    limits: str = ""
    dataset: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    temperature: float = 1.0
    confusion_matrix: list[list[int]] = field(default_factory=list)
    reliability: list[list[float]] = field(default_factory=list)
    robustness: dict[str, Any] = field(default_factory=dict)
    weights: str = "fp32"
    parameters: int = 0
    multiply_adds: int = 0
    training: dict[str, Any] = field(default_factory=dict)
    command: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    seed: int | None = None
    commit: str | None = None
    libraries: dict[str, str] = field(default_factory=dict)
    licence: str = ""
    date: str = ""

    @property
    def mode(self) -> str:
        """Pillow's name for the input's colours: L (grey) or RGB."""
        return "L" if self.input_shape[0] == 1 else "RGB"

    def to_json(self) -> str:
        return json.dumps({"schema": SCHEMA, **asdict(self)}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "ModelCard":
        """Raises ContractError, naming the entry, for anything but a card of this schema."""
        try:
            entries = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ContractError(f"its card is not JSON ({error})") from None
        if not isinstance(entries, dict):
            raise ContractError("its card is not a JSON object")
        if entries.get("schema") != SCHEMA:
            raise ContractError(f"its card has schema {entries.get('schema')!r}; this release reads {SCHEMA}")
        _check(entries)
        known = {f.name for f in fields(cls)}
        values = {key: value for key, value in entries.items() if key in known}
        values["classes"] = tuple(values["classes"])
        values["input_shape"] = tuple(values["input_shape"])
        return cls(**values)


def read_card(path: Path) -> ModelCard:
    """The card of the file in <model>/<version>/model.onnx, without loading it.

    Raises NoMetadata, ContractError if the card is missing, wrong or of another place, or OSError.
    """
    check_name(path.parent.parent.name)
    try:
        metadata = read_metadata(path)
    except ValueError as error:
        raise NoMetadata(str(error)) from None
    if CARD_KEY not in metadata:
        raise ContractError(f"it has no model card: its metadata holds no entry {CARD_KEY!r}")
    card = ModelCard.from_json(metadata[CARD_KEY])
    found, place = f"{card.name}/{card.version}", f"{path.parent.parent.name}/{path.parent.name}"
    if found != place:
        raise ContractError(f"its card says {found}, but it lies in {place}: move it there")
    return card


def dataset_title(dataset: dict[str, Any]) -> str:
    """A dataset's name for people; it says so where the images are not the official ones: CIFAR-10 (JPEG q75)."""
    name, variant = str(dataset.get("name", "")), str(dataset.get("variant", ""))
    return f"{name} ({variant})" if "JPEG" in variant else name


def check_name(name: str) -> str:
    """`name`, if it can be a model's; raises ContractError otherwise."""
    if not _NAME.fullmatch(name):
        raise ContractError(
            f"{name!r} cannot be a model's name: use 1 to 64 of a-z, 0-9, '_', '-' and '.', "
            "starting with a letter or a digit"
        )
    return name


def _check(entries: dict[str, Any]) -> None:
    def require(key: str, right: bool, expected: str) -> None:
        if not right:
            raise ContractError(f"its card's {key} is {_short(entries.get(key))}: expected {expected}")

    name, version = entries.get("name"), entries.get("version")
    classes, shape = entries.get("classes"), entries.get("input_shape")
    require("name", isinstance(name, str) and bool(_NAME.fullmatch(name)), "a model's name")
    require("version", type(version) is int and version > 0, "a whole number from 1 up")
    require(
        "classes",
        isinstance(classes, list) and len(classes) > 1 and all(isinstance(c, str) for c in classes),
        "a list of two or more names",
    )
    require(
        "input_shape",
        isinstance(shape, list)
        and len(shape) == 3
        and all(type(n) is int and n > 0 for n in shape)
        and shape[0] in (1, 3),
        "[channels, height, width] with 1 or 3 channels",
    )
    require("prepare", entries.get("prepare", "photo") in PREPARATIONS, f"one of {', '.join(PREPARATIONS)}")
    for key in ("dataset", "metrics", "robustness", "training", "config", "libraries"):
        require(key, isinstance(entries.get(key, {}), dict), "a JSON object")
    for key in ("confusion_matrix", "reliability"):
        require(key, isinstance(entries.get(key, []), list), "a list")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
