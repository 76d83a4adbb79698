"""`ResNet`: the residual networks for CIFAR-10."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from .classifier import ImageClassifier
from .residual import Residual

GROUPS = 3


class ResNet(ImageClassifier):
    """The residual network for 32×32 images: He et al., arXiv 1512.03385, §4.2. ResNet-20: 269,722 parameters.

    A convolution, three groups of residual blocks, the mean over the image, and a dense layer. Each group after the
    first halves the image.

    Args:
        depth: number of layers with weights, 6n + 2 for n blocks a group: 20, 32, 44, 56, …
        width: channels of the first group, which each following one doubles; or of each of the three.
        input_shape: (channels, height, width) of one image.
        num_classes: number of classes.
        mean: see ImageClassifier.
        std: see ImageClassifier.
        kwargs: optimizer and schedule, see ImageClassifier.

    Raises ValueError for a depth that is not 6n + 2, and widths that are not three numbers that grow.
    """

    def __init__(
        self,
        depth: int = 20,
        width: int | Sequence[int] = 16,
        input_shape: tuple[int, int, int] = (3, 32, 32),
        num_classes: int = 10,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        **kwargs: Any,
    ) -> None:
        blocks, rest = divmod(depth - 2, 6)
        if blocks < 1 or rest:
            raise ValueError(
                f"depth is {depth}: expected 6n + 2 layers for n blocks in each group, such as 8, 20 or 32"
            )
        widths = [width, 2 * width, 4 * width] if isinstance(width, int) else list(width)
        if len(widths) != GROUPS or widths != sorted(widths):
            raise ValueError(f"width is {width}: give one number, or three that do not fall")
        before = widths[0]
        network = nn.Sequential(_conv(input_shape[0], before), nn.BatchNorm2d(before), nn.ReLU())
        for group, after in enumerate(widths):
            for block in range(blocks):
                stride = 2 if group and not block else 1
                network.extend([_block(before, after, stride), nn.ReLU()])
                before = after
        network.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, num_classes)])
        super().__init__(network, input_shape, num_classes, mean, std, **kwargs)


def _block(before: int, after: int, stride: int) -> Residual:
    first = [_conv(before, after, stride), nn.BatchNorm2d(after), nn.ReLU()]
    return Residual(*first, _conv(after, after), nn.BatchNorm2d(after))


def _conv(before: int, after: int, stride: int = 1) -> nn.Conv2d:
    conv = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv
