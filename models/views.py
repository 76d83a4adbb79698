"""Test-time augmentation: average a classifier's probabilities over several views of each image."""

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


def average_over_views(classify: Callable[[Tensor], Tensor], images: Tensor, kind: Views) -> Tensor:
    """Return the logarithms [N, classes] of the mean probabilities over the views of images [N, C, H, W].

    Args:
        classify: maps images to logits.
        kind: one: the image itself, whose logits are returned as they are; flip: also its mirror image; flip_shift:
            both, also moved by a pixel in both diagonal directions.
    """
    if kind == "one":
        return classify(images)
    views = [images]
    if kind == "flip_shift":
        height, width = images.shape[2:]
        padded = F.pad(images.float(), (1, 1, 1, 1), mode="reflect")
        views = [images.float(), padded[..., :height, :width], padded[..., 2:, 2:]]
    views += [view.flip(3) for view in views]
    logits = classify(torch.cat(views))
    each = (SHARPENING * logits).log_softmax(1).unflatten(0, (len(views), -1))
    mean: Tensor = each.logsumexp(0) - math.log(len(views))
    return mean
