"""Images unlike a dataset's own, to measure whether a network notices that it has not seen the like.

No network is trained on them. All are deterministic.
"""

import numpy as np
import torch
from sklearn.datasets import load_sample_images
from torch import Tensor
from torch.nn.functional import interpolate

from ..contract.card import HANDWRITING
from .base import ImageDataModule
from .batches import evenly_spaced
from .cifar10 import CIFAR10DataModule
from .mnist import MNISTDataModule
from .pixels import to_uint8

GRID = 4  # patches along each side of an image that are shuffled
COARSE = 6  # pixels between two values of smooth noise
CROPS = (64, 400)  # pixels, the smallest and the largest crop of a photo


def strangers(data: ImageDataModule, images: Tensor) -> dict[str, Tensor]:
    """Return images uint8 [N, C, H, W] by kind, as many of each as of `images`; of another dataset at most all.

    Photos of another dataset stand in for digits, and digits for photos; they are left out if their files are not in
    `data.data_dir`, since nothing is downloaded for them.

    Args:
        images: test images of `data`, uint8, whose patches are shuffled.
    """
    rng, shape = np.random.default_rng(0), tuple(images.shape)
    found = {
        "uniform noise": torch.from_numpy(rng.integers(0, 256, shape, np.uint8)),
        "smooth noise": _smooth_noise(rng, shape),
        "flat": torch.from_numpy(rng.integers(0, 256, (*shape[:2], 1, 1), np.uint8)).expand(shape).contiguous(),
        "shuffled patches": _shuffled(rng, images),
        "photo crops": _photo_crops(rng, shape),
    }
    other = _other_dataset(data)
    if other is not None:
        chosen = evenly_spaced(len(images), len(other[1]))
        found[other[0]] = _fitted(other[1][chosen], shape)
    return found


def _other_dataset(data: ImageDataModule) -> tuple[str, Tensor] | None:
    """Return name and test images of CIFAR-10 for a dataset of digits, else of MNIST, if its files are here."""
    other: ImageDataModule
    kind = CIFAR10DataModule if data.prepare_image in HANDWRITING else MNISTDataModule
    other = kind(data.data_dir)
    try:
        return str(other.describe()["name"]), other.load(train=False)[0]
    except (OSError, RuntimeError, ValueError):  # torchvision raises RuntimeError for missing files
        return None


def _smooth_noise(rng: np.random.Generator, shape: tuple[int, ...]) -> Tensor:
    n, channels, height, width = shape
    coarse = rng.random((n, channels, max(2, height // COARSE), max(2, width // COARSE)), np.float32)
    return to_uint8(255 * interpolate(torch.from_numpy(coarse), (height, width), mode="bicubic"))


def _shuffled(rng: np.random.Generator, images: Tensor) -> Tensor:
    """Cut each image into a grid of patches, and put them together in another order."""
    n, channels, height, width = images.shape
    rows, columns = height // GRID, width // GRID
    patches = images[..., : rows * GRID, : columns * GRID].unflatten(2, (GRID, rows)).unflatten(4, (GRID, columns))
    patches = patches.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
    order = torch.from_numpy(rng.permuted(np.tile(np.arange(GRID**2), (n, 1)), axis=1))
    mixed = patches[torch.arange(n)[:, None], order].unflatten(1, (GRID, GRID)).permute(0, 3, 1, 4, 2, 5)
    out = images.clone()
    out[..., : rows * GRID, : columns * GRID] = mixed.reshape(n, channels, rows * GRID, columns * GRID)
    return out


def _photo_crops(rng: np.random.Generator, shape: tuple[int, ...]) -> Tensor:
    """Return square crops of scikit-learn's two sample photos, of a temple and of a flower."""
    photos = [torch.from_numpy(np.array(photo)).permute(2, 0, 1) for photo in load_sample_images().images]
    crops = []
    for number in range(shape[0]):
        photo = photos[number % len(photos)]
        size = int(rng.integers(*CROPS))
        top, left = (int(rng.integers(side - size)) for side in photo.shape[1:])
        crops.append(_fitted(photo[None, :, top : top + size, left : left + size], shape))
    return torch.cat(crops)


def _fitted(images: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return images as grey or RGB, whichever `shape` has, and of its height and width."""
    _, channels, height, width = shape
    values = images.float()
    if values.shape[1] > channels:
        values = values.mean(1, keepdim=True)
    return to_uint8(interpolate(values.expand(-1, channels, -1, -1), (height, width), mode="bilinear", antialias=True))
