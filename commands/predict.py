"""Top-k of image files with a trained checkpoint."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from rich.table import Table
from rich.text import Text

from ..contract.images import UndecodableImage, decode, to_input
from ..datamodules import ImageDataModule
from ..datamodules.files import SUFFIXES


def image_files(paths: Sequence[Path]) -> list[Path]:
    """The files named, and the PNG and JPEG files anywhere in the folders named.

    Raises FileNotFoundError for a path that is not there or a folder without images.
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


def read_inputs(files: Sequence[Path], data: ImageDataModule) -> torch.Tensor:
    """The files as the service would feed them to the network: uint8 [N, C, H, W].

    Raises ValueError, naming the file, for one that cannot be decoded.
    """
    inputs = []
    for file in files:
        try:
            inputs.append(to_input(decode(file.read_bytes()), data.image_shape, data.prepare_image))
        except UndecodableImage as error:
            raise ValueError(f"{file}: {error}") from None
    return torch.from_numpy(np.stack(inputs))


def top_table(files: Sequence[Path], probabilities: torch.Tensor, classes: Sequence[str], top_k: int) -> Table:
    """One row a file, its likeliest classes first; probabilities [N, classes]."""
    top_k = min(top_k, len(classes))
    table = Table("image", *(f"top {k}" for k in range(1, top_k + 1)))
    best = probabilities.topk(top_k)
    for file, values, indices in zip(files, best.values, best.indices, strict=True):
        cells = [str(file), *(f"{classes[c]}  {p:.1%}" for p, c in zip(values, indices, strict=True))]
        table.add_row(*map(Text, cells))  # Text: a name in brackets is no markup
    return table
