"""Check a zoo file: its bytes, the contract, and what its card says of itself."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from rich.text import Text

from ..serve.contract import ContractError, ModelCard, read_card
from ..serve.session import Session
from ..serve.sums import SUMS, digest, place_of, read_sums

ROUNDING = 1e-5  # of loss and calibration error, which another processor rounds otherwise


class Result(NamedTuple):
    check: str
    wrong: str  # empty if it is right
    detail: str = ""


def verify(path: Path, metrics: bool = False, parity: bool = False) -> list[Result]:
    """Checks the file at <zoo>/<model>/<version>/model.onnx, until something is wrong.

    Args:
        metrics: measure again, on the data that the card names, what it says.
        parity: compare again with torch on the whole test set.
    """
    checks: list[tuple[str, Callable[[Path], str]]] = [("SHA-256", _sum), ("contract", _contract), ("ONNX", _onnx)]
    checks += [("metrics", _metrics)] * metrics + [("parity", _parity)] * parity
    results = []
    for name, check in checks:
        try:
            results.append(Result(name, "", check(path)))
        except (ValueError, OSError, onnx.checker.ValidationError) as error:
            results.append(Result(name, str(error).strip().splitlines()[0]))
            break
    return results


def lines(path: Path, results: list[Result]) -> Text:
    """What was found, for people."""
    text = Text(f"{path.parent.parent.name}@{path.parent.name}\n", style="bold")
    for check, wrong, detail in results:
        mark, style = ("✗", "red") if wrong else ("✓", "green")
        text.append(f"  {mark} {check}: ", style=style).append(f"{wrong or detail}\n")
    return text


def _sum(path: Path) -> str:
    found, listed = digest(path), read_sums(path.parents[2]).get(place_of(path))
    if listed is None:
        raise ContractError(f"{SUMS} does not list it: a file of unknown origin")
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


def _metrics(path: Path) -> str:
    # Only now: torch takes seconds to load.
    from ..models.export import OnnxFile
    from .config import build_data
    from .measure import measure, robustness

    card = read_card(path)
    data = build_data(card.config)
    data.prepare_data()
    if data.describe() != card.dataset:
        raise ContractError(f"the data here is {data.describe()}, it was measured on {card.dataset}")
    images, labels = data.load(train=False)
    file = OnnxFile(path.read_bytes())
    found = measure(file.answers(images), labels)
    if card.robustness:
        found["robustness"] = robustness(file, data, card.robustness["images"])
    differing = [what for what, said, is_ in _pairs(card, found) if said != is_]
    if differing:
        raise ContractError(f"measured again, {', '.join(differing)} differ from what its card says")
    return f"{card.metrics['accuracy']:.2%} of {card.metrics['n']:,} test images, and all else the card says, again"


def _pairs(card: ModelCard, found: dict) -> Iterator[tuple[str, object, object]]:
    """(name, as the card says, as found): counts exactly, other figures but for rounding."""
    for name, value in found["metrics"].items():
        exact = name in ("accuracy", "n")
        near = not exact and np.isclose(card.metrics.get(name, np.nan), value, atol=ROUNDING)
        yield name, card.metrics.get(name), card.metrics.get(name) if near else value
    yield "confusion_matrix", card.confusion_matrix, found["confusion_matrix"]
    yield "robustness", card.robustness, found.get("robustness", {})


def _parity(path: Path) -> str:
    from ..models import create_model
    from ..models.export import OnnxFile, check_parity, torch_answers
    from .config import build_data

    card = read_card(path)
    if card.weights != "fp32":
        return f"not for {card.weights}, which was compared on validation images when it was made"
    data = build_data(card.config)
    data.prepare_data()
    images, _ = data.load(train=False)
    model = create_model(card.config.get("name", card.name), pretrained=path)
    difference = check_parity(OnnxFile(path.read_bytes()).answers(images), torch_answers(model, images))
    n = f"{len(images):,}"
    return f"{n} of {n} classes as torch gives them, probabilities within {difference:.1e}"
