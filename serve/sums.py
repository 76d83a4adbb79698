"""SHA256SUMS: what the files of a zoo folder should be, as `sha256sum --check` reads it."""

import hashlib
import os
import re
from pathlib import Path

from .contract import FILE_NAME

SUMS = "SHA256SUMS"

_LINE = re.compile(r"([0-9a-f]{64}) [ *](\S+)")


def read_sums(zoo: Path) -> dict[str, str]:
    """SHA-256 in hex by <model>/<version>/model.onnx; empty where there is no such file."""
    try:
        return parse_sums((zoo / SUMS).read_text())
    except FileNotFoundError:
        return {}


def parse_sums(text: str) -> dict[str, str]:
    """The lines of a SHA256SUMS that are of its form."""
    found = (_LINE.fullmatch(line.strip()) for line in text.splitlines())
    return {match[2]: match[1] for match in found if match}


def add_sum(path: Path) -> None:
    """Notes the file at <zoo>/<model>/<version>/model.onnx."""
    zoo, place = path.parents[2], place_of(path)
    known = read_sums(zoo)
    line = f"{digest(path)}  {place}\n"
    if place not in known:  # in one write, which another process' cannot tear
        with (zoo / SUMS).open("a") as file:
            file.write(line)
        return
    unfinished = zoo / f".{SUMS}.{os.getpid()}"
    unfinished.write_text("".join(f"{sha256}  {other}\n" for other, sha256 in known.items() if other != place) + line)
    unfinished.replace(zoo / SUMS)


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def place_of(path: Path) -> str:
    """<model>/<version>/model.onnx, the name of a zoo's file in its SHA256SUMS."""
    return f"{path.parent.parent.name}/{path.parent.name}/{FILE_NAME}"
