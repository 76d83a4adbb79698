"""AugMix (Hendrycks et al., arXiv 1912.02781), batched: mix an image with chains of random operations on it."""

import numpy as np
import torch
import torchvision.transforms.v2.functional as F
from torch import Tensor

from .pixels import for_each, to_uint8
from .warp import Fill, affine

CHAINS = 3
DEPTH = 3  # operations in a chain, at most
OPERATIONS = 9  # autocontrast, equalize, posterize, solarize, rotate, shear along x and y, move along x and y


def augmix(images: Tensor, rng: np.random.Generator, n: int, mine: slice, severity: float, fill: Fill) -> Tensor:
    """Mix half of the images uint8 [N, C, H, W] with three chains of operations. Arguments as in `pixels.add_noise`.

    Args:
        severity: 1-10, the strongest operation. The paper takes 3.
    """
    chosen = rng.random(n) < 0.5
    operations: np.ndarray = rng.integers(OPERATIONS, size=(CHAINS, DEPTH, n))
    strength: np.ndarray = rng.uniform(0.1, severity, (CHAINS, DEPTH, n)) / 10 * rng.choice([-1, 1], (CHAINS, DEPTH, n))
    depths: np.ndarray = rng.integers(1, DEPTH + 1, (CHAINS, n))
    weights: np.ndarray = rng.dirichlet(np.ones(CHAINS), n).T * rng.beta(1, 1, n)
    picked = np.flatnonzero(chosen[mine])
    where = torch.from_numpy(picked).to(images.device)
    source = images[where]
    operations, strength, depths, weights = (
        part[..., mine][..., picked] for part in (operations, strength, depths, weights)
    )
    mixed = for_each(1 - weights.sum(0), images) * source
    for chain in range(CHAINS):
        changed = source
        for depth in range(DEPTH):
            operation = np.where(depth < depths[chain], operations[chain, depth], -1)  # -1 changes nothing
            changed = _apply(changed, operation, strength[chain, depth], fill)
        mixed = mixed + for_each(weights[chain], images) * changed
    return images.index_copy(0, where, to_uint8(mixed))


def _apply(images: Tensor, operation: np.ndarray, strength: np.ndarray, fill: Fill) -> Tensor:
    """Apply to each image the operation of its number, with a strength of -1 to 1."""
    out = images.clone()
    for number, change in enumerate((F.autocontrast, F.equalize, _posterize, _solarize)):
        chosen = np.flatnonzero(operation == number)
        where = torch.from_numpy(chosen).to(images.device)
        part = images[where]
        out[where] = change(part) if number < 2 else change(part, for_each(np.abs(strength[chosen]), images))
    chosen = np.flatnonzero(operation >= 4)
    where = torch.from_numpy(chosen).to(images.device)
    out[where] = _move(images[where], operation[chosen] - 4, strength[chosen], fill)
    return out


def _posterize(images: Tensor, strength: Tensor) -> Tensor:
    """Keep the 4 highest bits of each value, or fewer the stronger it is."""
    step = 2 ** (4 + (4 * strength).floor())
    return (images // step * step).to(torch.uint8)


def _solarize(images: Tensor, strength: Tensor) -> Tensor:
    """Invert the values above a threshold, which is lower the stronger it is."""
    return torch.where(images >= 256 * (1 - strength), 255 - images, images)


def _move(images: Tensor, operation: np.ndarray, strength: np.ndarray, fill: Fill) -> Tensor:
    """Rotate by up to 30 degrees, shear by up to 0.3, or move by up to a third of the image."""
    height, width = images.shape[2:]
    angle = np.deg2rad(30) * strength * (operation == 0)
    shear_x, shear_y = (0.3 * strength * (operation == number) for number in (1, 2))
    matrix = np.array([[np.cos(angle), np.sin(angle) + shear_y], [shear_x - np.sin(angle), np.cos(angle)]])
    moved = np.array([strength * height / 3 * (operation == 4), strength * width / 3 * (operation == 3)])
    return affine(images, matrix, moved, fill)
