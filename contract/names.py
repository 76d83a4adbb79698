"""Names that every zoo file uses, and the error of a file that breaks the contract."""

import difflib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

INPUT = "images"  # uint8 [batch, C, H, W], raw pixels 0-255
LOGITS = "logits"  # float32 [batch, classes]
PROBABILITIES = "probabilities"  # float32 [batch, classes]: softmax(logits / temperature)
FAMILIARITY = "familiarity"  # float32 [batch]: share of held-out images that look stranger to the network, 0-1
OUTPUTS = (LOGITS, PROBABILITIES, FAMILIARITY)  # in this order; older files have no familiarity
UNFAMILIAR = 0.05  # below this familiarity an image is unlike those that the network was trained on
CARD_KEY = "cnnzoo.card"  # the ONNX metadata entry that holds the card as JSON
HEADER_LENGTH = "Inference-Header-Content-Length"  # HTTP header: bytes of JSON before binary tensors

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}(?<!\.onnx)")


class ContractError(ValueError):
    """A file that breaks the contract. The message says what is missing or wrong."""


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put the path of a file before the message of a ContractError."""
    try:
        yield
    except ContractError as error:
        raise ContractError(f"{path}: {error}") from None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the known name nearest to an unknown one, or "" if none is near."""
    close = difflib.get_close_matches(name[:64], list(known), n=1)  # its time grows with the name
    return f"; did you mean {close[0]!r}?" if close else ""


def check_name(name: str) -> str:
    """Return `name` if it is a valid model name. Raises ContractError otherwise."""
    if not _NAME.fullmatch(name):
        raise ContractError(
            f"{name!r} cannot be a model's name: use 1 to 64 of a-z, 0-9, '_', '-' and '.', "
            "starting with a letter or a digit and not ending in .onnx"
        )
    return name
