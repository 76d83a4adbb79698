"""SHA256SUMS: what the files of a zoo folder should be, as `sha256sum --check` reads it."""

import hashlib
import re
from pathlib import Path

from .contract import FILE_NAME, ContractError

SUMS = "SHA256SUMS"

_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](?:\./)?([!-~]+)")  # of ASCII: names are printed


def read_sums(zoo: Path) -> dict[str, str]:
    """SHA-256 in hex by <model>/<version>/model.onnx; empty where there is no such file.

    Raises ContractError for a line that is not of that form: what it was to protect would go unprotected.
    """
    try:
        return parse_sums((zoo / SUMS).read_text(errors="replace"))
    except FileNotFoundError:
        return {}


def parse_sums(text: str) -> dict[str, str]:
    """The lines of a SHA256SUMS; of two for one file the later counts. Raises ContractError, naming the line."""
    sums = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            found = _LINE.fullmatch(line.strip())
            if not found:
                raise ContractError(f"line {number} of {SUMS} is {line[:80]!r}: expected a SHA-256 and a file's path")
            sums[found[2]] = found[1].lower()
    return sums


def add_sum(path: Path, sha256: str) -> None:
    """Notes the file at <zoo>/<model>/<version>/model.onnx, in one write: two processes at once lose no line."""
    sums = path.parents[2] / SUMS
    place = place_of(path)
    if read_sums(sums.parent).get(place) == sha256:
        return
    before = sums.read_bytes() if sums.is_file() else b""
    start = "\n" if before and not before.endswith(b"\n") else ""
    with sums.open("a") as file:
        file.write(f"{start}{sha256}  {place}\n")


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def place_of(path: Path) -> str:
    """<model>/<version>/model.onnx, the name of a zoo's file in its SHA256SUMS."""
    return f"{path.parent.parent.name}/{path.parent.name}/{FILE_NAME}"
