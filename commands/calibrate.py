"""The temperature of a network, from the images that its run held out."""

import torch

from ..datamodules import ImageDataModule
from ..models import ImageClassifier
from ..models.calibration import fit_temperature
from ..models.export import torch_logits

FEWEST = 100  # images; a temperature of fewer tells of chance


def held_out_temperature(model: ImageClassifier, data: ImageDataModule) -> float | None:
    """Fitted on the validation part; None for a run that held out fewer than `FEWEST` images, or none."""
    data.setup("validate")
    held_out = data.splits["val"]
    if len(held_out) < FEWEST:
        return None
    images, labels = held_out[torch.arange(len(held_out))]
    return fit_temperature(torch_logits(model, images), labels)
