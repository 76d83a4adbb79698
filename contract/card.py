"""The model card: what a zoo file says about itself, as JSON in its ONNX metadata."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic asks for this one before Python 3.12

from .names import OUTPUTS, ContractError, check_name

SCHEMA = 2
RENAMED = {"licence": "license", "limits": "limitations", "weights": "precision"}  # schema 1: schema 2

Precision = Literal["fp32", "fp16", "int8"]
Preparation = Literal["photo", "photo_jpeg75", "digits", "mnist"]  # how an image becomes the network's input: images.py
PREPARATIONS = get_args(Preparation)
HANDWRITING = ("digits", "mnist")  # the preparations that find and frame it

MOST = 10**18  # larger numbers overflow where a card is shown
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """Refuse characters that move a terminal's cursor or reverse its text."""
    if _CONTROLS.search(text):
        raise ValueError("expected text without control characters")
    return text


def _grey_or_rgb(channels: int) -> int:
    if channels not in (1, 3):
        raise ValueError("expected 1 or 3 channels")
    return channels


Channels = Annotated[int, AfterValidator(_grey_or_rgb)]
Text = Annotated[str, AfterValidator(printable)]
Number = Annotated[int, Field(ge=-MOST, le=MOST)] | Annotated[float, Field(ge=-MOST, le=MOST, allow_inf_nan=False)]
Share = Annotated[Number, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, le=MOST)]
Size = Annotated[int, Field(gt=0, le=MOST)]


class Robustness(TypedDict):
    """Accuracy on corrupted images: the number of images, and by corruption the accuracy at severity 1 to 5."""

    images: Size
    accuracy: dict[Text, Annotated[list[Share], Field(min_length=5, max_length=5)]]


class Strangers(TypedDict):
    """Images unlike the dataset's own: how many, the share flagged as unfamiliar, and the AUROC of familiarity."""

    images: Size
    flagged: Share
    auroc: Share


class Familiarity(TypedDict):
    """Output `familiarity`: the held-out images that it refers to, and what is flagged below the threshold.

    `flagged` is the share of the test images, `strangers` has other images by kind.
    """

    held_out: Size
    threshold: Share
    flagged: Share
    strangers: dict[Text, Strangers]


class Training(TypedDict, total=False):
    """Provenance of the training run."""

    command: Text
    commit: Text | None
    hardware: Text
    precision: Text
    epochs: Count
    seconds: Number


