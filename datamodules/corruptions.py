"""Image corruptions at five severities, to measure robustness.

After CIFAR-10-C (Hendrycks & Dietterich, arXiv 1903.12261) and MNIST-C (Mu & Gilmer, arXiv 1906.02337). The severities
are this project's own, and the same for images of any size. Corruptions are deterministic.

Each function takes and returns uint8 [N, C, H, W]. `fill` is what a move uncovers. `first` is the index of the first
image in its data set: noise and directions are functions of an image's index.
"""

import io
from collections.abc import Callable

import numpy as np
import torch
import torchvision.transforms.v2.functional as F
from PIL import Image
from torch import Tensor

from .augment import Fill, warp

_SIGNS = np.array([1, -1])
_DIRECTIONS = np.array([[0, 0, 1, -1], [1, -1, 0, 0]])  # down and to the right


def noise(images: Tensor, sigma: float, fill: Fill, first: int) -> Tensor:
    """Add Gaussian noise; `sigma` is a share of white."""
    drawn = [np.random.default_rng(first + i).normal(0, 255 * sigma, image.shape) for i, image in enumerate(images)]
    return _pixels(images + torch.from_numpy(np.stack(drawn)))


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
    return _pixels(images + 255 * more)


def rotation(images: Tensor, degrees: float, fill: Fill, first: int) -> Tensor:
    """Turn images with an even index to the left, the others to the right."""
    n = len(images)
    angles = np.deg2rad(degrees) * _SIGNS[_numbers(images, first) % 2]
    return warp(images, np.zeros((2, n)), np.zeros(n, bool), angles, np.ones(n), fill)


def translation(images: Tensor, share: float, fill: Fill, first: int) -> Tensor:
    """Move images by a share of the width, in four directions in turn."""
    n = len(images)
    moved = images.shape[3] * share * _DIRECTIONS[:, _numbers(images, first) % 4]
    return warp(images, moved, np.zeros(n, bool), np.zeros(n), np.ones(n), fill)


CORRUPTIONS: dict[str, tuple[Callable[[Tensor, float, Fill, int], Tensor], tuple[float, ...]]] = {
    "noise": (noise, (0.04, 0.08, 0.12, 0.18, 0.26)),
    "blur": (blur, (0.4, 0.6, 0.8, 1.0, 1.4)),
    "jpeg": (jpeg, (80, 60, 40, 25, 15)),
    "brightness": (brightness, (0.05, 0.1, 0.15, 0.2, 0.3)),
    "rotation": (rotation, (6, 12, 18, 24, 30)),
    "translation": (translation, (0.04, 0.08, 0.12, 0.16, 0.2)),
}
"""Function and its amounts at severities 1 to 5, by name."""


def corrupt(images: Tensor, name: str, severity: int, fill: Fill, first: int = 0) -> Tensor:
    """Apply the corruption `name` at a severity of 1 to 5 to images uint8 [N, C, H, W]."""
    change, amounts = CORRUPTIONS[name]
    return change(images, amounts[severity - 1], fill, first)


def _numbers(images: Tensor, first: int) -> np.ndarray:
    return np.arange(first, first + len(images))


def _pixels(values: Tensor) -> Tensor:
    return values.round().clamp(0, 255).to(torch.uint8)
