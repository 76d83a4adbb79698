"""Scores of many images in one CSV or Parquet file: constant memory, and a stopped scoring goes on."""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from rich.progress import Progress

from ..contract.files import atomic_write
from ..contract.image_files import Identity, identity, image_files
from . import UsageError, console
from .score_formats import Format, find_format
from .scoring import BATCH, Row, Scorer
from .scoring_pool import Score, scoring_pool

ROWS = 4096  # of a part, which is written at once
JOB, FILES = "job.json", "files.list"


def write_scores(scorer: Scorer, paths: Sequence[Path], output: Path) -> tuple[int, int]:
    """Write a row for each image file in the given files and folders.

    Returns the number of files, and how many could not be read.

    The rows are those of `Scorer.rows`, by path within each folder. Parts of 4,096 rows are kept in OUTPUT.parts until
    the end. If that is there, the scoring goes on with the rows that are missing.

    The files are listed once, so that those which come or go meanwhile do not move the others.

    Raises UsageError for an output that is a folder or of an unknown format, for parts of another model or other files,
    and while another command writes the same output; FileNotFoundError for a missing path, and for no images.
    """
    file_format = find_format(output.suffix.lower())
    if output.is_dir():
        raise UsageError(f"--output {output} is a folder: give the name of a file in it")
    if next(walk(paths), None) is None:
        raise FileNotFoundError(f"no PNG or JPEG images in {', '.join(map(str, paths))}")
    parts = output.with_name(f"{output.name}.parts")
    try:
        parts.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}: {parts}") from None
    try:
        with FileLock(parts / "lock", timeout=0):
            return _write(scorer, paths, output, parts, file_format)
    except Timeout:
        raise UsageError(f"another command writes {output}: wait for it, or give another --output") from None


def _write(scorer: Scorer, paths: Sequence[Path], output: Path, parts: Path, file_format: Format) -> tuple[int, int]:
    job = {"model": scorer.sha256, "columns": list(scorer.columns), "min_familiarity": scorer.min_familiarity}
    with scoring_pool(scorer.path, top_k=scorer.top_k, min_familiarity=scorer.min_familiarity) as score:
        with atomic_write(parts / FILES) as listing:
            count, job["files"] = _list(paths, listing)
            _begin(parts, job)
        files = _write_parts(scorer, score, count, parts, output.suffix, file_format)
    unreadable = sum(map(file_format.count_errors, files))
    with atomic_write(output) as temporary:
        file_format.join(temporary, scorer.columns, files)
    shutil.rmtree(parts, ignore_errors=True)  # NFS and Windows keep the lock, which is open
    return count, unreadable


def _write_parts(scorer: Scorer, score: Score, count: int, parts: Path, suffix: str, file_format: Format) -> list[Path]:
    """Write the parts that are missing, and return the paths of all."""
    part = [parts / f"{number:06}{suffix}" for number in range(-(-count // ROWS))]
    missing = [number for number, path in enumerate(part) if not path.is_file()]
    answers = score(_batches(parts / FILES, set(missing)))
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task(f"Scoring {scorer.card.name}", total=count)
        progress.advance(bar, count - sum(_length(number, count) for number in missing))
        for number in missing:
            rows = chain.from_iterable(islice(answers, -(-_length(number, count) // BATCH)))
            with atomic_write(part[number]) as temporary:
                file_format.write(temporary, scorer.columns, _noted(rows, progress, bar))
    return part


def _length(number: int, count: int) -> int:
    """Return the number of rows of a part."""
    return min(ROWS, count - number * ROWS)


def _noted(rows: Iterable[Row], progress: Progress, bar: Any) -> Iterator[Row]:
    for number, row in enumerate(rows, 1):
        yield row
        if number % BATCH == 0:
            progress.advance(bar, BATCH)


def _batches(listing: Path, numbers: set[int]) -> Iterator[list[Path]]:
    """Give the paths of a listing in batches, for the parts with these numbers."""
    with listing.open() as file:
        for number, lines in enumerate(iter(lambda: list(islice(file, ROWS)), [])):
            if number in numbers:
                for start in range(0, len(lines), BATCH):
                    yield [Path(json.loads(line)[0]) for line in lines[start : start + BATCH]]


def walk(paths: Iterable[Path]) -> Iterator[Path]:
    """Give the files, and the PNG and JPEG files in the folders, one folder after the other, and each folder once.

    Raises FileNotFoundError for a missing path.
    """
    visited: set[Identity] = set()
    for path in paths:
        if path.is_dir():
            if identity(path) in visited:
                continue
            yield from (Path(entry.path) for entry in image_files(str(path), visited=visited))
        elif path.is_file():
            yield path
        else:
            raise FileNotFoundError(f"no such image or folder: {path}")


def _list(paths: Sequence[Path], to: Path) -> tuple[int, str]:
    """Write a line for each file: its path, size and time of change. Return their number, and a hash of the lines."""
    count, listing = 0, hashlib.sha256()
    with to.open("w") as file:
        for path in walk(paths):
            try:
                found = path.stat()
                line = json.dumps([str(path), found.st_size, found.st_mtime_ns])
            except OSError:  # such as a link to nothing: a row with an error
                line = json.dumps([str(path)])
            file.write(f"{line}\n")
            listing.update(line.encode())
            count += 1
    return count, listing.hexdigest()


def _begin(parts: Path, job: dict[str, Any]) -> None:
    """Create the folder of parts, or check that it is of the same job."""
    begun = parts / JOB
    if begun.is_file():
        try:
            other = json.loads(begun.read_text())
            differing = ", ".join(key for key in job if other.get(key) != job[key])
        except (ValueError, AttributeError):
            raise UsageError(f"{begun} is damaged: remove {parts} to start anew") from None
        if differing:
            raise UsageError(
                f"{parts} was begun with other {differing}: remove it to start anew, or give another --output"
            )
        return
    for left in parts.glob("[0-9]*"):  # by a job that was ended while it removed them
        left.unlink()
    with atomic_write(begun) as temporary:
        temporary.write_text(json.dumps(job))