@dataclass(frozen=True)
class ModelCard:
    """Model card of a zoo file.

    Args:
        name: the model's name in URLs and folders.
        version: 1, 2, 3 … under that name.
        classes: names in the order of the outputs.
        input_shape: (channels, height, width) of one image.
        prepare: how an image becomes an input, one of PREPARATIONS.
        summary: one line for people.
        intended_use: what the model is for.
        limitations: what it is not for.
        dataset: name, variant, source and license of the data.
        metrics: on the test set: accuracy, accuracy_low and accuracy_high (95% Wilson interval), balanced_accuracy (the
            mean over the classes), n, loss (nats), calibration_error, calibration_error_before (before temperature
            scaling).
        temperature: divisor of the logits before the softmax.
        confusion_matrix: on the test set; rows are true classes, columns predicted ones.
        reliability: (mean confidence, accuracy, images) of each confidence bin.
        robustness: accuracy on corrupted images, if measured.
        familiarity: what the output `familiarity` refers to and flags, if the file has it.
        precision: fp32, fp16 or int8.
        parameters: number of parameters.
        multiply_adds: for one image.
        training: provenance of the training run.
        command: the command line that wrote the file.
        config: the resolved configuration of the training run.
        seed: of the training run.
        commit: the git commit of the code that wrote the file, or None.
        libraries: versions by name.
        license: of the weights.
        date: ISO 8601, UTC.
    """

    name: Annotated[str, AfterValidator(check_name)]
    version: Size
    classes: Annotated[tuple[Text, ...], Field(min_length=2)]
    input_shape: tuple[Channels, Size, Size]
    prepare: Preparation = "photo"
    summary: Text = ""
    intended_use: Text = ""
    limitations: Text = ""
    dataset: dict[Text, Text] = field(default_factory=dict)
    metrics: dict[Text, Number] = field(default_factory=dict)
    temperature: Annotated[Number, Field(gt=0)] = 1.0
    confusion_matrix: list[list[Count]] = field(default_factory=list)
    reliability: list[tuple[Number, Number, Count]] = field(default_factory=list)
    robustness: Robustness | None = None
    familiarity: Familiarity | None = None
    precision: Precision = "fp32"
    parameters: Count = 0
    multiply_adds: Count = 0
    training: Training = field(default_factory=lambda: Training())
    command: Text = ""
    config: dict[str, Any] = field(default_factory=dict)
    seed: int | None = None
    commit: Text | None = None
    libraries: dict[Text, Text] = field(default_factory=dict)
    license: Text = ""
    date: Text = ""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the file's outputs."""
        return OUTPUTS if self.familiarity else OUTPUTS[:2]

    @property
    def mode(self) -> str:
        """Pillow's name for the input's colors: L (grey) or RGB."""
        return "L" if self.input_shape[0] == 1 else "RGB"

    @property
    def dataset_title(self) -> str:
        """See `dataset_title`."""
        return dataset_title(self.dataset)

    def recipe(self, part: Literal["model", "data"]) -> tuple[str, dict[str, Any]]:
        """Return the name of the class and the arguments of the network or the data; empty if the card has none.

        Raises ContractError if the card's config has another form.
        """
        found = self.config.get(part) or {}
        arguments = (found.get("init_args") or {}) if isinstance(found, dict) else None
        if not isinstance(arguments, dict):
            raise ContractError(f"its card's config has no readable {part}: expected class_path and init_args")
        return str(found.get("class_path", "")).rpartition(".")[2], dict(arguments)

    def to_json(self) -> str:
        """Return the card as JSON of the current schema."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "ModelCard":
        """Read a card of schema 1 or 2. Raises ContractError that names the wrong field."""
        try:
            fields = json.loads(text)
            json.dumps(fields, allow_nan=False)  # raises ValueError for NaN, and for 1e999, which is read as infinity
        except (ValueError, RecursionError) as error:
            raise ContractError(f"its card is not JSON ({error})") from None
        if not isinstance(fields, dict):
            raise ContractError("its card is not a JSON object")
        if fields.get("schema") == 1:
            fields = _from_schema_1(fields)
        if fields.get("schema") != SCHEMA:
            raise ContractError(f"its card has schema {fields.get('schema')!r}: this release reads 1 to {SCHEMA}")
        return _validated(json.dumps(fields))


def dataset_title(dataset: dict[str, Any]) -> str:
    """Return a dataset's name for people, with its variant if the images are a lossy copy: CIFAR-10 (JPEG q75)."""
    name, variant = str(dataset.get("name", "")), str(dataset.get("variant", ""))
    return f"{name} ({variant})" if "JPEG" in variant else name


def _from_schema_1(fields: dict[str, Any]) -> dict[str, Any]:
    """Rename the fields of schema 1, also those of its dataset."""
    renamed = {RENAMED.get(name, name): value for name, value in fields.items()}
    if isinstance(dataset := renamed.get("dataset"), dict):
        renamed["dataset"] = {RENAMED.get(name, name): value for name, value in dataset.items()}
    return renamed | {"schema": SCHEMA}


def _validated(text: str) -> ModelCard:
    try:
        card = _CARD.validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "JSON"
        raise ContractError(f"its card's {where} is {_short(first['input'])}: {first['msg']}") from None
    n = len(card.classes)
    if len(set(card.classes)) < n:
        raise ContractError("its card's classes are not all different")
    if not 0 <= card.metrics.get("accuracy", 0) <= 1:
        raise ContractError(f"its card's accuracy is {card.metrics['accuracy']}: expected a share from 0 to 1")
    if card.confusion_matrix and [len(row) for row in card.confusion_matrix] != [n] * n:
        raise ContractError(f"its card's confusion_matrix is not {n} × {n}, a row and a column for each class")
    return card


_CARD: TypeAdapter[ModelCard] = TypeAdapter(ModelCard)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def class_number(classes: Sequence[str], wanted: str) -> int:
    """Return the number of a class by its label or, if no class has that label, by its number.

    Raises ValueError, which names the classes, for anything else.
    """
    if wanted in classes:
        return classes.index(wanted)
    if wanted.isascii() and wanted.isdigit() and len(wanted) < 6 and int(wanted) < len(classes):
        return int(wanted)
    known = f"{', '.join(classes[:12])}{', …' if len(classes) > 12 else ''}"
    raise ValueError(f"there is no class {wanted[:32]!r}: give one of {known}, or its number from 0")
