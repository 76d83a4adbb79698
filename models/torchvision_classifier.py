"""`TorchvisionClassifier`: any classification network of torchvision, from random weights or pretrained ones."""

import inspect
import warnings
from collections.abc import Sequence
from typing import Any
from urllib.error import URLError

import torch
import torchvision
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torchvision.models import WeightsEnum

from ..contract.names import did_you_mean
from .classifier import ImageClassifier
from .familiarity import Reading, channel_statistics, texture
from .head import last_layer, replace_head
from .optimization import make_optimizer

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and std of its pixels
THAWING = 4  # epochs after the frozen ones, in which the layers start to train, from the last to the first
COLORS = 3  # channels that all of these networks take


class TorchvisionClassifier(ImageClassifier):
    """A classification network of torchvision, with a new last layer.

    Args:
        architecture: a name in `torchvision.models.list_models(module=torchvision.models)`, such as resnet18.
        weights: of torchvision, with which training starts: DEFAULT, or a name such as IMAGENET1K_V1; null for random
            ones. They are downloaded once, into TORCH_HOME, when a training starts that continues no other.
        input_shape: (channels, height, width) of one image. The network sees a grey one in three equal channels.
        num_classes: number of classes.
        mean: see ImageClassifier; by default that of the weights, or of ImageNet.
        std: see ImageClassifier; by default that of the weights, or of ImageNet.
        freeze: number of epochs in which the last layer alone is trained. In each of the next four, another quarter of
            the other layers starts, from the last to the first.
        backbone_rate: learning rate of all layers but the last, as a share of the last one's.
        kwargs: optimizer and schedule, see ImageClassifier.

    Raises ValueError for unknown names, and for images that the architecture cannot take.
    """

    def __init__(
        self,
        architecture: str = "resnet18",
        weights: str | None = "DEFAULT",
        input_shape: tuple[int, int, int] = (3, 224, 224),
        num_classes: int = 10,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        freeze: int = 0,
        backbone_rate: float = 1.0,
        **kwargs: Any,
    ) -> None:
        if freeze < 0 or not 0 <= backbone_rate <= 1:
            raise ValueError(f"freeze is {freeze} and backbone_rate {backbone_rate}: give epochs, and a share 0-1")
        found = find_weights(architecture, weights)
        preset = found.transforms() if found else None
        mean = mean or _in_channels(preset.mean if preset else IMAGENET[0], input_shape)
        std = std or _in_channels(preset.std if preset else IMAGENET[1], input_shape)
        backbone = make_backbone(architecture, input_shape, found is not None)
        replace_head(backbone, num_classes)
        network = nn.Sequential(backbone) if input_shape[0] == COLORS else nn.Sequential(_Colors(), backbone)
        super().__init__(network, input_shape, num_classes, mean, std, **kwargs)
        self.architecture = architecture
        self.weights = found
        self.frozen_epochs = freeze
        self.backbone_rate = backbone_rate
        self._read = _layers_to_read(backbone)

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if stage == "fit" and self.weights and not self.trainer.ckpt_path:
            load_backbone(self.network[-1], self.architecture, self.weights)
            self.weights = None  # a second fit goes on

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        self.weights = None  # training starts from these
        return super().load_state_dict(*args, **kwargs)

    def reading(self, images: Tensor) -> Reading:
        """Return what familiarity is computed from: the texture, statistics of two convolutions, and logits."""
        statistics: list[Tensor] = []
        hooks = [
            layer.register_forward_hook(lambda layer, inputs, output: statistics.append(channel_statistics(output)))
            for layer in self._read
        ]
        try:
            logits = self.logits_in_training(images)
        finally:
            for hook in hooks:
                hook.remove()
        return [texture(images), *statistics], logits

    def make_optimizer(self) -> Optimizer:
        """Return the optimizer of all parameters, in which the last layer has its own learning rate."""
        head = {id(parameter) for parameter in last_layer(self.network)[1].parameters()}
        parts = [[p for p in self.parameters() if (id(p) in head) is in_head] for in_head in (True, False)]
        rates = (self.learning_rate, self.learning_rate * self.backbone_rate)
        of_head, of_rest = (
            make_optimizer(self.optimizer_name, part, rate, self.momentum, self.weight_decay, self.fused)
            for part, rate in zip(parts, rates, strict=True)
        )
        for group in of_rest.param_groups:
            of_head.add_param_group(group)
        return of_head

    def on_train_start(self) -> None:
        super().on_train_start()
        wrapper = self.trainer.model
        if self.frozen_epochs and isinstance(wrapper, DistributedDataParallel) and not wrapper.find_unused_parameters:
            raise ValueError(
                "model.freeze on several devices needs --trainer.strategy ddp_find_unused_parameters_true, "
                "or give --trainer.devices 1"
            )
        self.freeze_layers()  # a training that goes on within an epoch does not start it

    def on_train_epoch_start(self) -> None:
        self.freeze_layers()

    def freeze_layers(self) -> None:
        """Freeze the layers that do not train in this epoch. Their batch norms keep their statistics."""
        if not self.frozen_epochs:
            return
        _, head = last_layer(self.network)
        rest = [m for m in self.network.modules() if m is not head and list(m.parameters(recurse=False))]
        started = min(max(0, self.current_epoch - self.frozen_epochs + 1), THAWING)
        first = len(rest) * (THAWING - started) // THAWING
        for number, module in enumerate(rest):
            module.train(number >= first)
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(number >= first)


