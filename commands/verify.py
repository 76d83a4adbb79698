"""Check a zoo file: its bytes, the contract, and what its card says of itself."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import onnx
from rich.text import Text

from ..contract.card import ModelCard
from ..contract.checksums import SUMS, read_checksums, sha256_of
from ..contract.model_file import read_card
from ..contract.names import ContractError
from ..contract.zoo_folder import ModelId, ZooFolder
from ..serve.session import Session

if TYPE_CHECKING:
    from ..datamodules import ImageDataModule

ROUNDING = 1e-5  # of loss and calibration error, which another processor rounds otherwise


class Unlisted(ContractError):
    """SHA256SUMS says nothing of a file; the file itself may be right, and is looked at all the same."""


class Result(NamedTuple):
    check: str
    detail: str = ""
    error: Exception | None = None

    @property
    def wrong(self) -> str:
        """What is, in a line; empty if nothing is."""
        return (str(self.error).strip() or type(self.error).__name__).splitlines()[0] if self.error else ""


def verify(path: Path, metrics: bool = False, parity: bool = False, data_dir: Path | None = None) -> list[Result]:
    """Checks the file at <zoo>/<model>/<version>/model.onnx, until something is wrong with it.

    Args:
        metrics: measure again, on the data that the card names, what it says.
        parity: compare again with torch on the whole test set.
        data_dir: where that data is.
    """
    checks: list[tuple[str, Callable[[], str]]] = [
        ("contract", lambda: _contract(path)), ("ONNX", lambda: _onnx(path)),
    ]  # fmt: skip
    if metrics:
        checks.append(("metrics", lambda: _metrics(path, data_dir)))
    if parity:
        checks.append(("parity", lambda: _parity(path, data_dir)))
    results = [_result("SHA-256", lambda: _sum(path))]
    if results[0].error and not isinstance(results[0].error, Unlisted):
        return results
    for name, check in checks:
        results.append(_result(name, check))
        if results[-1].error:
            break
    return results


def gone(zoo: Path) -> list[str]:
    """Files that SHA256SUMS lists and that are not there."""
    return ZooFolder(zoo).missing()


def _result(name: str, check: Callable[[], str]) -> Result:
    try:
        return Result(name, check())
    except Exception as error:  # whatever a stranger's file makes of ONNX or of the data
        if os.environ.get("CNNZOO_DEBUG"):
            raise
        return Result(name, error=error)


def lines(path: Path, results: list[Result]) -> Text:
    """What was found, for people."""
    text = Text(f"{path.parent.parent.name}@{path.parent.name}\n", style="bold")
    for result in results:
        mark, style = ("✗", "red") if result.error else ("✓", "green")
        text.append(f"  {mark} {result.check}: ", style=style).append(f"{result.wrong or result.detail}\n")
    return text


def _sum(path: Path) -> str:
    found, listed = sha256_of(path), read_checksums(path.parents[2]).get(ModelId.from_path(path).path)
    if listed is None:
        raise Unlisted(f"{SUMS} does not list it, so nobody says what it should be; it is {found}")
    if found != listed:
        raise ContractError(f"it is {found}, {SUMS} says {listed}: it is damaged or was changed")
    return found


def _contract(path: Path) -> str:
    card = read_card(path)
    if Session(path.read_bytes()).card != card:
        raise ContractError("ONNX Runtime reads another card in it")
    return f"uint8 {list(card.input_shape)} to {len(card.classes)} classes"


def _onnx(path: Path) -> str:
    proto = onnx.load(path, load_external_data=False)
    onnx.checker.check_model(proto, full_check=True)
    return f"opset {max(o.version for o in proto.opset_import if o.domain in ('', 'ai.onnx'))}, checked in full"


def _metrics(path: Path, data_dir: Path | None) -> str:
    from ..models.export import OnnxFile  # only now: torch takes seconds to load
    from .measure import measure, robustness

    card = read_card(path)
    data = _data(card, data_dir)
    images, labels = data.load(train=False)
    file = OnnxFile(path.read_bytes())
    logits, probabilities = file.answers(images)
    again = measure((logits, probabilities), labels)
    wrong = [name for name, value in again["metrics"].items() if not _agree(name, card.metrics.get(name), value)]
    if again["confusion_matrix"] != card.confusion_matrix:
        wrong.append("confusion_matrix")
    if not np.allclose(again["reliability"], card.reliability, atol=ROUNDING):
        wrong.append("reliability")
    if not np.allclose((logits / card.temperature).softmax(1), probabilities, atol=ROUNDING):
        wrong.append("temperature")
    if card.robustness:
        found = robustness(file, data, card.robustness["images"])
        wrong += [f"robustness to {name}" for name, row in (found or card.robustness)["accuracy"].items()
                  if row != card.robustness["accuracy"].get(name)]  # fmt: skip
    if wrong:
        raise ContractError(f"measured again, its card's {', '.join(wrong)} come out otherwise")
    table = " and its table of corruptions" if card.robustness else ""
    return f"{card.metrics['accuracy']:.2%} of {len(labels):,} test images, its confusions, calibration{table}, again"


def _agree(name: str, said: float | None, found: float) -> bool:
    """Counts exactly; other figures but for rounding."""
    return said is not None and (said == found if name in ("accuracy", "n") else abs(said - found) <= ROUNDING)


def _parity(path: Path, data_dir: Path | None) -> str:
    from ..models.export import OnnxFile, check_parity, torch_answers
    from ..models.pretrained import restore

    card = read_card(path)
    if card.precision != "fp32":
        return f"not for {card.precision}, which was compared on validation images when it was made"
    images, _ = _data(card, data_dir).load(train=False)
    difference = check_parity(OnnxFile(path.read_bytes()).answers(images), torch_answers(restore(path), images))
    n = f"{len(images):,}"
    return f"{n} of {n} classes as torch gives them, probabilities within {difference:.1e}"


def _data(card: ModelCard, data_dir: Path | None) -> "ImageDataModule":
    """What the card was measured on. Of what a stranger's card says only a known dataset's few settings are used."""
    from .. import datamodules

    recipe = card.config.get("data", {})
    name = str(recipe.get("class_path", "")).rpartition(".")[2]
    if name not in datamodules.DATASETS:
        raise ContractError(f"its card names no dataset of cnnzoo's: {name[:40]!r}")
    if data_dir is None and name == "ImageFolderDataModule":
        raise ContractError("it was measured on an image folder: say where that is with --data_dir")
    said = recipe.get("init_args", {})
    arguments = {key: said[key] for key in ("size", "mode", "val_fraction", "seed") if key in said}
    data = datamodules.DATASETS[name](data_dir=data_dir, **arguments)
    data.prepare_data()
    if (found := data.describe()) != card.dataset:
        raise ContractError(f"it was measured on {card.dataset}, the data here is {found}")
    if data.classes != card.classes:
        raise ContractError(f"its classes are {', '.join(card.classes)}, the data's {', '.join(data.classes)}")
    return data
