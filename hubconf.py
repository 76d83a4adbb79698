"""The networks for torch.hub: `torch.hub.load(REPOSITORY, "mnist_cnn", pretrained=True)`, also if not installed."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

dependencies = ["torch", "torchvision", "torchmetrics", "lightning", "onnx", "onnxruntime", "onnxscript", "numpy",
                "PIL", "scipy", "sklearn", "pydantic", "rich"]  # fmt: skip

if "cnnzoo" not in sys.modules and importlib.util.find_spec("cnnzoo") is None:  # the rooms lie at the top
    package = ModuleType("cnnzoo")
    package.__path__ = [str(Path(__file__).parent)]
    sys.modules["cnnzoo"] = package

from cnnzoo.models import create_model, list_models  # noqa: E402


def _entry(name: str) -> Callable[..., Any]:
    def load(pretrained: bool = False, **kwargs: Any) -> Any:
        return create_model(name, pretrained=pretrained, **kwargs)

    load.__name__ = load.__qualname__ = name
    load.__doc__ = f"""Return {name}, a LightningModule that takes raw images, uint8 [N, C, H, W], and gives logits.

    Args:
        pretrained: load the weights of the newest version in the repository's zoo.
        kwargs: the network's own arguments; see cnnzoo.models.create_model.
    """
    return load


globals().update({name: _entry(name) for name in list_models()})
