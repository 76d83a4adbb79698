"""The lecture's Keras network for scikit-learn's 8×8 digits."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from .arithmetic import Volume, layers
from .classifier import ImageClassifier


class DigitsCNN(ImageClassifier):
    """One convolution, one pooling, one hidden layer: 8,660 parameters as in the lecture.

    Args:
        channels: filters of the convolution.
        kernel_size: extent of a filter, odd: padding keeps the image's size.
        hidden: neurons of the dense layer.
        input_shape: (channels, height, width) of one image.
        num_classes: how many classes.
        mean: see ImageClassifier.
        std: see ImageClassifier. 1/16 feeds the digits as 0–16, as the lecture does.
        kwargs: optimiser and schedule, see ImageClassifier.
    """

    def __init__(
        self,
        channels: int = 10,
        kernel_size: int = 3,
        hidden: int = 50,
        input_shape: tuple[int, int, int] = (1, 8, 8),
        num_classes: int = 10,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (0.0625,),
        **kwargs: Any,
    ) -> None:
        depth, height, width = input_shape
        features = nn.Sequential(
            nn.Conv2d(depth, channels, kernel_size, padding="same"),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )
        flat = layers(features, Volume(width, height, depth))[-1].output.size
        network = nn.Sequential(
            *features,
            nn.Linear(flat, hidden),
            nn.ReLU(),
            nn.Linear(hidden, num_classes),
        )
        super().__init__(network, input_shape, num_classes, mean, std, **kwargs)
