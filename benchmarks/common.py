"""Options, turns, medians, tables and JSON files of all benchmarks."""

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table

from cnnzoo.contract.machine import cpuinfo

HERE = Path(__file__).parent
T = TypeVar("T")


def options(doc: str | None, script: str) -> argparse.ArgumentParser:
    """Return a parser with the script's docstring as its help, and --output (the script's name with .json)."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(script).with_suffix(".json"))
    return parser


def output_of(parser: argparse.ArgumentParser, args: argparse.Namespace, *free: str) -> Path:
    """Return the file for the figures: build/… instead of the committed one if an option has another value than usual.

    Args:
        free: options whose value the committed figures may have been measured with.
    """
    output: Path = args.output
    changed = [name for name, value in vars(args).items() if name not in free and value != parser.get_default(name)]
    if not changed or "output" in changed:
        return output
    path = HERE.parent / "build" / output.name
    path.parent.mkdir(exist_ok=True)
    print(f"Measured with --{', --'.join(changed)}: the figures are in {path}, not in {output.name}")
    return path


def python_of(checkout: Path) -> Path:
    """Return the interpreter of another checkout's environment, which has that checkout's cnnzoo installed."""
    python = checkout.absolute() / ".venv/bin/python"
    if not python.exists():
        sys.exit(f"{python} does not exist: expected a checkout with an environment; run `make install` there")
    return python


def take_turns(sides: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """Run every side once a round, so that a slow phase of the machine meets all sides, and return their results."""
    results: dict[str, list[T]] = {name: [] for name in sides}
    for number in range(rounds):
        for name, side in sides.items():
            print(f"round {number + 1} of {rounds}: {name}", file=sys.stderr, flush=True)
            results[name].append(side())
    return results


def run_alone(function: Callable[..., T], *arguments: Any) -> T:
    """Run a function in a new process: it neither leaves nor finds memory, threads or settings of another side."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


def median(rounds: Iterable[Mapping[str, Any]], column: str) -> float | None:
    """Return the median of a column without its missing values; None if all are missing."""
    values = [figures[column] for figures in rounds if figures.get(column) is not None]
    return statistics.median(values) if values else None


def number(value: float | None) -> str:
    """Format a figure with about three digits, or a dash for None."""
    if value is None:
        return "–"
    return f"{value:,.{0 if value == round(value) or value >= 100 else 1 if value >= 10 else 2}f}"


def machine() -> dict[str, Any]:
    """Return the processor, the number of cores, the architecture, the Python version, and the commit of the code."""
    from cnnzoo.commands.provenance import commit  # here, since it imports torch

    return {"processor": cpuinfo("model name"), "cores": os.cpu_count(), "machine": platform.machine(),
            "python": platform.python_version(), "commit": commit()}  # fmt: skip


def show(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table."""
    table = Table(*heads, title=title)
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def save(path: Path, report: Any) -> None:
    """Write a report as JSON."""
    path.write_text(json.dumps(report, indent=1) + "\n")
