"""`cnnzoo predict`: classify image files with a file of the zoo, without torch."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.progress import track
from rich.table import Column, Table
from rich.text import Text

from ..contract.facts import counted
from ..contract.image_files import readable
from ..contract.names import UNFAMILIAR
from . import UsageError, console, say
from .scores_file import walk, write_scores
from .scoring import Answer, Scorer, top_classes


def predict_files(
    model: str,
    images: Path,
    /,
    *more: Path,
    output: Path | None = None,
    top_k: int = 3,
    min_familiarity: float = UNFAMILIAR,
    zoo: Path | None = None,
) -> None:
    """Classify image files with a model of the zoo, or a checkpoint.

    With --config RECIPE instead of a model, the best checkpoint of that recipe is used; --output is not available then.
    --output uses all cores, and its memory does not grow with the number of images. Repeat a stopped command to resume
    it. Fails if no image could be read.

    Args:
        model: NAME, NAME@VERSION or an ONNX file
        images: a PNG or JPEG file, or a folder of them
        more: further files and folders
        output: a .csv or .parquet file for the answers, one row an image; an unreadable image is a row with an error
        top_k: the number of classes for each image
        min_familiarity: an image of a lower familiarity (0-1) is marked as unfamiliar
        zoo: the zoo folder (default: CNNZOO_ZOO, else zoo/ and then the models that come with cnnzoo)
    """
    if top_k < 1:
        raise UsageError(f"--top_k is {top_k}: give at least 1")
    if not 0 <= min_familiarity <= 1:
        raise UsageError(f"--min_familiarity is {min_familiarity:g}: give a number from 0 to 1")
    scorer = Scorer.open(model, zoo, top_k=top_k, min_familiarity=min_familiarity)
    if output:
        count, unreadable = write_scores(scorer, [images, *more], output)
        say(f"{counted(count, 'image')} in {output}")
    else:
        files = image_files([images, *more])
        answers = list(track(scorer.answers(files), "Images", len(files), console=console, transient=True))
        console.print(_table(files, answers, scorer))
        count, unreadable = len(files), sum(isinstance(answer, str) for answer in answers)
    if unreadable == count:
        sys.exit("error: no image could be read")
    if unreadable:
        say(f"{counted(unreadable, 'image')} of {count:,} could not be read")


def image_files(paths: Sequence[Path]) -> list[Path]:
    """Return the given files, and the PNG and JPEG files anywhere in the given folders.

    Raises FileNotFoundError for a missing path or a folder without images.
    """
    for path in paths:
        if path.is_dir() and next(walk([path]), None) is None:
            raise FileNotFoundError(f"no PNG or JPEG images in {path}")
    return list(walk(paths))


def _table(files: Sequence[Path], answers: Sequence[Answer], scorer: Scorer) -> Table:
    shown = [isinstance(answer, tuple) and answer[1] is not None for answer in answers]
    table = top_columns(scorer.top_k)
    if any(shown):
        table.add_column("familiarity")
    for file, answer in zip(files, answers, strict=True):
        if isinstance(answer, str):
            table.add_row(Text(readable(file)), Text(answer, "red"))
            continue
        probabilities, familiarity = answer
        cells = top_cells(probabilities, scorer.card.classes, scorer.top_k)
        unfamiliar = familiarity is not None and familiarity < scorer.min_familiarity
        if familiarity is not None:
            cells.append(f"{familiarity:.3f}" + ("  unfamiliar" if unfamiliar else ""))
        # Text, since a name may hold brackets, which are markup
        table.add_row(*map(Text, [readable(file), *cells]), style="dim" if unfamiliar else None)
    return table


def top_columns(top_k: int) -> Table:
    """Return an empty table with a column for the image and one for each of its most probable classes."""
    return Table(Column("image", overflow="fold"), *(f"top {k}" for k in range(1, top_k + 1)))


def top_cells(probabilities: np.ndarray, classes: Sequence[str], top_k: int) -> list[str]:
    """Return the most probable classes by `probabilities` [classes] as texts, such as "cat  98.1%"."""
    return [f"{classes[c]}  {probabilities[c]:.1%}" for c in top_classes(probabilities, top_k)]
