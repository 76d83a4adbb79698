"""SHA256SUMS: the SHA-256 of each file of a zoo folder, as `sha256sum --check` reads it."""

import hashlib
import re
from pathlib import Path

from .names import ContractError

SUMS = "SHA256SUMS"

_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](?:\./)?([!-~]+)")  # printable ASCII: paths are shown in terminals


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_checksums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 in hex by relative path; empty if `folder` has no SHA256SUMS.

    Raises ContractError for a malformed line: the file it should protect would go unchecked.
    """
    try:
        return parse_checksums((folder / SUMS).read_text(errors="replace"))
    except FileNotFoundError:
        return {}


def check_sha256(found: str, listed: str | None) -> None:
    """Raise ContractError if SHA256SUMS lists another SHA-256 than the one found. None: it lists none."""
    if listed not in (None, found):
        raise ContractError(f"its SHA-256 is {found}, {SUMS} says {listed}: it is damaged or was changed")


def parse_checksums(text: str) -> dict[str, str]:
    """Parse a SHA256SUMS. The last line for a path wins. Raises ContractError with the number of a malformed line."""
    checksums = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            found = _LINE.fullmatch(line.strip())
            if not found:
                raise ContractError(f"line {number} of {SUMS} is {line[:80]!r}: expected a SHA-256 and a path")
            checksums[found[2]] = found[1].lower()
    return checksums


def add_checksum(folder: Path, path: str, sha256: str) -> None:
    """Add a line for the relative `path` to SHA256SUMS, or change the line that it has.

    Appends in a single write, so that two processes at the same time lose no line.
    """
    listed = read_checksums(folder)
    if listed.get(path) == sha256:
        return
    sums = folder / SUMS
    if path in listed:  # of a file that was removed
        old = re.compile(rb"(?m)^\s*([0-9a-fA-F]{64}) [ *](?:\./)?" + re.escape(path.encode()) + rb"\s*$")
        with sums.open("r+b") as file:  # the other lines stay where they are: another process may add one
            for line in old.finditer(sums.read_bytes()):
                file.seek(line.start(1))
                file.write(sha256.encode())
        return
    before = sums.read_bytes() if sums.is_file() else b""
    newline = "\n" if before and not before.endswith(b"\n") else ""
    is_new = not sums.exists()
    with sums.open("a") as file:
        file.write(f"{newline}{sha256}  {path}\n")
    if is_new:
        sums.chmod(0o644)  # whatever the umask: the service may run as another user
