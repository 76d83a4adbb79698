"""Scores by which a network may notice that it has not seen the like of an image; a higher one is stranger.

All are computed from a network that is trained already. `fit` takes what the network makes of training images, and the
scores are functions of what it makes of other images.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnnzoo.datamodules.batches import evenly_spaced
from cnnzoo.models import ImageClassifier
from cnnzoo.models.export import readings
from cnnzoo.models.familiarity import Familiarity, Reading

NEIGHBOUR = 20
BANK = 5000  # features among which the neighbours are
BATCH = 500
SMALLEST = 1e-9


class Seen(NamedTuple):
    """Features before the last layer [N, d], logits [N, classes] and the Reading of a network for images."""

    features: Tensor
    logits: Tensor
    reading: Reading


Score = Callable[[Seen], Tensor]


@torch.inference_mode()
def see(model: ImageClassifier, images: Tensor) -> Seen:
    """Return what a network makes of images uint8 [N, C, H, W], in one view."""
    head = _head(model)
    kept: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
    reading = readings(model, images)
    hook.remove()
    return Seen(torch.cat(kept).double(), reading[1].double(), reading)


def fit(model: ImageClassifier, train: Seen, labels: Tensor, held_out: Seen) -> dict[str, Score]:
    """Return the scores by name.

    Args:
        train: of training images, with their labels.
        held_out: of the images on which `Familiarity` is fitted.
    """
    familiarity = Familiarity.fit(train.reading, held_out.reading)
    return {
        "highest probability": lambda seen: -seen.logits.softmax(1).amax(1),
        "energy": lambda seen: -seen.logits.logsumexp(1),
        "Mahalanobis": _mahalanobis(train.features, labels, relative=False),
        "relative Mahalanobis": _mahalanobis(train.features, labels, relative=True),
        "k-nearest": _nearest(train.features),
        "fDBD": _boundary_distance(_head(model), train.features),
        "ViM": _virtual_logit(_head(model), train),
        "texture and channels": lambda seen: familiarity.standardized(*seen.reading)[:, :-1].amax(1).double(),
        "familiarity": lambda seen: familiarity.strangeness(*seen.reading).double(),
    }


def _head(model: ImageClassifier) -> nn.Linear:
    (*_, head) = (layer for layer in model.network if isinstance(layer, nn.Linear))
    return head


def _mahalanobis(features: Tensor, labels: Tensor, relative: bool) -> Score:
    """Lee et al., arXiv 1807.03888; relative: Ren et al., arXiv 2106.09022."""
    means = torch.stack([features[labels == label].mean(0) for label in labels.unique()])
    within = _inverse_covariance(torch.cat([features[labels == label] - mean for label, mean in enumerate(means)]))
    overall = _inverse_covariance(features - features.mean(0))

    def score(seen: Seen) -> Tensor:
        nearest = torch.stack([_squares(seen.features - mean, within) for mean in means], 1).amin(1)
        return nearest - _squares(seen.features - features.mean(0), overall) if relative else nearest

    return score


def _inverse_covariance(centered: Tensor) -> Tensor:
    covariance = centered.T @ centered / len(centered)
    ridge = 1e-6 * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=covariance.dtype)
    return torch.linalg.inv(covariance + ridge)


def _squares(centered: Tensor, inverse: Tensor) -> Tensor:
    return ((centered @ inverse) * centered).sum(1)


def _nearest(features: Tensor) -> Score:
    """Sun et al., arXiv 2204.06507: distance to the k-th nearest of some training features, all of length 1."""
    spread = evenly_spaced(BANK, len(features))
    bank = F.normalize(features[spread], dim=1)

    def score(seen: Seen) -> Tensor:
        similarities = [F.normalize(part, dim=1) @ bank.T for part in seen.features.split(BATCH)]
        return 1 - torch.cat([part.topk(NEIGHBOUR, 1).values[:, -1] for part in similarities])

    return score


def _boundary_distance(head: nn.Linear, features: Tensor) -> Score:
    """Liu & Qin, arXiv 2312.11536: mean distance to the boundaries of the other classes, beside that to the mean."""
    weight, center = head.weight.detach().double(), features.mean(0)
    apart = torch.cdist(weight, weight)

    def score(seen: Seen) -> Tensor:
        best, predicted = seen.logits.max(1)
        distances = (best[:, None] - seen.logits) / apart[predicted].clamp_min(SMALLEST)  # 0 for the class itself
        return -distances.sum(1) / (len(weight) - 1) / (seen.features - center).norm(dim=1).clamp_min(SMALLEST)

    return score


def _virtual_logit(head: nn.Linear, train: Seen) -> Score:
    """Wang et al., arXiv 2203.10807: the part of the features outside their principal subspace, as one more logit."""
    weight = head.weight.detach().double()
    bias = torch.zeros(len(weight)) if head.bias is None else head.bias.detach()
    origin = -torch.linalg.pinv(weight) @ bias.double()
    directions = torch.linalg.eigh(torch.cov((train.features - origin).T)).eigenvectors  # least variance first
    residual = directions[:, : len(directions) // 2]

    def outside(seen: Seen) -> Tensor:
        return ((seen.features - origin) @ residual).norm(dim=1)

    alpha = train.logits.amax(1).mean() / outside(train).mean().clamp_min(SMALLEST)
    return lambda seen: alpha * outside(seen) - seen.logits.logsumexp(1)
