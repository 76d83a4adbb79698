"""Random changes of pixel values of a batch."""

import numpy as np
import torch
from torch import Tensor


def jitter(images: Tensor, drawn: np.ndarray, brightness: float, contrast: float) -> Tensor:
    """Change brightness and contrast of images uint8 [N, C, H, W], by `drawn` [2, N] of -1 to 1 times the maximum."""
    more, factor = torch.from_numpy(drawn.astype(np.float32)).to(images.device)[..., None, None, None]
    pixels = images.float()
    mean = pixels.mean((1, 2, 3), keepdim=True)
    return to_uint8(mean + (pixels - mean) * (1 + contrast * factor) + 255 * brightness * more)


def saturate(images: Tensor, change: np.ndarray) -> Tensor:
    """Stretch the distance of each image's colors to grey by a share [N], or shrink it; uint8 [N, C, H, W]."""
    factor = torch.from_numpy(1 + change.astype(np.float32)).to(images.device)[:, None, None, None]
    pixels = images.float()
    grey = pixels.mean(1, keepdim=True)
    return to_uint8(grey + (pixels - grey) * factor)


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
    strength = torch.from_numpy((255 * drawn * chosen)[mine].astype(np.float32)).to(images.device)[:, None, None, None]
    if patch:
        corner = (center * [[height], [width]]).astype(int) - patch // 2  # part of the square may lie outside
        rows, columns = np.arange(height) - corner[0, :, None], np.arange(width) - corner[1, :, None]
        square = inside(rows, patch)[:, :, None] & inside(columns, patch)[:, None, :]
        strength = strength * torch.from_numpy(square[:, None]).to(images.device)
    return to_uint8(images + strength * noise)


def to_uint8(values: Tensor) -> Tensor:
    """Round values to the nearest of 0-255."""
    return values.round().clamp(0, 255).to(torch.uint8)


def inside(index: np.ndarray, extent: int) -> np.ndarray:
    """Return which indices are from 0 to below `extent`."""
    return (index >= 0) & (index < extent)
