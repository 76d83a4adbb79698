"""`cnnzoo predict`: classify image files with a file of the zoo, without torch."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.progress import track
from rich.table import Column, Table
from rich.text import Text

from ..contract.card import ModelCard
from ..contract.images import SUFFIXES, UndecodableImage, decode, to_input
from ..contract.model_file import read_model
from ..contract.names import UNFAMILIAR, ContractError
from ..serve.session import Session
from . import UsageError, console
from .cards import find

BATCH = 64  # images

Answer = tuple[np.ndarray, float | None] | str
"""Probabilities [classes] and the familiarity, None if the file has none; or why an image could not be read."""


def predict_files(
    model: str,
    images: Path,
    /,
    *more: Path,
    top_k: int = 3,
    min_familiarity: float = UNFAMILIAR,
    zoo: Path | None = None,
) -> None:
    """Classify image files with a model of the zoo, or a checkpoint.

    With --config RECIPE in place of the model, the best checkpoint of that recipe answers.

    Args:
        model: NAME, NAME@VERSION or an ONNX file
        images: a PNG or JPEG file, or a folder of them
        more: further files and folders
        top_k: the number of classes to print for each image
        min_familiarity: an image of a lower familiarity (0-1) is marked as unfamiliar
        zoo: the zoo folder (default: CNNZOO_ZOO, else zoo/, else the models that come with cnnzoo)
    """
    if top_k < 1:
        raise UsageError(f"--top_k is {top_k}: give at least 1")
    if not 0 <= min_familiarity <= 1:
        raise UsageError(f"--min_familiarity is {min_familiarity:g}: give a number from 0 to 1")
    files = image_files([images, *more])
    card, session = open_model(model, zoo)
    answers = list(track(_answers(files, card, session), "Images", len(files), console=console, transient=True))
    console.print(_table(files, answers, card.classes, top_k, min_familiarity))


def open_model(model: str, zoo: Path | None) -> tuple[ModelCard, Session]:
    """Return the card and a session of NAME, NAME@VERSION or an ONNX file. Raises as `find`, and ContractError."""
    path = find(model, zoo)
    content = path.read_bytes()
    try:
        return read_model(content), Session(content)
    except ContractError as error:
        raise ContractError(f"{path}: {error}") from None


def image_files(paths: Sequence[Path]) -> list[Path]:
    """Return the given files, and the PNG and JPEG files anywhere in the given folders.

    Raises FileNotFoundError for a missing path or a folder without images.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
            if not found:
                raise FileNotFoundError(f"no PNG or JPEG images in {path}")
            files += found
        elif path.is_file():
            files.append(path)
        else:
            raise FileNotFoundError(f"no such image or folder: {path}")
    return files


def _answers(files: Sequence[Path], card: ModelCard, session: Session) -> Iterator[Answer]:
    for start in range(0, len(files), BATCH):
        inputs = [_input(file, card) for file in files[start : start + BATCH]]
        images = [pixels for pixels in inputs if isinstance(pixels, np.ndarray)]
        outputs = session.run(np.stack(images)) if images else ()
        rows = zip(*outputs[1:], strict=True)
        for pixels in inputs:
            if isinstance(pixels, str):
                yield pixels
                continue
            probabilities, *familiarity = next(rows)
            yield probabilities, float(familiarity[0]) if familiarity else None


def _input(file: Path, card: ModelCard) -> np.ndarray | str:
    """Return the network's input uint8 [C, H, W] for a file, as the service makes it, or why there is none."""
    try:
        return to_input(decode(file.read_bytes()), card.input_shape, card.prepare)
    except (UndecodableImage, OSError) as error:
        return str(error)


def _table(
    files: Sequence[Path], answers: Sequence[Answer], classes: Sequence[str], top_k: int, threshold: float
) -> Table:
    shown = [isinstance(answer, tuple) and answer[1] is not None for answer in answers]
    table = top_columns(min(top_k, len(classes)))
    if any(shown):
        table.add_column("familiarity")
    for file, answer in zip(files, answers, strict=True):
        if isinstance(answer, str):
            table.add_row(Text(str(file)), Text(answer, "red"))
            continue
        probabilities, familiarity = answer
        cells = top_cells(probabilities, classes, top_k)
        if familiarity is not None:
            cells.append(f"{familiarity:.3f}" + ("  unfamiliar" if familiarity < threshold else ""))
        # Text, since a name may hold brackets, which are markup
        table.add_row(*map(Text, [str(file), *cells]), style="dim" if "unfamiliar" in cells[-1] else None)
    return table


def top_columns(top_k: int) -> Table:
    """Return an empty table with a column for the image and one for each of its most probable classes."""
    return Table(Column("image", overflow="fold"), *(f"top {k}" for k in range(1, top_k + 1)))


def top_cells(probabilities: np.ndarray, classes: Sequence[str], top_k: int) -> list[str]:
    """Return the most probable classes by `probabilities` [classes] as texts, such as "cat  98.1%"."""
    best = np.argsort(-probabilities, kind="stable")[:top_k]
    return [f"{classes[c]}  {probabilities[c]:.1%}" for c in best]
