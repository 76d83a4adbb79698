"""Affine changes of a batch of images, with bilinear interpolation."""

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Fill = Literal["mirror", "black"]


def warp(
    images: Tensor, moved: np.ndarray, flipped: np.ndarray, angle: np.ndarray, part: np.ndarray, fill: Fill
) -> Tensor:
    """Mirror and turn each image, and magnify a part of it to the whole.

    Args:
        images: uint8 [N, C, H, W].
        moved: of the part's center from the image's, in pixels down and to the right, [2, N].
        flipped: bool [N].
        angle: radians [N].
        part: height and width of the part, as shares of the image's, [2, N].
    """
    (height, width), cos, sin, sign = part, np.cos(angle), np.sin(angle), np.where(flipped, -1, 1)
    matrix = np.array([[cos * height, sin * width], [-sin * sign * height, cos * sign * width]])
    return affine(images, matrix, moved * [np.ones_like(sign), sign], fill)


def affine(images: Tensor, matrix: np.ndarray, moved: np.ndarray, fill: Fill) -> Tensor:
    """Return images whose pixel at (y, x) from the center is the source's at matrix · (y, x) + moved.

    Args:
        images: uint8 [N, C, H, W].
        matrix: [2, 2, N].
        moved: pixels down and to the right, [2, N].
    """
    if not len(images):  # affine_grid takes no empty batch
        return images
    height, width = images.shape[2:]
    (a, b), (c, d) = matrix
    half_height, half_width = max(0.5, (height - 1) / 2), max(0.5, (width - 1) / 2)
    # In torch's coordinates: x first, and from -1 to 1 between the centers of the outer pixels.
    theta = np.array([
        [d, c * half_height / half_width, moved[1] / half_width],
        [b * half_width / half_height, a, moved[0] / half_height],
    ])  # fmt: skip
    where = torch.from_numpy(theta.transpose(2, 0, 1).astype(np.float32)).to(images.device)
    grid = F.affine_grid(where, list(images.shape), align_corners=True)
    padding = "reflection" if fill == "mirror" else "zeros"
    out = F.grid_sample(images.float(), grid, mode="bilinear", padding_mode=padding, align_corners=True)
    return out.round_().to(torch.uint8)
