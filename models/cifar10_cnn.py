"""The lecture's Keras network for CIFAR-10."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from .arithmetic import Volume, layers
from .classifier import ImageClassifier


class CIFAR10CNN(ImageClassifier):
    """Convolutions without padding, pooling between them, one hidden layer: 122,570 parameters.

    Args:
        channels: filters of each convolution; one more entry is one more layer.
        kernel_size: extent of a filter; no padding, so each convolution shrinks the image.
        hidden: neurons of the dense layer.
        input_shape: (channels, height, width) of one image.
        num_classes: how many classes.
        mean: see ImageClassifier; by default pixels are only scaled to 0–1, as in the lecture.
        std: see ImageClassifier.
        kwargs: optimiser and schedule, see ImageClassifier.
    """

    def __init__(
        self,
        channels: Sequence[int] = (32, 64, 64),
        kernel_size: int = 3,
        hidden: int = 64,
        input_shape: tuple[int, int, int] = (3, 32, 32),
        num_classes: int = 10,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        **kwargs: Any,
    ) -> None:
        depth, height, width = input_shape
        features = nn.Sequential()
        for number, (before, after) in enumerate(zip((depth, *channels), channels, strict=False)):
            if number > 0:
                features.append(nn.MaxPool2d(2))
            features.append(nn.Conv2d(before, after, kernel_size))
            features.append(nn.ReLU())
        features.append(nn.Flatten())
        flat = layers(features, Volume(width, height, depth))[-1].output.size
        network = nn.Sequential(
            *features,
            nn.Linear(flat, hidden),
            nn.ReLU(),
            nn.Linear(hidden, num_classes),
        )
        super().__init__(network, input_shape, num_classes, mean, std, **kwargs)
