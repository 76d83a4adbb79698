"""Augmentation of a whole batch at once, on the device of the batch."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Fill = Literal["mirror", "black"]


@dataclass
class Augmentation:
    """Random changes of training images, drawn for each image.

    Args:
        flip: mirror left to right with probability 1/2; or alternate: mirror half of the images in even epochs and
            the others in odd epochs, so that an image is never the same twice in a row (arXiv 2404.00498, §3.6).
        shift: move by up to this many pixels in each direction: whole pixels, or any distance if it has a fraction.
        rotate: turn by up to this many degrees in either direction.
        zoom: magnify or shrink by up to this share (0.1: 90% to 110%).
        cutout: cover a random square of this many pixels with the image's mean color (arXiv 1708.04552).
        fill: the pixels that a move uncovers: the image's mirrored edge, or black.
    """

    flip: bool | Literal["alternate"] = False
    shift: float = 0
    rotate: float = 0
    zoom: float = 0
    cutout: int = 0
    fill: Fill = "mirror"

    def __post_init__(self) -> None:
        checks = {
            "shift": (self.shift >= 0, "a number of pixels from 0 up"),
            "rotate": (0 <= self.rotate <= 180, "degrees from 0 to 180"),
            "zoom": (0 <= self.zoom < 1, "a share from 0 up to but not including 1"),
            "cutout": (self.cutout >= 0, "a number of pixels from 0 up"),
            "flip": (self.flip in (False, True, "alternate"), "true, false or alternate"),
            "fill": (self.fill in ("mirror", "black"), "mirror or black"),
        }
        for name, (valid, expected) in checks.items():
            if not valid:
                raise ValueError(f"augmentation.{name} is {getattr(self, name)!r}: expected {expected}")

    def __call__(self, images: Tensor, key: tuple[int, int, int], rank: int, world_size: int) -> Tensor:
        """Return this device's share of a global batch, augmented.

        Draws random numbers for the global batch and deals them out as `Batches` deals out the images, so that the
        number of devices changes nothing.

        Args:
            images: uint8 [n, C, H, W].
            key: (seed, epoch, batch), which determines every random number.
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
        if self.flip == "alternate":  # the sum of an image's pixels is a constant coin toss for it
            return ((images.sum((1, 2, 3)) + epoch) % 2 == 1).cpu().numpy()
        return drawn & self.flip


def _moved(images: Tensor, moved: np.ndarray, flipped: np.ndarray, fill: Fill) -> Tensor:
    """Move images by whole pixels [2, N], without interpolation, and mirror them."""
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
    """Move, mirror, turn and magnify each image around its center, with bilinear interpolation.

    Args:
        images: uint8 [N, C, H, W].
        moved: pixels down and to the right, [2, N].
        flipped: bool [N].
        angle: radians [N].
        factor: magnification [N].
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


def _cut_out(images: Tensor, position: np.ndarray, size: int) -> Tensor:
    """Cover a square of each image with its mean color, at a `position` [2, N] of 0-1 from edge to edge."""
    height, width = images.shape[2:]
    top, left = (position * [[max(0, height - size) + 1], [max(0, width - size) + 1]]).astype(int)
    rows, columns = np.arange(height) - top[:, None], np.arange(width) - left[:, None]
    square = _inside(rows, size)[:, :, None] & _inside(columns, size)[:, None, :]
    mean = images.float().mean((2, 3), keepdim=True).round().to(torch.uint8)
    return torch.where(torch.from_numpy(square[:, None]).to(images.device), mean, images)


def _gather(images: Tensor, rows: np.ndarray, columns: np.ndarray) -> Tensor:
    """Return out[i, c, y, x] = images[i, c, rows[i, y], columns[i, x]]."""
    n, channels = images.shape[:2]
    r = torch.from_numpy(rows).to(images.device)[:, None, :, None]
    c = torch.from_numpy(columns).to(images.device)[:, None, None, :]
    image = torch.arange(n, device=images.device)[:, None, None, None]
    channel = torch.arange(channels, device=images.device)[None, :, None, None]
    return images[image, channel, r, c]


def _mirror(index: np.ndarray, extent: int) -> np.ndarray:
    """Reflect indices beyond an edge at that edge, without repeating the edge pixel."""
    period = max(1, 2 * (extent - 1))
    index = np.abs(index) % period
    mirrored: np.ndarray = np.minimum(index, period - index)
    return mirrored


def _inside(index: np.ndarray, extent: int) -> np.ndarray:
    return (index >= 0) & (index < extent)
