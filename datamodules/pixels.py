"""Random changes of pixel values of a batch."""

import numpy as np
import torch
from torch import Tensor


def jitter(images: Tensor, brightness: np.ndarray, contrast: np.ndarray, saturation: np.ndarray) -> Tensor:
    """Change brightness, contrast and saturation of images uint8 [N, C, H, W].

    Args:
        brightness: share of white that is added, [N].
        contrast: factor of the distance to the image's mean, [N].
        saturation: factor of the distance to grey, [N].
    """
    pixels = images.float()
    if (saturation != 1).any():
        factor = for_each(saturation, images)
        grey = pixels.mean(1, keepdim=True)
        pixels.mul_(factor).add_(grey * (1 - factor))
    if (contrast != 1).any() or brightness.any():
        factor, mean = for_each(contrast, images), pixels.mean((1, 2, 3), keepdim=True)
        pixels.mul_(factor).add_(mean * (1 - factor) + 255 * for_each(brightness, images))
    return to_uint8(pixels)


def for_each(values: np.ndarray, images: Tensor) -> Tensor:
    """Return a value for each image, [N, 1, 1, 1]."""
    return torch.from_numpy(values.astype(np.float32)).to(images.device)[:, None, None, None]


def add_noise(images: Tensor, rng: np.random.Generator, n: int, mine: slice, sigma: float, patch: int) -> Tensor:
    """Add Gaussian noise of a random sigma to half of the images.

    Args:
        images: uint8 [N, C, H, W], this device's share of the global batch.
        rng: the generator of the global batch.
        n: number of images in the global batch.
        mine: which of them are these.
        sigma: the largest sigma, a share of white.
        patch: side of the square that gets the noise; 0 for the whole image.
    """
    height, width = images.shape[2:]
    drawn, chosen, center = rng.uniform(0, sigma, n), rng.random(n) < 0.5, rng.random((2, n))[:, mine]
    generator = torch.Generator(images.device).manual_seed(int(rng.integers(2**62)))
    noise = torch.randn((n, *images.shape[1:]), generator=generator, device=images.device)[mine]
    strength = for_each((255 * drawn * chosen)[mine], images)
    if patch:
        corner = (center * [[height], [width]]).astype(int) - patch // 2  # part of the square may lie outside
        rows, columns = np.arange(height) - corner[0, :, None], np.arange(width) - corner[1, :, None]
        square = inside(rows, patch)[:, :, None] & inside(columns, patch)[:, None, :]
        strength = strength * torch.from_numpy(square[:, None]).to(images.device)
    return to_uint8(images + strength * noise)


def to_uint8(values: Tensor) -> Tensor:
    """Round values to the nearest of 0-255, in place."""
    return values.round_().clamp_(0, 255).to(torch.uint8)


def inside(index: np.ndarray, extent: int) -> np.ndarray:
    """Return which indices are from 0 to below `extent`."""
    return (index >= 0) & (index < extent)
