"""Image corruptions at five severities, to measure robustness.

After CIFAR-10-C (Hendrycks & Dietterich, arXiv 1903.12261) and MNIST-C (Mu & Gilmer, arXiv 1906.02337). The severities
are this project's own, and the same for images of any size. Corruptions are deterministic.

Each function takes and returns uint8 [N, C, H, W]. `fill` is what a move uncovers. `first` is the index of the first
image in its data set: noise and directions are functions of an image's index.
"""

import io
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torchvision.transforms.v2.functional as F
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from .pixels import to_uint8
from .warp import Fill, warp

_GOLDEN = 0.618034  # its multiples, without their whole part, are spread evenly over 0-1
_SIGNS = np.array([1, -1])
_DIRECTIONS = np.array([[0, 0, 1, -1], [1, -1, 0, 0]])  # down and to the right


def noise(images: Tensor, sigma: float, fill: Fill, first: int) -> Tensor:
    """Add Gaussian noise; `sigma` is a share of white."""
    drawn = [_rng(first + i).normal(0, 255 * sigma, image.shape) for i, image in enumerate(images)]
    return to_uint8(images + torch.from_numpy(np.stack(drawn)))


def blur(images: Tensor, sigma: float, fill: Fill, first: int) -> Tensor:
    """Blur with a Gaussian; `sigma` is in pixels."""
    reach = min(
        int(np.ceil(3 * sigma)), *(side - 1 for side in images.shape[2:])
    )  # F.gaussian_blur mirrors at most so far
    blurred: Tensor = F.gaussian_blur(images, [2 * reach + 1] * 2, [sigma, sigma])
    return blurred


def jpeg(images: Tensor, quality: float, fill: Fill, first: int) -> Tensor:
    """Compress and decompress with Pillow at `quality`."""
    after = []
    for image in images:
        pixels = image[0] if len(image) == 1 else image.permute(1, 2, 0)
        buffer = io.BytesIO()
        Image.fromarray(pixels.numpy()).save(buffer, "JPEG", quality=int(quality))
        decoded = torch.from_numpy(np.array(Image.open(buffer)))
        after.append(decoded[None] if decoded.ndim == 2 else decoded.permute(2, 0, 1))
    return torch.stack(after)


def brightness(images: Tensor, more: float, fill: Fill, first: int) -> Tensor:
    """Make every pixel brighter by `more`, a share of white."""
    return to_uint8(images + 255 * more)


def contrast(images: Tensor, share: float, fill: Fill, first: int) -> Tensor:
    """Keep a share of each pixel's distance to its channel's mean in the image."""
    mean = images.float().mean((2, 3), keepdim=True)
    return to_uint8(mean + share * (images - mean))


def fog(images: Tensor, density: float, fill: Fill, first: int) -> Tensor:
    """Add `density` times a bank of fog, from 0 to white, and scale back to the image's brightest value."""
    brightest = images.float().amax((1, 2, 3), keepdim=True) / 255
    banks = torch.stack([_clouds(first + i, image.shape[1:]) for i, image in enumerate(images)])
    scale = brightest / (brightest + density)
    return to_uint8((images + 255 * density * banks[:, None]) * scale)


def pixelate(images: Tensor, share: float, fill: Fill, first: int) -> Tensor:
    """Shrink to a share of the size by averaging areas, and enlarge without interpolation."""
    size = [max(1, round(share * side)) for side in images.shape[2:]]
    small = interpolate(images.float(), size, mode="area")
    return to_uint8(interpolate(small, images.shape[2:], mode="nearest"))


def salt_and_pepper(images: Tensor, share: float, fill: Fill, first: int) -> Tensor:
    """Set a share of the values to black or to white, half of them each."""
    drawn = torch.from_numpy(np.stack([_rng(first + i).random(image.shape) for i, image in enumerate(images)]))
    return images.masked_fill(drawn < share / 2, 0).masked_fill(drawn > 1 - share / 2, 255)


