"""The three networks of the lecture, exact to the parameter."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from .arithmetic import Volume, layers
from .classifier import ImageClassifier

Shape = tuple[int, int, int]


class DigitsCNN(ImageClassifier):
    """The Keras network for 8×8 digits. One convolution, one pooling, one hidden layer: 8,660 parameters.

    Args:
        channels: number of filters of the convolution.
        kernel_size: extent of a filter, odd: padding keeps the image's size.
        hidden: number of neurons of the dense layer.
        input_shape: (channels, height, width) of one image.
        num_classes: number of classes.
        mean: see ImageClassifier.
        std: see ImageClassifier. 1/16 gives the network values of 0–16, as in the lecture.
        kwargs: optimizer and schedule, see ImageClassifier.
    """

    def __init__(
        self,
        channels: int = 10,
        kernel_size: int = 3,
        hidden: int = 50,
        input_shape: Shape = (1, 8, 8),
        num_classes: int = 10,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (0.0625,),
        **kwargs: Any,
    ) -> None:
        features = [nn.Conv2d(input_shape[0], channels, kernel_size, padding="same"), nn.ReLU(), nn.MaxPool2d(2)]
        network = _with_head(features, input_shape, hidden, num_classes)
        super().__init__(network, input_shape, num_classes, mean, std, **kwargs)


class MNISTCNN(ImageClassifier):
    """The PyTorch network for MNIST. Two convolutions with pooling, and dropout on a wide dense layer: 3,241,354
    parameters.

    Args:
        channels: number of filters of each convolution; one more entry is one more layer.
        kernel_size: extent of a filter, odd: padding keeps the image's size.
        hidden: number of neurons of the dense layer.
        dropout: share of the hidden neurons that is dropped in training.
        input_shape: (channels, height, width) of one image.
        num_classes: number of classes.
        mean: see ImageClassifier; the default is MNIST's.
        std: see ImageClassifier; the default is MNIST's.
        kwargs: optimizer and schedule, see ImageClassifier.
    """

    def __init__(
        self,
        channels: Sequence[int] = (32, 64),
        kernel_size: int = 3,
        hidden: int = 1024,
        dropout: float = 0.5,
        input_shape: Shape = (1, 28, 28),
        num_classes: int = 10,
        mean: Sequence[float] = (0.1307,),
        std: Sequence[float] = (0.3081,),
        **kwargs: Any,
    ) -> None:
        features: list[nn.Module] = []
        for before, after in zip((input_shape[0], *channels), channels, strict=False):
            features += [nn.Conv2d(before, after, kernel_size, padding="same"), nn.ReLU(), nn.MaxPool2d(2)]
        network = _with_head(features, input_shape, hidden, num_classes, nn.Dropout(dropout))
        super().__init__(network, input_shape, num_classes, mean, std, **kwargs)


class CIFAR10CNN(ImageClassifier):
    """The Keras network for CIFAR-10. Convolutions without padding, pooling between them, one hidden layer: 122,570
    parameters.

    Args:
        channels: number of filters of each convolution; one more entry is one more layer.
        kernel_size: extent of a filter; each convolution shrinks the image, since there is no padding.
        hidden: number of neurons of the dense layer.
        input_shape: (channels, height, width) of one image.
        num_classes: number of classes.
        mean: see ImageClassifier; by default pixels are only scaled to 0–1, as in the lecture.
        std: see ImageClassifier.
        kwargs: optimizer and schedule, see ImageClassifier.
    """

    def __init__(
        self,
        channels: Sequence[int] = (32, 64, 64),
        kernel_size: int = 3,
        hidden: int = 64,
        input_shape: Shape = (3, 32, 32),
        num_classes: int = 10,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        **kwargs: Any,
    ) -> None:
        features: list[nn.Module] = []
        for before, after in zip((input_shape[0], *channels), channels, strict=False):
            pooling = [nn.MaxPool2d(2)] if features else []
            features += [*pooling, nn.Conv2d(before, after, kernel_size), nn.ReLU()]
        network = _with_head(features, input_shape, hidden, num_classes)
        super().__init__(network, input_shape, num_classes, mean, std, **kwargs)


def _with_head(
    features: list[nn.Module], input_shape: Shape, hidden: int, num_classes: int, *dropout: nn.Module
) -> nn.Sequential:
    """Append a hidden dense layer and an output layer. Raises ValueError for a layer without neurons."""
    if hidden < 1:
        raise ValueError(f"hidden is {hidden}: give at least 1")
    depth, height, width = input_shape
    features = [*features, nn.Flatten()]
    flat = layers(features, Volume(width, height, depth))[-1].output.size
    return nn.Sequential(*features, nn.Linear(flat, hidden), nn.ReLU(), *dropout, nn.Linear(hidden, num_classes))
