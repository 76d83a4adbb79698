"""Write rows of answers as CSV or Parquet: a part at a time, and the parts as one file."""

import csv
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..contract.image_files import readable
from . import UsageError
from .scoring import Row

Columns = dict[str, type]


class Format(NamedTuple):
    """Functions of one file format: write a part of the rows, count its errors, and join the parts to one file."""

    write: Callable[[Path, Columns, Iterable[Row]], None]
    count_errors: Callable[[Path], int]
    join: Callable[[Path, Columns, Iterable[Path]], None]


def find_format(suffix: str) -> Format:
    """Return the format of files with this suffix.

    Raises UsageError for another suffix than .csv and .parquet, and for Parquet without pyarrow.
    """
    if suffix == ".csv":
        return Format(_write_csv, _csv_errors, _join_csv)
    if suffix != ".parquet":
        raise UsageError(f"--output ends in {suffix or 'no suffix'}: give a name that ends in .csv or .parquet")
    try:
        import pyarrow.parquet  # noqa: F401
    except ModuleNotFoundError:
        raise UsageError("Parquet needs pyarrow: pip install pyarrow, or give a .csv") from None
    return Format(_write_parquet, _parquet_errors, _join_parquet)


def to_table(rows: Sequence[Row], columns: Columns) -> Any:
    """Return rows of `Scorer.rows` as a pyarrow.Table. Bytes of a path that are no UTF-8 are replaced."""
    import pyarrow

    kinds = {str: pyarrow.string(), float: pyarrow.float32(), bool: pyarrow.bool_()}
    schema = pyarrow.schema([(name, kinds[kind]) for name, kind in columns.items()])
    return pyarrow.Table.from_pylist([row | {"path": readable(row["path"])} for row in rows], schema)


def _write_csv(path: Path, columns: Columns, rows: Iterable[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        csv.writer(file).writerows([row[name] for name in columns] for row in rows)


def _csv_errors(part: Path) -> int:
    with part.open(newline="", encoding="utf-8") as file:
        return sum(row[-1] != "" for row in csv.reader(file))  # the last column of `Scorer.columns`


def _join_csv(path: Path, columns: Columns, parts: Iterable[Path]) -> None:
    with path.open("wb") as file:
        file.write((",".join(columns) + "\r\n").encode())
        for part in parts:
            with part.open("rb") as rows:
                shutil.copyfileobj(rows, file)


def _write_parquet(path: Path, columns: Columns, rows: Iterable[Row]) -> None:
    from pyarrow import parquet

    parquet.write_table(to_table(list(rows), columns), path)


def _parquet_errors(part: Path) -> int:
    from pyarrow import parquet

    errors = parquet.read_table(part, columns=["error"])["error"]
    return len(errors) - int(errors.null_count)


def _join_parquet(path: Path, columns: Columns, parts: Iterable[Path]) -> None:
    from pyarrow import parquet

    with parquet.ParquetWriter(path, to_table([], columns).schema) as writer:
        for part in parts:
            writer.write_table(parquet.read_table(part))
