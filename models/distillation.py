"""Distillation: a network learns from the probabilities of another one (Hinton et al., arXiv 1503.02531)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ..contract.zoo_folder import find_file
from .views import SHARPENING

if TYPE_CHECKING:
    from .classifier import ImageClassifier

SOFTENING = 2.0  # of the logits of both, which shows which of the wrong classes an image resembles


class Teacher:
    """A trained network that names how probable each class is for a training image.

    Teacher and student see the same augmented image (Beyer et al., arXiv 2106.05237).

    Args:
        name: a model of the zoo, or the path of an exported file.
        student: its images must be those of the teacher.
        classes: names of the student's classes, which must be the teacher's in the same order.

    Raises as `pretrained.restore`, and ValueError for a teacher of other images or classes.
    """

    def __init__(self, name: str, student: "ImageClassifier", classes: Sequence[str]) -> None:
        from .pretrained import read, restore

        path = find_file(name)
        theirs = read(path)[0].classes
        if tuple(theirs) != tuple(classes):
            raise ValueError(
                f"the teacher {name} knows {', '.join(theirs[:4])} …, this network {', '.join(classes[:4])} …: choose "
                "a teacher with the same classes in the same order"
            )
        self.network = restore(path).to(student.device).eval().requires_grad_(False)
        # The temperature is that of the answer. With several views that is a mean of sharpened probabilities.
        self.sharpening = 1.0 if getattr(self.network, "views", "one") == "one" else SHARPENING
        for what in ("input_shape", "num_classes"):
            theirs, ours = getattr(self.network, what), getattr(student, what)
            if theirs != ours:
                raise ValueError(f"the teacher {name} has {what} {theirs}, this network {ours}: choose another teacher")

    def loss(self, images: Tensor, logits: Tensor) -> Tensor:
        """Return the mean divergence of a student's probabilities from the teacher's.

        Args:
            images: uint8 [N, C, H, W].
            logits: the student's, [N, classes].
        """
        with torch.no_grad():
            wanted = self.sharpening * self.network.logits_in_training(images) / self.network.temperature
        divergence = F.kl_div(
            (logits / SOFTENING).log_softmax(1), (wanted / SOFTENING).log_softmax(1), reduction="batchmean",
            log_target=True,
        )  # fmt: skip
        return SOFTENING**2 * divergence
