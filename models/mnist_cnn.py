"""The lecture's PyTorch network for MNIST."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from .arithmetic import Volume, layers
from .classifier import ImageClassifier


class MNISTCNN(ImageClassifier):
    """Convolution and pooling twice, then dropout on a wide dense layer: 3,241,354 parameters.

    Args:
        channels: filters of each convolution; one more entry is one more layer.
        kernel_size: extent of a filter, odd: padding keeps the image's size.
        hidden: neurons of the dense layer.
        dropout: the share of hidden neurons dropped in training.
        input_shape: (channels, height, width) of one image.
        num_classes: how many classes.
        mean: see ImageClassifier; the defaults are MNIST's.
        std: see ImageClassifier.
        kwargs: optimiser and schedule, see ImageClassifier.
    """

    def __init__(
        self,
        channels: Sequence[int] = (32, 64),
        kernel_size: int = 3,
        hidden: int = 1024,
        dropout: float = 0.5,
        input_shape: tuple[int, int, int] = (1, 28, 28),
        num_classes: int = 10,
        mean: Sequence[float] = (0.1307,),
        std: Sequence[float] = (0.3081,),
        **kwargs: Any,
    ) -> None:
        depth, height, width = input_shape
        features = nn.Sequential()
        for before, after in zip((depth, *channels), channels, strict=False):
            features.append(nn.Conv2d(before, after, kernel_size, padding="same"))
            features.append(nn.ReLU())
            features.append(nn.MaxPool2d(2))
        features.append(nn.Flatten())
        flat = layers(features, Volume(width, height, depth))[-1].output.size
        network = nn.Sequential(
            *features,
            nn.Linear(flat, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )
        super().__init__(network, input_shape, num_classes, mean, std, **kwargs)
