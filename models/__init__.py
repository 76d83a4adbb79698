"""The networks, by name.

>>> from cnnzoo.models import create_model, list_models
>>> list_models()
['cifar10_cnn', ...
>>> create_model("mnist_cnn", dropout=0.25)

To add one: write its class, import it here, and add it to `NETWORKS`.
"""

import os
from pathlib import Path
from typing import Any

from ..contract.names import did_you_mean
from .classifier import ImageClassifier as ImageClassifier
from .lecture import CIFAR10CNN as CIFAR10CNN
from .lecture import MNISTCNN as MNISTCNN
from .lecture import DigitsCNN as DigitsCNN
from .resnet import ResNet as ResNet
from .speednet import SpeedNet as SpeedNet
from .torchvision_classifier import TorchvisionClassifier as TorchvisionClassifier

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # as in serve/__init__.py

# Name: class, and arguments that differ from the class' defaults.
NETWORKS: dict[str, tuple[type[ImageClassifier], dict[str, Any]]] = {
    "cifar10_cnn": (CIFAR10CNN, {}),
    "cifar10_resnet20": (ResNet, {}),
    "cifar10_speednet": (SpeedNet, {}),
    "digits_cnn": (DigitsCNN, {}),
    "mnist_cnn": (MNISTCNN, {}),
    "mnist_speednet": (SpeedNet, {"input_shape": (1, 28, 28), "widths": (32, 64, 128)}),
    "mnist_tiny": (ResNet, {"input_shape": (1, 28, 28), "depth": 8, "width": (8, 14, 18)}),
    "torchvision": (TorchvisionClassifier, {}),
}
CLASSES = {network.__name__: network for network, _ in NETWORKS.values()}


def list_models() -> list[str]:
    """Return the names that `create_model` takes."""
    return sorted(NETWORKS)


def create_model(name: str, pretrained: bool | str | Path = False, **kwargs: Any) -> ImageClassifier:
    """Return a network of the zoo.

    Args:
        name: one of `list_models()`.
        pretrained: True for the newest version of this name in the folder `CNNZOO_ZOO`; without that variable in
            `zoo/`, or if there is none, the version that comes with cnnzoo; or the path of an exported model.onnx.
        kwargs: the network's own arguments. With pretrained weights they default to those of the training run. With
            another num_classes the last layer is new, and the other weights are loaded.

    Raises:
        ValueError: an unknown name, or weights that do not fit.
        FileNotFoundError: no such file.
    """
    if name not in NETWORKS:
        hint = did_you_mean(name, NETWORKS)
        raise ValueError(f"no model is called {name!r}{hint} (there are {', '.join(list_models())})")
    network, defaults = NETWORKS[name]
    if not pretrained:
        return network(**{**defaults, **kwargs})
    from .pretrained import load

    return load(network, name, None if pretrained is True else Path(pretrained), kwargs, others=NETWORKS)
