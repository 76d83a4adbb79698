"""Classify image files, without torch: `Scorer` turns paths into rows. It is used on one machine or on many."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..contract.card import ModelCard
from ..contract.images import UndecodableImage, read_image, to_input
from ..contract.model_file import read_model
from ..contract.names import UNFAMILIAR, naming
from ..contract.zoo_folder import find_file, read_listed
from ..serve.session import Session

BATCH = 64  # images

Answer = tuple[np.ndarray, float | None] | str
"""Probabilities [classes] and the familiarity, None if the file has none; or why an image could not be read."""

Row = dict[str, Any]
"""An answer by the names of `Scorer.columns`."""


@dataclass
class Scorer:
    """A model of the zoo that classifies image files.

    Args:
        path: of its file.
        card: its card.
        session: its session.
        sha256: of its file.
        top_k: classes in a row.
        min_familiarity: an image of a lower familiarity (0-1) is unfamiliar.
    """

    path: Path
    card: ModelCard
    session: Session
    sha256: str
    top_k: int = 3
    min_familiarity: float = UNFAMILIAR

    @classmethod
    def open(cls, model: str, zoo: Path | None = None, threads: int = 0, **options: Any) -> "Scorer":
        """Open NAME, NAME@VERSION or an ONNX file, with so many threads. Raises as `find_file`, and ContractError."""
        path = find_file(model, zoo)
        with naming(path):
            content = read_listed(path)
            card = read_model(content)  # before ONNX Runtime reads it
            session = Session(content, threads)
        scorer = cls(path, card, session, hashlib.sha256(content).hexdigest(), **options)
        scorer.top_k = min(scorer.top_k, len(scorer.card.classes))
        return scorer

    @property
    def columns(self) -> dict[str, type]:
        """The columns of a row and their types."""
        classes = {f"{what}_{k}": kind for k in range(1, self.top_k + 1) for what, kind in _CLASS.items()}
        familiarity = {"familiarity": float, "unfamiliar": bool} if "familiarity" in self.card.outputs else {}
        return {"path": str, **classes, **familiarity, "error": str}

    def answers(self, files: Sequence[Path]) -> Iterator[Answer]:
        """Give the answer for each file."""
        for start in range(0, len(files), BATCH):
            yield from self._computed([self._input(file) for file in files[start : start + BATCH]])

    def rows(self, files: Sequence[Path]) -> Iterator[Row]:
        """Give a row with the columns of `columns` for each file. None stands for what it does not have."""
        empty: Row = dict.fromkeys(self.columns)
        for file, answer in zip(files, self.answers(files), strict=True):
            row: Row = empty | {"path": str(file)}
            if isinstance(answer, str):
                yield row | {"error": answer}
                continue
            probabilities, familiarity = answer
            for k, label in enumerate(top_classes(probabilities, self.top_k), 1):
                row[f"class_{k}"], row[f"probability_{k}"] = self.card.classes[label], float(probabilities[label])
            if familiarity is not None:
                row |= {"familiarity": familiarity, "unfamiliar": familiarity < self.min_familiarity}
            yield row

    def _input(self, file: Path) -> np.ndarray | str:
        """Return the network's input uint8 [C, H, W], as the service makes it, or why there is none."""
        try:
            return to_input(read_image(file), self.card.input_shape, self.card.prepare)
        except (UndecodableImage, OSError) as error:
            return str(error)

    def _computed(self, inputs: Sequence[np.ndarray | str]) -> Iterator[Answer]:
        images = [pixels for pixels in inputs if isinstance(pixels, np.ndarray)]
        outputs = self.session.run(np.stack(images)) if images else ()
        found = zip(*outputs[1:], strict=True)
        for pixels in inputs:
            if isinstance(pixels, str):
                yield pixels
                continue
            probabilities, *familiarity = next(found)
            yield probabilities, float(familiarity[0]) if familiarity else None


def top_classes(probabilities: np.ndarray, count: int) -> list[int]:
    """Return the `count` most probable classes by `probabilities` [classes], the most probable first."""
    order: list[int] = np.argsort(-probabilities, kind="stable")[:count].tolist()
    return order


_CLASS = {"class": str, "probability": float}
