"""The contract of a zoo file: names of inputs, outputs and metadata, and the model card.

Plain Python, owned by the side that reads it; `models/export.py` writes what is described here.
"""

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic asks for this one before Python 3.12

from .onnx_header import read_metadata

INPUT = "images"  # uint8 [batch, C, H, W], raw pixels 0-255
LOGITS = "logits"  # float32 [batch, classes]
PROBABILITIES = "probabilities"  # float32 [batch, classes], softmax of the logits over the temperature
CARD_KEY = "cnnzoo.card"  # the metadata entry that holds the card as JSON
FILE_NAME = "model.onnx"  # zoo/<model>/<version>/model.onnx
SCHEMA = 1
SHIPPED = Path(__file__).parent.parent / "zoo"  # the models that come with cnnzoo

# How an uploaded picture becomes the network's input (serve/images.py): as a photo is, or as the
# pictures of a dataset of handwritten digits were made.
Weights = Literal["fp32", "fp16", "int8"]
Preparation = Literal["photo", "digits", "mnist"]
PREPARATIONS = get_args(Preparation)

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}(?<!\.onnx)")


class ContractError(ValueError):
    """A file that is not a contract file; the message says what is missing or wrong."""


class NoMetadata(ContractError):
    """A file whose metadata cannot even be read."""


def _printable(text: str) -> str:
    """Raises ValueError for what would move a terminal's cursor or turn its writing around."""
    if _CONTROLS.search(text):
        raise ValueError("expected text without control characters")
    return text


_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def _grey_or_colour(channels: int) -> int:
    if channels not in (1, 3):
        raise ValueError("expected 1 or 3 channels")
    return channels


Channels = Annotated[int, AfterValidator(_grey_or_colour)]
Text = Annotated[str, AfterValidator(_printable)]
Number = int | Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[Number, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Size = Annotated[int, Field(gt=0)]


class Robustness(TypedDict):
    """Accuracy under corruptions: on how many images, and by name at severity 1 to 5."""

    images: Size
    accuracy: dict[Text, Annotated[list[Share], Field(min_length=5, max_length=5)]]


class Training(TypedDict, total=False):
    """Of the run: how it was started, with what code, on what, for how long."""

    command: Text
    commit: Text | None
    hardware: Text
    precision: Text
    epochs: Count
    seconds: Number


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
        robustness: accuracy under corruptions, if it was measured.
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

    name: Annotated[str, AfterValidator(lambda name: check_name(name))]
    version: Size
    classes: Annotated[tuple[Text, ...], Field(min_length=2)]
    input_shape: tuple[Channels, Size, Size]
    prepare: Preparation = "photo"
    summary: Text = ""
    intended_use: Text = ""
    limits: Text = ""
    dataset: dict[Text, Text] = field(default_factory=dict)
    metrics: dict[Text, Number] = field(default_factory=dict)
    temperature: Annotated[Number, Field(gt=0)] = 1.0
    confusion_matrix: list[list[Count]] = field(default_factory=list)
    reliability: list[tuple[Number, Number, Count]] = field(default_factory=list)
    robustness: Robustness | None = None
    weights: Weights = "fp32"
    parameters: Count = 0
    multiply_adds: Count = 0
    training: Training = field(default_factory=lambda: Training())
    command: Text = ""
    config: dict[str, Any] = field(default_factory=dict)
    seed: int | None = None
    commit: Text | None = None
    libraries: dict[Text, Text] = field(default_factory=dict)
    licence: Text = ""
    date: Text = ""

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
            entries = json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise ContractError(f"its card is not JSON ({error})") from None
        if not isinstance(entries, dict):
            raise ContractError("its card is not a JSON object")
        if entries.get("schema") != SCHEMA:
            raise ContractError(f"its card has schema {entries.get('schema')!r}; this release reads {SCHEMA}")
        return _checked(text)


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
            "starting with a letter or a digit and not ending in .onnx"
        )
    return name


def _checked(text: str) -> ModelCard:
    try:
        card = _CARD.validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "JSON"
        raise ContractError(f"its card's {where} is {_short(first['input'])}: {first['msg']}") from None
    n = len(card.classes)
    if len(set(card.classes)) < n:
        raise ContractError("its card has two classes of one name")
    if not 0 <= card.metrics.get("accuracy", 0) <= 1:
        raise ContractError(f"its card's accuracy is {card.metrics['accuracy']}: a share, from 0 to 1")
    if card.confusion_matrix and [len(row) for row in card.confusion_matrix] != [n] * n:
        raise ContractError(f"its card's confusion_matrix has not {n} rows of {n} numbers, one for each class")
    return card


_CARD: TypeAdapter[ModelCard] = TypeAdapter(ModelCard)


def _no_constant(word: str) -> float:
    raise ValueError(f"{word} is no number")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
