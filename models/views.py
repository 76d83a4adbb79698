"""Test-time augmentation: average the probabilities over several views of the images that a network is unsure of."""

import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Views = Literal["one", "flip", "flip_shift"]

# Label smoothing makes probabilities too flat. Averaging probabilities that are sharpened again gives the lowest
# loss on validation images at the best temperature, lower than averaging logits.
SHARPENING = 2.0
COUNT: dict[Views, int] = {"one": 1, "flip": 2, "flip_shift": 6}
UNSURE = 0.25  # share of the images that are looked at in all views


def average_over_views(
    classify: Callable[[Tensor], Tensor], images: Tensor, first: Tensor, kind: Views, sure: Tensor
) -> Tensor:
    """Return the logarithms [N, classes] of the mean probabilities over the views of images [N, C, H, W].

    Args:
        classify: maps images to logits.
        first: the logits of the images themselves.
        kind: one: the image itself, whose logits are returned as they are; flip: also its mirror image; flip_shift:
            both, also moved by a pixel in both diagonal directions.
        sure: confidence from which an image is looked at in one view, a logarithm as `confidence` returns it.
    """
    if kind == "one":
        return first
    one = (SHARPENING * first).log_softmax(1)
    unsure = (confidence(first) < sure).nonzero().squeeze(1)
    if torch.compiler.is_exporting():  # ONNX Runtime takes a batch of no image, the exporter asks for one
        torch._check(unsure.shape[0] != 0)
    images = images[unsure].float()
    moved = [images]
    if kind == "flip_shift":
        height, width = images.shape[2:]
        padded = F.pad(images, (1, 1, 1, 1), mode="reflect")
        moved += [padded[..., :height, :width], padded[..., 2:, 2:]]
    views = [*moved[1:], *(view.flip(3) for view in moved)]
    logits = classify(torch.cat(views)).reshape(len(views), unsure.shape[0], first.shape[1])
    each = torch.cat([one[unsure][None], (SHARPENING * logits).log_softmax(2)])
    mean = each.logsumexp(0) - math.log(len(views) + 1)
    return one.index_copy(0, unsure, mean)


def confidence(logits: Tensor) -> Tensor:
    """Return the logarithm of the highest sharpened probability, [N]."""
    return (SHARPENING * logits).log_softmax(1).amax(1)
