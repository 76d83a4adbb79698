"""Augmentation of a whole batch at once, on the device of the batch."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from .augmix import augmix
from .pixels import add_noise, inside, jitter
from .warp import Fill, warp


@dataclass
class Augmentation:
    """Random changes of training images, drawn for each image.

    Args:
        flip: mirror left to right with probability 1/2; or alternate: mirror half of the images in even epochs and
            the others in odd epochs, so that an image is never the same twice in a row (arXiv 2404.00498, §3.6).
        shift: move by up to this many pixels in each direction: whole pixels, or any distance if it has a fraction or
            beside rotate, zoom or crop.
        rotate: turn by up to this many degrees in either direction.
        zoom: magnify or shrink by up to this share (0.1: 90% to 110%).
        crop: enlarge a random part to the whole image (arXiv 1409.4842, §6): at least this share of the area, with 3:4
            to 4:3 of the proportions, before it is cut where it is wider or higher than the image; 0 for none.
        cutout: cover a random square of this many pixels with the image's mean color (arXiv 1708.04552).
        brightness: add up to this share of white, or subtract it.
        contrast: stretch or shrink the distance to the image's mean by up to this share.
        saturation: stretch or shrink the distance of colors to grey by up to this share.
        augmix: severity 1-10 of AugMix (arXiv 1912.02781), on half of the images; 0 for none.
        noise: add Gaussian noise to half of the images, with a sigma of up to this share of white.
        noise_patch: side in pixels of the square with the noise (arXiv 1906.02611); 0 for the whole image.
        fill: the pixels that a move uncovers: the image's mirrored edge, or black.
    """

    flip: bool | Literal["alternate"] = False
    shift: float = 0
    rotate: float = 0
    zoom: float = 0
    crop: float = 0
    cutout: int = 0
    brightness: float = 0
    contrast: float = 0
    saturation: float = 0
    augmix: float = 0
    noise: float = 0
    noise_patch: int = 0
    fill: Fill = "mirror"

    def __post_init__(self) -> None:
        checks = {
            "shift": (self.shift >= 0, "a number of pixels from 0 up"),
            "rotate": (0 <= self.rotate <= 180, "degrees from 0 to 180"),
            "zoom": (0 <= self.zoom < 1, "a share from 0 up to but not including 1"),
            "crop": (0 <= self.crop <= 1, "a share of the area from 0 to 1"),
            "cutout": (self.cutout >= 0, "a number of pixels from 0 up"),
            "brightness": (0 <= self.brightness <= 1, "a share from 0 to 1"),
            "contrast": (0 <= self.contrast <= 1, "a share from 0 to 1"),
            "saturation": (0 <= self.saturation <= 1, "a share from 0 to 1"),
            "augmix": (self.augmix == 0 or 1 <= self.augmix <= 10, "0, or a severity from 1 to 10"),
            "noise": (0 <= self.noise <= 1, "a share of white from 0 to 1"),
            "noise_patch": (self.noise_patch >= 0, "a number of pixels from 0 up"),
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
        n = len(images) * world_size
        rng = np.random.default_rng(key)
        mine = slice(rank, None, world_size)
        if self.flip or self.shift or self.rotate or self.zoom or self.crop or self.cutout:
            images = self._moved_and_cut(images, rng, n, mine, key[1])
        if self.augmix:
            images = augmix(images, rng, n, mine, self.augmix, self.fill)
        if self.brightness or self.contrast or self.saturation:
            more, factor = rng.uniform(-1, 1, (2, n))[:, mine]
            colors = rng.uniform(-1, 1, n)[mine] if self.saturation else np.zeros_like(more)
            images = jitter(images, self.brightness * more, 1 + self.contrast * factor, 1 + self.saturation * colors)
        if self.noise:
            images = add_noise(images, rng, n, mine, self.noise, self.noise_patch)
        return images

    def _moved_and_cut(self, images: Tensor, rng: np.random.Generator, n: int, mine: slice, epoch: int) -> Tensor:
        flipped = self._flipped((rng.random(n) < 0.5)[mine], images, epoch)
        if not (self.rotate or self.zoom or self.crop or self.shift % 1):
            steps = rng.integers(-int(self.shift), int(self.shift), size=(2, n), endpoint=True)[:, mine]
            images = _moved(images, steps, flipped, self.fill)
        else:
            moved = rng.uniform(-self.shift, self.shift, size=(2, n))[:, mine]
            angle = np.deg2rad(rng.uniform(-self.rotate, self.rotate, size=n))[mine]
            factor = (1 + rng.uniform(-self.zoom, self.zoom, size=n))[mine]
            part = np.ones((2, n))[:, mine]
            if self.crop:
                part, corner = _random_parts(rng, n, self.crop)
                part, moved = part[:, mine], moved + corner[:, mine] * [[images.shape[2]], [images.shape[3]]]
            images = warp(images, moved, flipped, angle, part / factor, self.fill)
        return _cut_out(images, rng.random((2, n))[:, mine], self.cutout) if self.cutout else images

    def _flipped(self, drawn: np.ndarray, images: Tensor, epoch: int) -> np.ndarray:
        if self.flip == "alternate":  # the sum of an image's pixels is a constant coin toss for it
            return ((images.sum((1, 2, 3)) + epoch) % 2 == 1).cpu().numpy()
        return drawn & self.flip


def _random_parts(rng: np.random.Generator, n: int, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Return height and width of random parts, and how far their centers are from the image's, [2, N] shares each."""
    area, proportions = rng.uniform(least, 1, n), np.exp(rng.uniform(-np.log(4 / 3), np.log(4 / 3), n))
    part = np.sqrt([area / proportions, area * proportions]).clip(max=1)
    return part, rng.uniform(-0.5, 0.5, (2, n)) * (1 - part)


def _moved(images: Tensor, moved: np.ndarray, flipped: np.ndarray, fill: Fill) -> Tensor:
    """Move images by whole pixels [2, N], without interpolation, and mirror them."""
    height, width = images.shape[2:]
    rows = np.arange(height) + moved[0, :, None]
    columns = np.arange(width) + moved[1, :, None]
    columns = np.where(flipped[:, None], width - 1 - columns, columns)
    out = _gather(images, _mirror(rows, height), _mirror(columns, width))
    if fill == "black":
        within = inside(rows, height)[:, :, None] & inside(columns, width)[:, None, :]
        out = out * torch.from_numpy(within[:, None]).to(images.device)
    return out


def _cut_out(images: Tensor, position: np.ndarray, size: int) -> Tensor:
    """Cover a square of each image with its mean color, at a `position` [2, N] of 0-1 from edge to edge."""
    height, width = images.shape[2:]
    top, left = (position * [[max(0, height - size) + 1], [max(0, width - size) + 1]]).astype(int)
    rows, columns = np.arange(height) - top[:, None], np.arange(width) - left[:, None]
    square = inside(rows, size)[:, :, None] & inside(columns, size)[:, None, :]
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
