"""Augmentation of a whole batch at once, on whatever device it is on."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Fill = Literal["mirror", "black"]


@dataclass
class Augmentation:
    """What may happen to a training image; each image of a batch draws its own.

    Args:
        flip: mirror it left to right, every second time on average; or alternate: half of the images in
            even epochs, the others in odd ones, so that no image is seen the same way twice in a row
            (arXiv 2404.00498, §3.6).
        shift: move it by up to this many pixels in each direction: whole pixels, or with a fraction
            (0.5, 2.5) any distance.
        rotate: turn it by up to this many degrees either way.
        zoom: magnify or shrink it by up to this share (0.1: 90% to 110%).
        cutout: blot out a square of this many pixels, somewhere, with the image's mean colour
            (arXiv 1708.04552).
        fill: what a move uncovers: the image's mirrored edge, or black.
    """

    flip: bool | Literal["alternate"] = False
    shift: float = 0
    rotate: float = 0
    zoom: float = 0
    cutout: int = 0
    fill: Fill = "mirror"

    def __post_init__(self) -> None:
        if self.shift < 0:
            raise ValueError(f"augmentation.shift is a number of pixels from 0 up, not {self.shift}")
        if not 0 <= self.rotate <= 180:
            raise ValueError(f"augmentation.rotate is a number of degrees from 0 to 180, not {self.rotate}")
        if not 0 <= self.zoom < 1:
            raise ValueError(f"augmentation.zoom is a share from 0 up to but not including 1, not {self.zoom}")
        if self.cutout < 0:
            raise ValueError(f"augmentation.cutout is a number of pixels from 0 up, not {self.cutout}")
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
        if not (self.flip or self.shift or self.rotate or self.zoom or self.cutout):
            return images
        n = len(images) * world_size
        rng = np.random.default_rng(key)
        mine = slice(rank, None, world_size)
        flipped = self._flipped((rng.random(n) < 0.5)[mine], images, key[1])
        if not (self.rotate or self.zoom or self.shift % 1):
            steps = rng.integers(-int(self.shift), int(self.shift), size=(2, n), endpoint=True)[:, mine]
            images = _moved(images, steps, flipped, self.fill)
        else:
            moved = rng.uniform(-self.shift, self.shift, size=(2, n))[:, mine]
            angle = np.deg2rad(rng.uniform(-self.rotate, self.rotate, size=n))[mine]
            factor = (1 + rng.uniform(-self.zoom, self.zoom, size=n))[mine]
            images = warp(images, moved, flipped, angle, factor, self.fill)
        return _cut_out(images, rng.random((2, n))[:, mine], self.cutout) if self.cutout else images

    def _flipped(self, drawn: np.ndarray, images: Tensor, epoch: int) -> np.ndarray:
        if self.flip == "alternate":  # a fixed coin of each image, which needs no number of its own: its pixels' sum
            return ((images.sum((1, 2, 3)) + epoch) % 2 == 1).cpu().numpy()
        return drawn & self.flip


def _moved(images: Tensor, moved: np.ndarray, flipped: np.ndarray, fill: Fill) -> Tensor:
    """By whole pixels: every pixel is one of the image's own."""
    height, width = images.shape[2:]
    rows = np.arange(height) + moved[0, :, None]
    columns = np.arange(width) + moved[1, :, None]
    columns = np.where(flipped[:, None], width - 1 - columns, columns)
    out = _gather(images, _mirror(rows, height), _mirror(columns, width))
    if fill == "black":
        inside = _inside(rows, height)[:, :, None] & _inside(columns, width)[:, None, :]
        out = out * torch.from_numpy(inside[:, None]).to(images.device)
    return out


def warp(
    images: Tensor, moved: np.ndarray, flipped: np.ndarray, angle: np.ndarray, factor: np.ndarray, fill: Fill
) -> Tensor:
    """Images uint8 [N, C, H, W] moved by pixels [2, N], mirrored, turned by radians and magnified, each its own way.

    Around the centre; pixels in between are interpolated.
    """
    height, width = images.shape[2:]
    y, x = np.meshgrid(np.arange(height) - (height - 1) / 2, np.arange(width) - (width - 1) / 2, indexing="ij")
    cos, sin = (np.cos(angle) / factor)[:, None, None], (np.sin(angle) / factor)[:, None, None]
    columns = (cos * x - sin * y + moved[1, :, None, None]) * np.where(flipped, -1, 1)[:, None, None]
    rows = sin * x + cos * y + moved[0, :, None, None]
    grid = np.stack([columns / max(0.5, (width - 1) / 2), rows / max(0.5, (height - 1) / 2)], axis=-1)
    where = torch.from_numpy(grid.astype(np.float32)).to(images.device)
    padding = "reflection" if fill == "mirror" else "zeros"
    out = F.grid_sample(images.float(), where, mode="bilinear", padding_mode=padding, align_corners=True)
    return out.round().to(torch.uint8)


def _cut_out(images: Tensor, place: np.ndarray, size: int) -> Tensor:
    """A square of each image, at a `place` of 0-1 from edge to edge, in the image's mean colour."""
    height, width = images.shape[2:]
    top, left = (place * [[max(0, height - size) + 1], [max(0, width - size) + 1]]).astype(int)
    rows, columns = np.arange(height) - top[:, None], np.arange(width) - left[:, None]
    square = _inside(rows, size)[:, :, None] & _inside(columns, size)[:, None, :]
    mean = images.float().mean((2, 3), keepdim=True).round().to(torch.uint8)
    return torch.where(torch.from_numpy(square[:, None]).to(images.device), mean, images)


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