def motion_blur(images: Tensor, share: float, fill: Fill, first: int) -> Tensor:
    """Average each image over a straight move of a share of its width, in a direction that depends on its index."""
    n, length = len(images), share * images.shape[3]
    angle = np.pi * (_GOLDEN * _numbers(images, first) % 1)
    direction = np.stack([np.sin(angle), np.cos(angle)])
    steps = np.linspace(-length / 2, length / 2, 2 * math.ceil(length) + 1)
    still = np.zeros(n, bool), np.zeros(n), np.ones((2, n))
    total = torch.zeros(images.shape)
    for step in steps:
        total += warp(images, step * direction, *still, fill)
    return to_uint8(total / len(steps))


def rotation(images: Tensor, degrees: float, fill: Fill, first: int) -> Tensor:
    """Turn images with an even index to the left, the others to the right."""
    n = len(images)
    angles = np.deg2rad(degrees) * _SIGNS[_numbers(images, first) % 2]
    return warp(images, np.zeros((2, n)), np.zeros(n, bool), angles, np.ones((2, n)), fill)


def translation(images: Tensor, share: float, fill: Fill, first: int) -> Tensor:
    """Move images by a share of the width, in four directions in turn."""
    n = len(images)
    moved = images.shape[3] * share * _DIRECTIONS[:, _numbers(images, first) % 4]
    return warp(images, moved, np.zeros(n, bool), np.zeros(n), np.ones((2, n)), fill)


CORRUPTIONS: dict[str, tuple[Callable[[Tensor, float, Fill, int], Tensor], tuple[float, ...]]] = {
    "noise": (noise, (0.04, 0.08, 0.12, 0.18, 0.26)),
    "blur": (blur, (0.4, 0.6, 0.8, 1.0, 1.4)),
    "jpeg": (jpeg, (80, 60, 40, 25, 15)),
    "brightness": (brightness, (0.05, 0.1, 0.15, 0.2, 0.3)),
    "contrast": (contrast, (0.75, 0.5, 0.4, 0.3, 0.15)),
    "fog": (fog, (0.2, 0.5, 0.75, 1.0, 1.5)),
    "pixelate": (pixelate, (0.95, 0.9, 0.85, 0.75, 0.65)),
    "salt_and_pepper": (salt_and_pepper, (0.01, 0.02, 0.03, 0.05, 0.07)),
    "motion_blur": (motion_blur, (0.06, 0.1, 0.14, 0.18, 0.25)),
    "rotation": (rotation, (6, 12, 18, 24, 30)),
    "translation": (translation, (0.04, 0.08, 0.12, 0.16, 0.2)),
}
"""Function and its amounts at severities 1 to 5, by name."""


def corrupt(images: Tensor, name: str, severity: int, fill: Fill, first: int = 0) -> Tensor:
    """Apply the corruption `name` at a severity of 1 to 5 to images uint8 [N, C, H, W]."""
    change, amounts = CORRUPTIONS[name]
    return change(images, amounts[severity - 1], fill, first)


def _rng(index: int) -> np.random.Generator:
    """Return the generator of an image's random numbers, by the image's index."""
    return np.random.default_rng(index)


def _clouds(index: int, size: Sequence[int]) -> Tensor:
    """Return smooth noise [H, W] from 0 to 1: grids of doubling fineness and falling weight, enlarged and added."""
    rng, total = _rng(index), torch.zeros(*size)
    for octave in range(1, 6):
        grid = torch.from_numpy(rng.random((1, 1, 2**octave, 2**octave), np.float32))
        total += interpolate(grid, size, mode="bilinear", align_corners=True)[0, 0] / 2**octave
    total -= total.min()
    return total / total.max().clamp_min(1e-6)


def _numbers(images: Tensor, first: int) -> np.ndarray:
    return np.arange(first, first + len(images))
