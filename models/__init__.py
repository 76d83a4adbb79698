"""The networks, by name.

>>> from cnnzoo.models import create_model, list_models
>>> list_models()
['cifar10_cnn', 'cifar10_speednet', 'digits_cnn', 'mnist_cnn', 'mnist_speednet']
>>> create_model("mnist_cnn", dropout=0.25)
"""

import difflib
import os
from pathlib import Path
from typing import Any

from .cifar10_cnn import CIFAR10CNN
from .classifier import ImageClassifier
from .digits_cnn import DigitsCNN
from .mnist_cnn import MNISTCNN
from .speednet import SpeedNet

__all__ = ["CIFAR10CNN", "MNISTCNN", "DigitsCNN", "ImageClassifier", "SpeedNet", "create_model", "list_models"]

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # as in serve/__init__.py

# The class of each and how it differs from the class' own defaults.
_NETWORKS: dict[str, tuple[type[ImageClassifier], dict[str, Any]]] = {
    "cifar10_cnn": (CIFAR10CNN, {}),
    "cifar10_speednet": (SpeedNet, {}),
    "digits_cnn": (DigitsCNN, {}),
    "mnist_cnn": (MNISTCNN, {}),
    "mnist_speednet": (SpeedNet, {"input_shape": (1, 28, 28), "widths": (32, 64, 128)}),
}
CLASSES = {network.__name__: network for network, _ in _NETWORKS.values()}


def list_models() -> list[str]:
    """The names that `create_model` takes."""
    return sorted(_NETWORKS)


def create_model(name: str, pretrained: bool | str | Path = False, **kwargs: Any) -> ImageClassifier:
    """A network of the zoo.

    Args:
        name: one of `list_models()`.
        pretrained: True for the weights of the newest version under this name in the zoo folder
            (`CNNZOO_ZOO`, else `zoo/`) or, if there is none, of those that cnnzoo ships; or the path of an
            exported model.onnx.
        kwargs: the network's own arguments; with pretrained weights they default to those of the
            run that made the file. With another num_classes the last layer is new, and the rest loaded.

    Raises:
        ValueError: no such name, or weights that do not fit; FileNotFoundError: no such file.
    """
    if name not in _NETWORKS:
        close = difflib.get_close_matches(name, _NETWORKS, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"no model is called {name!r}{hint} (there are {', '.join(list_models())})")
    network, defaults = _NETWORKS[name]
    if not pretrained:
        return network(**{**defaults, **kwargs})
    from .pretrained import load

    return load(network, name, None if pretrained is True else Path(pretrained), kwargs, others=_NETWORKS)
