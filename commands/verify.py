"""`cnnzoo verify`: check zoo files: their SHA-256, the contract, and the metrics of their cards."""

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from rich.text import Text

from ..contract.card import Familiarity
from ..contract.checksums import SUMS, sha256_of
from ..contract.facts import counted, percent
from ..contract.model_file import read_card
from ..contract.names import ContractError
from ..contract.zoo_folder import ModelId, ZooFolder, find_file, open_zoo
from ..serve.session import Session
from . import UsageError, console, say

TOLERANCE = 1e-5  # of loss and calibration error, since processors round differently
NEWER = {"balanced_accuracy"}  # metrics that older cards lack
SHARE_TOLERANCE = 0.002  # of the shares of flagged images: one at the threshold may go either way


def verify_models(
    *models: str,
    metrics: bool = False,
    parity: bool = False,
    data_dir: Path | None = None,
    zoo: Path | None = None,
) -> None:
    """Check models: SHA-256, contract, and metrics.

    Args:
        models: NAME, NAME@VERSION or a file in a zoo folder (default: all of the zoo folder)
        metrics: measure the metrics again and compare them with the card
        parity: compare the file with the network in torch on the test set
        data_dir: folder of the datasets (default: CNNZOO_DATA, else data/)
        zoo: the zoo folder (default: CNNZOO_ZOO, else zoo/; named models are looked for in the shipped ones, too)
    """
    if data_dir and not (metrics or parity):
        raise UsageError("--data_dir is for --metrics and --parity: give one of them, too")
    folder = None if models else open_zoo(zoo)
    paths = folder.files() if folder else [find_file(model, zoo).absolute() for model in models]
    if folder and not paths:
        raise FileNotFoundError(f"there is no model in {folder.path.absolute()}")
    if not folder:
        for path in paths:
            ModelId.from_path(path)  # fail before the first check
    failed = 0
    for path in paths:
        results = verify(path, metrics, parity, data_dir)
        failed += any(result.wrong for result in results)
        console.print(_report(path, results), soft_wrap=True)
    missing = folder.missing() if folder else []
    for file in missing:
        say(f"✗ {file} is listed but does not exist: restore it, or remove its line from {SUMS}")
    total = counted(len(paths) + len(missing), "file")
    if failed or missing:
        sys.exit(f"{failed + len(missing)} of {total} failed")
    say(f"{total} verified")


class UnlistedError(ContractError):
    """A file that SHA256SUMS does not list. The file itself may be correct, so that the other checks follow."""


class Result(NamedTuple):
    """Outcome of one check: what it found, or in `wrong` the first line of the error."""

    check: str
    detail: str = ""
    wrong: str = ""


def verify(path: Path, metrics: bool = False, parity: bool = False, data_dir: Path | None = None) -> list[Result]:
    """Check the file at <zoo>/<model>/<version>/model.onnx, up to the first check that fails.

    Args:
        metrics: measure the metrics again on the card's dataset.
        parity: compare with the network in torch on the whole test set.
        data_dir: folder of the datasets.
    """
    checks: dict[str, Callable[[Path], str]] = {
        "SHA-256": _check_sha256,
        "contract": _check_contract,
        "ONNX": _check_onnx,
        **({"metrics": partial(_check_metrics, data_dir=data_dir)} if metrics else {}),
        **({"parity": partial(_check_parity, data_dir=data_dir)} if parity else {}),
    }
    results = []
    for name, check in checks.items():
        try:
            results.append(Result(name, check(path)))
        except ModuleNotFoundError:  # this installation, not the file, is at fault
            raise
        except Exception as error:  # an untrusted file may raise anything in ONNX or in the data
            if os.environ.get("CNNZOO_DEBUG"):
                raise
            results.append(Result(name, wrong=(str(error).strip() or type(error).__name__).splitlines()[0]))
            if not isinstance(error, UnlistedError):
                break
    return results


def _report(path: Path, results: list[Result]) -> Text:
    try:
        title = str(ModelId.from_path(path))
    except ContractError:  # a file in a folder with an invalid name
        title = str(path)
    text = Text(f"{title}\n", style="bold")
    for result in results:
        mark, style = ("✗", "red") if result.wrong else ("✓", "green")
        text.append(f"  {mark} {result.check}: ", style=style).append(f"{result.wrong or result.detail}\n")
    return text


