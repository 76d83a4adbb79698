"""Measurements that calibrate a network and fill the card of an exported file."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from rich.progress import track
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from ..contract.card import HANDWRITING, Number, Preparation, Robustness, Strangers
from ..contract.card import Familiarity as FamiliarityCard
from ..contract.images import to_input
from ..contract.names import UNFAMILIAR
from ..datamodules import ImageDataModule
from ..datamodules.batches import evenly_spaced
from ..datamodules.corruptions import CORRUPTIONS, corrupt
from ..datamodules.strangers import strangers
from ..datamodules.warp import Fill
from ..models import ImageClassifier
from ..models.calibration import fit_temperature, reliability
from ..models.export import Answers, OnnxFile, readings, torch_answers
from ..models.familiarity import Familiarity
from ..models.metrics import classification_metrics, confusions

SEVERITIES = range(1, 6)
CHUNK = 100  # images that are corrupted at once
CORRUPTED, LARGE_CORRUPTED = 2000, 200  # images, of at most SMALL pixels and of more
SMALL = 96 * 96
FEWEST = 100  # held-out images to fit on; fewer give random results
TRAIN_IMAGES = 10_000  # for the statistics of familiarity
STRANGERS = 1000  # images of each kind
PICTURE = 128  # pixels along a side of those that are sent as pictures


def held_out_temperature(model: ImageClassifier, data: ImageDataModule) -> float | None:
    """Return the temperature fitted on the validation split, or None if it has fewer than `FEWEST` images."""
    data.setup("validate")
    held_out = data.splits["val"]
    if len(held_out) < FEWEST:
        return None
    images, labels = held_out[:]
    return fit_temperature(torch_answers(model, images)[0], labels)


def fit_outputs(model: ImageClassifier, data: ImageDataModule) -> None:
    """Fit on held-out images what an exported network has besides its weights.

    That is the confidence below which an image is looked at in several views, the temperature, and familiarity. With
    fewer than `FEWEST` held-out images nothing is fitted.
    """
    model.reset_fitted()
    data.setup("validate")
    train, held_out = data.splits["train"], data.splits["val"]
    if len(held_out) < FEWEST:
        return
    spread = evenly_spaced(TRAIN_IMAGES, len(train))
    images, labels = held_out[:]
    known, held = readings(model, train[spread][0]), readings(model, images)
    model.fit_views(held[1])
    model.temperature.fill_(fit_temperature(torch_answers(model, images)[0], labels))
    model.familiarity = Familiarity.fit(known, held).to(model.device)


def measure_familiarity(
    file: OnnxFile, data: ImageDataModule, images: Tensor, answers: Answers, held_out: int
) -> FamiliarityCard | None:
    """Return the card's familiarity field, or None if the file has no such output.

    Args:
        images: the test images.
        answers: the file's answers to them.
        held_out: number of images that it was fitted on.
    """
    if len(answers) < 3:
        return None
    own = answers[2]
    spread = evenly_spaced(STRANGERS, len(images))
    found: dict[str, Strangers] = {}
    kinds = strangers(data, images[spread])
    prepare = data.prepare_image
    if prepare != "photo":  # the preparation of pictures may make them more like the training images
        pictures = strangers(data, _enlarged(images[spread]))
        kinds |= {
            f"{kind} as pictures": _prepared(others, data.image_shape, prepare) for kind, others in pictures.items()
        }
    for kind, others in kinds.items():
        theirs = file.answers(others)[2]
        familiar = torch.cat([torch.ones(len(own)), torch.zeros(len(theirs))])
        auroc = float(roc_auc_score(familiar, torch.cat([own, theirs])))
        found[kind] = {"images": len(theirs), "flagged": _flagged(theirs), "auroc": auroc}
    return {"held_out": held_out, "threshold": UNFAMILIAR, "flagged": _flagged(own), "strangers": found}


def _enlarged(images: Tensor) -> Tensor:
    """Return images uint8 [N, C, H, W] enlarged by a whole number, to about PICTURE pixels a side."""
    factor = max(1, round(PICTURE / max(images.shape[2:])))
    return images.repeat_interleave(factor, 2).repeat_interleave(factor, 3)


def _prepared(images: Tensor, shape: tuple[int, int, int], prepare: Preparation) -> Tensor:
    """Return what the service makes of images uint8 [N, C, H, W] that are sent to it as pictures."""
    return torch.from_numpy(np.stack([to_input(to_pil_image(image), shape, prepare) for image in images]))


def _flagged(familiarity: Tensor) -> float:
    return (familiarity < UNFAMILIAR).double().mean().item()


def measure(answers: Answers, labels: Tensor) -> dict[str, Any]:
    """Return the card's metrics, confusion_matrix and reliability, from the answers to the test images."""
    logits, probabilities = answers[:2]
    metrics = classification_metrics(probabilities, labels)
    before = classification_metrics(logits.softmax(1), labels)
    metrics["calibration_error_before"] = before["calibration_error"]
    return {
        "metrics": metrics,
        "confusion_matrix": confusions(logits.argmax(1), labels, logits.shape[1]),
        "reliability": reliability(probabilities, labels),
    }


def robustness(
    file: OnnxFile,
    data: ImageDataModule,
    images: Tensor,
    labels: Tensor,
    count: int | None = None,
    kinds: Sequence[str] = tuple(CORRUPTIONS),
) -> Robustness | None:
    """Return the accuracy under each kind of corruption on at most `count` of the test images, evenly spaced.

    By default 2,000 images, or 200 large ones, which take as long. Returns None for a count of 0. Raises ValueError for
    a negative count or an unknown kind.
    """
    if unknown := set(kinds) - CORRUPTIONS.keys():
        raise ValueError(f"no corruption is called {', '.join(sorted(unknown))}: there are {', '.join(CORRUPTIONS)}")
    if count is None:
        count = CORRUPTED if math.prod(data.image_shape[1:]) <= SMALL else LARGE_CORRUPTED
    if count < 0:
        raise ValueError(f"corruption_images is {count}: expected a number of images from 0 up")
    if not count:
        return None
    chosen = evenly_spaced(count, len(labels))
    images, labels = images[chosen], labels[chosen]
    fill: Fill = "black" if data.prepare_image in HANDWRITING else "mirror"
    table: dict[str, list[Number]] = {name: [] for name in kinds}
    for name, severity in track([(name, severity) for name in kinds for severity in SEVERITIES], "Corruptions"):
        correct = 0
        for start in range(0, len(labels), CHUNK):
            chunk = slice(start, start + CHUNK)
            predicted = file.answers(corrupt(images[chunk], name, severity, fill, start))[0].argmax(1)
            correct += int((predicted == labels[chunk]).sum())
        table[name].append(correct / len(labels))
    return {"images": len(labels), "accuracy": table}
