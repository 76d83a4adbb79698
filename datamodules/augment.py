"""Augmentation of a whole batch at once, on whatever device it is on."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor


@dataclass
class Augmentation:
    """What may happen to a training image; each image of a batch draws its own.

    Args:
        flip: mirror it left to right, every second time on average; or alternate: half of the images in
            even epochs, the others in odd ones, so that no image is seen the same way twice in a row
            (arXiv 2404.00498, §3.6).
        shift: move it by up to this many pixels in each direction.
        fill: what a shift uncovers: the image's mirrored edge, or black.
    """

    flip: bool | Literal["alternate"] = False
    shift: int = 0
    fill: Literal["mirror", "black"] = "mirror"

    def __post_init__(self) -> None:
        if self.shift < 0:
            raise ValueError(f"augmentation.shift is a number of pixels from 0 up, not {self.shift}")
        if self.flip not in (False, True, "alternate"):
            raise ValueError(f"augmentation.flip is {self.flip!r}: expected true, false or alternate")
        if self.fill not in ("mirror", "black"):
            raise ValueError(f"augmentation.fill is {self.fill!r}: expected mirror or black")

    def __call__(self, images: Tensor, key: tuple[int, int, int], rank: int, world_size: int) -> Tensor:
        """This device's part of a global batch, augmented.

        Args:
            images: uint8 [n, C, H, W].
            key: (seed, epoch, batch), of which every draw is a function. The draws are made for the
                global batch and dealt out as `Batches` deals out the images, so the number of
                devices changes nothing.
        """
        if not (self.flip or self.shift):
            return images
        n, _, height, width = images.shape
        rng = np.random.default_rng(key)
        flipped = rng.random(n * world_size) < 0.5
        moved = rng.integers(-self.shift, self.shift, size=(2, n * world_size), endpoint=True)
        mine = slice(rank, None, world_size)
        flipped = self._flipped(flipped[mine], images, key[1])

        rows = np.arange(height) + moved[0, mine, None]
        columns = np.arange(width) + moved[1, mine, None]
        columns = np.where(flipped[:, None], width - 1 - columns, columns)
        out = _gather(images, _mirror(rows, height), _mirror(columns, width))
        if self.fill == "black":
            inside = _inside(rows, height)[:, :, None] & _inside(columns, width)[:, None, :]
            out = out * torch.from_numpy(inside[:, None]).to(images.device)
        return out

    def _flipped(self, drawn: np.ndarray, images: Tensor, epoch: int) -> np.ndarray:
        if self.flip == "alternate":  # a fixed coin of each image, which needs no number of its own: its pixels' sum
            return ((images.sum((1, 2, 3)) + epoch) % 2 == 1).cpu().numpy()
        return drawn & self.flip


def _gather(images: Tensor, rows: np.ndarray, columns: np.ndarray) -> Tensor:
    """out[i, c, y, x] = images[i, c, rows[i, y], columns[i, x]]."""
    n, channels = images.shape[:2]
    r = torch.from_numpy(rows).to(images.device)[:, None, :, None]
    c = torch.from_numpy(columns).to(images.device)[:, None, None, :]
    image = torch.arange(n, device=images.device)[:, None, None, None]
    channel = torch.arange(channels, device=images.device)[None, :, None, None]
    return images[image, channel, r, c]


def _mirror(index: np.ndarray, extent: int) -> np.ndarray:
    """Indices beyond an edge, reflected at it (the edge pixel itself is not repeated)."""
    period = max(1, 2 * (extent - 1))
    index = np.abs(index) % period
    return np.minimum(index, period - index)


def _inside(index: np.ndarray, extent: int) -> np.ndarray:
    return (index >= 0) & (index < extent)
