"""Draw an image, arrange panels in rows, and write a figure as a file. None needs a display."""

import warnings
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure  # not pyplot, which has global state and opens windows

from ..contract.files import atomic_write
from . import UsageError

DPI = 150


def draw_image(ax: Axes, image: np.ndarray) -> None:
    """Draw an image uint8 [C, H, W] with one or three channels, without axes."""
    ax.axis("off")
    grey = len(image) == 1
    pixels = image[0] if grey else image.transpose(1, 2, 0)
    ax.imshow(pixels, cmap="gray" if grey else None, vmin=0, vmax=255, interpolation="nearest")


def rows_of(count: int, most: int) -> tuple[int, int]:
    """Return rows and columns for `count` panels, at most `most` in a row."""
    columns = min(most, count)
    return -(-count // columns), columns


def check_png(output: Path | None) -> Path | None:
    """Return the given path of a picture. Raises UsageError if it is not that of a PNG file."""
    if output is not None and (output.suffix.lower() != ".png" or output.is_dir()):
        raise UsageError(f"--output is {output}: give the name of a file that ends in .png")
    return output


def save(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG file, atomically. Creates the folder."""
    with warnings.catch_warnings(), atomic_write(path) as temporary:
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a class name in a script that the font lacks
        figure.savefig(temporary, dpi=DPI, format="png")