class _Colors(nn.Module):
    """Module that repeats a grey image in three channels."""

    def forward(self, x: Tensor) -> Tensor:
        return x.expand(-1, COLORS, -1, -1)


def find_weights(architecture: str, weights: str | None) -> WeightsEnum | None:
    """Return torchvision's entry of pretrained weights; None for None. Raises ValueError for unknown names."""
    known = torchvision.models.list_models(module=torchvision.models)
    if architecture not in known:
        hint = did_you_mean(architecture, known) or f": expected one of {', '.join(known)}"
        raise ValueError(f"torchvision has no architecture {architecture!r}{hint}")
    if weights is None:
        return None
    entries = torchvision.models.get_model_weights(architecture)
    if weights not in entries.__members__:
        raise ValueError(f"{architecture} has no weights {weights!r}: expected one of {', '.join(entries.__members__)}")
    return entries[weights]


def make_backbone(architecture: str, input_shape: tuple[int, int, int], pretrained: bool) -> nn.Module:
    """Return the network with random weights, for images of this size, and without auxiliary classifiers.

    Args:
        pretrained: True if torchvision's weights are loaded next. GoogLeNet and Inception then rescale their input.

    Raises ValueError if the architecture cannot take images of this size.
    """
    _, height, width = input_shape
    default = _build(architecture)
    # Some networks are built for one size of image, or with classifiers in their middle for training.
    wanted = {
        "image_size": height, "input_size": (height, width), "aux_logits": False, "transform_input": pretrained,
    }  # fmt: skip
    taken = inspect.signature(type(default)).parameters
    try:
        network = _build(architecture, **{key: value for key, value in wanted.items() if key in taken})
        image = torch.zeros((1, COLORS, height, width), device=next(network.parameters()).device)
        with torch.no_grad():
            network.eval()(image)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise ValueError(f"{architecture} cannot take images of {height} × {width} pixels: {error}") from None
    return network.train()


def _build(architecture: str, **kwargs: Any) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # GoogLeNet and Inception announce other initial weights
        try:
            network: nn.Module = torchvision.models.get_model(architecture, weights=None, **kwargs)
        except NotImplementedError:  # RegNet computes with tensors, which the meta device cannot
            with torch.device("cpu"):
                network = torchvision.models.get_model(architecture, weights=None, **kwargs)
    return network.to(torch.get_default_device())


def load_backbone(network: nn.Module, architecture: str, weights: WeightsEnum) -> None:
    """Load pretrained weights into all layers but the last.

    Raises ValueError without internet, if they are not in the cache, or if they do not fit.
    """
    try:
        state = weights.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except (URLError, OSError) as error:
        cache = f"{torch.hub.get_dir()}/checkpoints"
        raise ValueError(
            f"the weights {weights.name} of {architecture} are not in {cache} and cannot be downloaded ({error}): put "
            f"{weights.url} there (TORCH_HOME sets another folder), or train from random weights: "
            "--model.weights null --model.freeze 0 --model.backbone_rate 1"
        ) from None
    head, _ = last_layer(network)
    own = {key: value for key, value in network.state_dict().items() if not key.startswith(f"{head}.")}
    differing = [key for key, value in own.items() if key not in state or state[key].shape != value.shape]
    if differing:
        names = ", ".join(differing[:5])
        raise ValueError(f"the weights {weights.name} do not fit this {architecture}: {names} differ")
    network.load_state_dict({key: state[key] for key in own}, strict=False)


def _layers_to_read(network: nn.Module) -> list[nn.Module]:
    """Return the convolutions a quarter and half of the way through the network."""
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    return [convolutions[n] for n in sorted({len(convolutions) // 4, len(convolutions) // 2})]


def _in_channels(values: Sequence[float], input_shape: tuple[int, int, int]) -> tuple[float, ...]:
    """Return a value for each channel; for grey images their mean."""
    return tuple(values) if input_shape[0] == len(values) else (sum(values) / len(values),)
