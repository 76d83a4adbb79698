"""Scores of many images in one CSV or Parquet file: constant memory, and a stopped scoring goes on."""

import csv
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from rich.progress import Progress

from ..contract.files import atomic_write
from ..contract.images import SUFFIXES
from . import UsageError, console
from .scoring import Scorer

ROWS = 4096  # of a part, which is written at once
JOB, FILES = "job.json", "files.list"


def write_scores(scorer: Scorer, paths: Sequence[Path], output: Path) -> int:
    """Write a row for each image file in the given files and folders, and return the number of files.

    The rows are those of `Scorer.rows`, by path within each folder. Parts of 4,096 rows are kept in OUTPUT.parts until
    the end. If that is there, the scoring goes on with the rows that are missing.

    The files are listed once, so that those which come or go meanwhile do not move the others.

    Raises UsageError for another suffix than .csv and .parquet, for Parquet without pyarrow, for parts of another model
    or other files, and while another command writes the same output; FileNotFoundError for a missing path, and for no
    images.
    """
    extend = _writer(output.suffix.lower())
    if next(walk(paths), None) is None:
        raise FileNotFoundError(f"no PNG or JPEG images in {', '.join(map(str, paths))}")
    parts = output.with_name(f"{output.name}.parts")
    parts.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(parts / "lock", timeout=0):
            return _write(scorer, paths, output, parts, extend)
    except Timeout:
        raise UsageError(f"another command writes {output}: wait for it, or give another --output") from None


def _write(
    scorer: Scorer, paths: Sequence[Path], output: Path, parts: Path, extend: Callable[[Path, Any, Any], None]
) -> int:
    job = {"model": scorer.sha256, "columns": list(scorer.columns), "min_familiarity": scorer.min_familiarity}
    with atomic_write(parts / FILES) as listing:
        count, job["files"] = _list(paths, listing)
        _begin(parts, job)
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task(f"Scoring {scorer.card.name}", total=count)
        files = _listed(parts / FILES)
        for number in range(-(-count // ROWS)):
            chunk = list(islice(files, ROWS))
            part = parts / f"{number:06}.jsonl"
            if part.is_file():
                progress.advance(bar, len(chunk))
                continue
            with atomic_write(part) as temporary, temporary.open("w") as file:
                for row in scorer.rows(chunk):
                    file.write(json.dumps(row) + "\n")
                    progress.advance(bar)
    with atomic_write(output) as temporary:
        extend(temporary, scorer.columns, _parts(parts))
    shutil.rmtree(parts)
    return count


def walk(paths: Iterable[Path]) -> Iterator[Path]:
    """Give the files, and the PNG and JPEG files in the folders, one folder after the other.

    Raises FileNotFoundError for a missing path.
    """
    for path in paths:
        if path.is_dir():
            with os.scandir(path) as found:
                entries = sorted(found, key=lambda entry: entry.name)
            for entry in entries:
                if entry.is_dir():
                    yield from walk([Path(entry.path)])
                elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:
                    yield Path(entry.path)
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


def _listed(listing: Path) -> Iterator[Path]:
    """Give the paths of a listing."""
    with listing.open() as file:
        for line in file:
            yield Path(json.loads(line)[0])


def _begin(parts: Path, job: dict[str, Any]) -> None:
    """Create the folder of parts, or check that it is of the same job."""
    begun = parts / JOB
    if begun.is_file():
        if (other := json.loads(begun.read_text())) != job:
            differing = ", ".join(key for key in job if other.get(key) != job[key])
            raise UsageError(
                f"{parts} was begun with other {differing}: remove it to start anew, or give another --output"
            )
        return
    for left in parts.glob("*.jsonl"):  # by a job that was ended while it removed them
        left.unlink()
    with atomic_write(begun) as temporary:
        temporary.write_text(json.dumps(job))


def _parts(folder: Path) -> Iterator[list[dict[str, Any]]]:
    """Give the rows of each part."""
    for path in sorted(folder.glob("*.jsonl")):
        with path.open() as file:
            yield [json.loads(line) for line in file]


def _writer(suffix: str) -> Any:
    """Return the function that writes a file of this kind."""
    if suffix == ".csv":
        return _write_csv
    if suffix != ".parquet":
        raise UsageError(f"--output ends in {suffix or 'no suffix'}: give a name that ends in .csv or .parquet")
    try:
        import pyarrow.parquet  # noqa: F401
    except ModuleNotFoundError:
        raise UsageError("Parquet needs pyarrow: pip install 'cnnzoo[parquet]', or give a .csv") from None
    return _write_parquet


def _write_csv(path: Path, columns: dict[str, type], parts: Iterable[list[dict[str, Any]]]) -> None:
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.DictWriter(file, list(columns))
        writer.writeheader()
        for rows in parts:
            writer.writerows(rows)


def _write_parquet(path: Path, columns: dict[str, type], parts: Iterable[list[dict[str, Any]]]) -> None:
    from pyarrow import parquet

    with parquet.ParquetWriter(path, to_table([], columns).schema) as writer:
        for rows in parts:
            writer.write_table(to_table(rows, columns))


def to_table(rows: list[dict[str, Any]], columns: dict[str, type]) -> Any:
    """Return rows of `Scorer.rows` as a pyarrow.Table. Bytes of a path that are no UTF-8 are replaced."""
    import pyarrow

    kinds = {str: pyarrow.string(), float: pyarrow.float32(), bool: pyarrow.bool_()}
    schema = pyarrow.schema([(name, kinds[kind]) for name, kind in columns.items()])
    readable = [row | {"path": os.fsencode(row["path"]).decode(errors="replace")} for row in rows]
    return pyarrow.Table.from_pylist(readable, schema)
