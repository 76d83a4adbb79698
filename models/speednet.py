"""`SpeedNet`: a fast recipe for CIFAR-10."""

import math
from collections.abc import Sequence
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from .arithmetic import Volume, layers
from .classifier import ImageClassifier
from .familiarity import Reading
from .muon import Muon
from .optimization import Schedule
from .residual import Residual
from .views import COUNT, UNSURE, Views, average_over_views, confidence

WHITENED = 5000 * 32 * 32  # pixels of the training images from which the whitening is computed, at most


class SpeedNet(ImageClassifier):
    """A whitening convolution and three groups of two convolutions: 1,972,792 parameters.

    After K. Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU" (arXiv 2404.00498), with the Muon optimizer of
    its successor. It differs from a usual network in this, for the paper's reasons:

    - The first layer is not trained. It whitens small patches of the training images with the eigenvectors of their
      covariance, each with both signs. This reduced the epochs to 94% from 45 to 21 (§3.2).
    - The other convolutions start as the identity on as many channels as possible (§3.3).
    - Biases learn much faster than kernels, 64 times in the paper (§3.4). Batch norm has no scales and a high
      momentum. Logits are divided by 9, which slows the last layer.
    - Images are mirrored in alternate epochs, not at random: Augmentation.flip alternate (§3.6).
    - Test images are classified in several views (§3.5). The paper averages logits, this network probabilities.

    Args:
        widths: channels of each group; each halves the image. More and wider groups cost time.
        convolutions: of each group. With three, the last two are a residual block (the paper's 96% network).
        whitening_kernel: extent of the patches that the first layer whitens.
        whitening_epsilon: added to the variances; the larger, the less are directions of low variance amplified.
        views: the views of a test image whose probabilities are averaged: one; flip: also its mirror image; or
            flip_shift: both, also moved by a pixel. Training, and the validation within it, use one.
        head_learning_rate: of the last layer.
        bias_learning_rate: of all biases.
        momentum: of the convolutions' orthogonalized steps.
        weight_decay: of head and biases, a step at the highest learning rate. The convolutions need none.
        learning_rate: of the convolutions. The other arguments: see ImageClassifier.
    """

    LOGIT_SCALE = 1 / 9
    sure: Tensor

    def __init__(
        self,
        widths: Sequence[int] = (64, 256, 256),
        convolutions: Literal[2, 3] = 2,
        whitening_kernel: int = 2,
        whitening_epsilon: float = 5e-4,
        views: Views = "one",
        input_shape: tuple[int, int, int] = (3, 32, 32),
        num_classes: int = 10,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        learning_rate: float = 0.24,
        head_learning_rate: float = 1.7,
        bias_learning_rate: float = 106.0,
        momentum: float = 0.6,
        weight_decay: float = 0.025,
        schedule: Schedule = "linear",
        warmup: float = 0.0,
        label_smoothing: float = 0.2,
        class_weights: Literal["balanced"] | None = None,
        teacher: str | None = None,
        compile: bool = False,
    ) -> None:
        if not widths or min(widths) < 1:
            raise ValueError(f"widths is {list(widths)}: give the channels of each group, 1 or more")
        if min(head_learning_rate, bias_learning_rate) <= 0:
            raise ValueError("head_learning_rate and bias_learning_rate divide weight_decay: give rates above 0")
        depth, height, width = input_shape
        patch = depth * whitening_kernel**2
        whitening = nn.Conv2d(depth, 2 * patch, whitening_kernel)
        whitening.weight.requires_grad_(False)
        nn.init.zeros_(whitening.weight)  # `whiten` sets it
        nn.init.zeros_(whitening.bias)  # type: ignore[arg-type]
        network = nn.Sequential(whitening, nn.GELU())
        for before, after in zip((2 * patch, *widths), widths, strict=False):
            network.extend([_conv(before, after), nn.MaxPool2d(2), _norm(after), nn.GELU()])
            rest = [layer for _ in range(convolutions - 1) for layer in (_conv(after, after), _norm(after), nn.GELU())]
            network.extend(rest if convolutions == 2 else [Residual(*rest[:-1]), rest[-1]])
        left = layers(network, Volume(width, height, depth))[-1].output
        network.extend([nn.MaxPool2d((left.height, left.width)), nn.Flatten()])
        network.append(nn.Linear(widths[-1], num_classes, bias=False))
        super().__init__(
            network, input_shape, num_classes, mean, std, learning_rate=learning_rate, momentum=momentum,
            weight_decay=weight_decay, schedule=schedule, warmup=warmup, label_smoothing=label_smoothing,
            class_weights=class_weights, teacher=teacher, compile=compile,
        )  # fmt: skip
        self.views = views
        # Fitted at export, as the temperature; until then every image is looked at in all views.
        self.register_buffer("sure", torch.tensor(math.inf), persistent=False)
        self.whitening_epsilon = whitening_epsilon
        self.head_learning_rate = head_learning_rate
        self.bias_learning_rate = bias_learning_rate

    def logits_in_training(self, images: Tensor) -> Tensor:
        return self.LOGIT_SCALE * super().logits_in_training(images)

    def reading(self, images: Tensor) -> Reading:
        statistics, logits = super().reading(images)
        return statistics, self.LOGIT_SCALE * logits

    def with_views(self, images: Tensor, logits: Tensor) -> Tensor:
        return average_over_views(self.logits_in_training, images, logits, self.views, self.sure)

    @property
    def views_an_image(self) -> float:
        return 1 + (COUNT[self.views] - 1) * (UNSURE if self.sure.isfinite() else 1.0)

    def reset_fitted(self) -> None:
        super().reset_fitted()
        self.sure.fill_(math.inf)

    def fit_views(self, logits: Tensor) -> None:
        self.sure.fill_(confidence(logits).quantile(UNSURE))

    def setup(self, stage: str) -> None:
        super().setup(stage)
        data = getattr(self.trainer, "datamodule", None)
        if stage == "fit" and not self._whitening.weight.any():
            if data is None:
                raise ValueError(
                    "SpeedNet whitens patches of training images and got none: fit it with an ImageDataModule"
                )
            train = data.splits["train"]
            count = min(5000, max(1, WHITENED // math.prod(self.input_shape[1:])))
            self.whiten(train[torch.arange(0, len(train), max(1, len(train) // count))][0])

    @torch.no_grad()
    def whiten(self, images: Tensor) -> None:
        """Set the first layer so that patches of images [N, C, H, W] become uncorrelated with variance 1.

        Directions that hardly vary are not amplified to variance 1.
        """
        conv = self._whitening
        x = (images.float() / 255 - self.mean) / self.std
        patches = F.unfold(x, conv.kernel_size).transpose(1, 2).flatten(0, 1)
        variances, directions = torch.linalg.eigh(torch.cov(patches.T))
        filters = directions.T.view(-1, *conv.weight.shape[1:]) / (variances + self.whitening_epsilon).sqrt().view(
            -1, 1, 1, 1
        )
        conv.weight.copy_(torch.cat([filters, -filters]))

    @property
    def _whitening(self) -> nn.Conv2d:
        return cast(nn.Conv2d, self.network[0])

    def make_optimizer(self) -> Optimizer:
        kernels = [p for p in self.network.parameters() if p.ndim == 4 and p.requires_grad]
        (head,) = (p for p in self.network.parameters() if p.ndim == 2)
        biases = [p for name, p in self.named_parameters() if name.endswith("bias")]
        return Muon([
            {"params": kernels, "lr": self.learning_rate, "momentum": self.momentum, "orthogonal": True},
            self._plain([head], self.head_learning_rate),
            self._plain(biases, self.bias_learning_rate),
        ])  # fmt: skip

    def _plain(self, parameters: list[nn.Parameter], rate: float) -> dict[str, Any]:
        return {"params": parameters, "lr": rate, "momentum": 0.85, "weight_decay": self.weight_decay / rate}


def _conv(before: int, after: int) -> nn.Conv2d:
    conv = nn.Conv2d(before, after, 3, padding=1, bias=False)
    nn.init.dirac_(conv.weight.data[:before])
    return conv


def _norm(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels, momentum=0.4)
    norm.weight.requires_grad_(False)
    return norm