def _check_sha256(path: Path) -> str:
    found = sha256_of(path)
    expected = ZooFolder.around(path).checksums().get(ModelId.from_path(path).path)
    if expected is None:
        raise UnlistedError(f"it is {found}, but {SUMS} does not list the file: fetch or export it again")
    if found != expected:
        raise ContractError(f"it is {found}, {SUMS} says {expected}: the file is damaged or was changed")
    return found


def _check_contract(path: Path) -> str:
    card = read_card(path)
    Session(path.read_bytes())  # raises ContractError if ONNX Runtime cannot load it
    return f"uint8 {list(card.input_shape)} to {len(card.classes)} classes"


def _check_onnx(path: Path) -> str:
    proto = onnx.load(path, load_external_data=False)
    onnx.checker.check_model(proto, full_check=True)
    return f"opset {max(o.version for o in proto.opset_import if o.domain in ('', 'ai.onnx'))}, full check"


def _check_metrics(path: Path, data_dir: Path | None) -> str:
    from ..datamodules import from_card  # here, since torch takes seconds to import
    from ..models.export import OnnxFile
    from .measure import measure, measure_familiarity, robustness

    card = read_card(path)
    data = from_card(card, data_dir)
    images, labels = data.load(train=False)
    file = OnnxFile(path.read_bytes())
    answers = file.answers(images)
    logits, probabilities = answers[:2]
    again = measure(answers, labels)
    expected = {name: v for name, v in again["metrics"].items() if name in card.metrics or name not in NEWER}
    wrong = [name for name, value in expected.items() if not _agree(name, card.metrics.get(name), value)]
    if again["confusion_matrix"] != card.confusion_matrix:
        wrong.append("confusion_matrix")
    bins = again["reliability"], card.reliability
    if len(bins[0]) != len(bins[1]) or not np.allclose(*bins, atol=TOLERANCE):
        wrong.append("reliability")
    if not np.allclose((logits / card.temperature).softmax(1), probabilities, atol=TOLERANCE):
        wrong.append("temperature")
    if card.robustness:
        table = card.robustness["accuracy"]
        found = robustness(file, data, images, labels, card.robustness["images"], list(table))
        if found and found["images"] != card.robustness["images"]:
            wrong.append("images of robustness")
        rows = found["accuracy"] if found else table
        wrong += [f"robustness to {name}" for name, row in rows.items() if row != table[name]]
    if card.familiarity:
        measured = measure_familiarity(file, data, images, answers, card.familiarity["held_out"])
        wrong += _differing(card.familiarity, measured)
    if wrong:
        differ = "differs" if len(wrong) == 1 else "differ"
        raise ContractError(f"measured again, {', '.join(wrong)} {differ} from the card")
    corruptions = ", robustness" if card.robustness else ""
    accuracy = f"{percent(card.metrics['accuracy'])} of {len(labels):,} test images"
    familiarity = ", familiarity" if card.familiarity else ""
    return f"{accuracy}, confusion matrix, calibration{corruptions}{familiarity} as in the card"


def _differing(stated: Familiarity, found: Familiarity | None) -> list[str]:
    """Return the kinds of images of which another share is flagged than a card says."""
    if found is None:
        return ["familiarity"]
    wrong = [] if abs(found["flagged"] - stated["flagged"]) <= SHARE_TOLERANCE else ["familiarity of test images"]
    wrong += [] if stated["threshold"] == found["threshold"] else ["threshold of familiarity"]
    for kind, there in stated["strangers"].items():
        here = found["strangers"].get(kind)
        if here is None:
            raise FileNotFoundError(f"familiarity is compared with {kind}, whose files are not in the data folder")
        if any(abs(here[key] - there[key]) > SHARE_TOLERANCE for key in ("flagged", "auroc")):
            wrong.append(f"familiarity of {kind}")
    return wrong


def _agree(name: str, stated: float | None, found: float) -> bool:
    """Compare counts exactly, and other metrics up to rounding."""
    exact = name in ("accuracy", "n")
    return stated is not None and (stated == found if exact else abs(stated - found) <= TOLERANCE)


def _check_parity(path: Path, data_dir: Path | None) -> str:
    from ..datamodules import from_card
    from ..models.export import OnnxFile, check_parity, torch_answers
    from ..models.pretrained import restore

    card = read_card(path)
    if card.precision != "fp32":
        return f"not for {card.precision}, which was compared on validation images at export"
    images, _ = from_card(card, data_dir).load(train=False)
    difference = check_parity(OnnxFile(path.read_bytes()).answers(images), torch_answers(restore(path), images))
    n = f"{len(images):,}"
    return f"{n} of {n} classes as in torch, probabilities within {difference:.1e}"
