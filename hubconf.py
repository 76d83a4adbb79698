"""Networks for torch.hub, without an installed cnnzoo: `torch.hub.load(REPOSITORY, "mnist_cnn", pretrained=True)`."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

dependencies = ["torch", "torchvision", "torchmetrics", "lightning", "onnx", "numpy", "pydantic", "typing_extensions"]

HERE = Path(__file__).parent
if "cnnzoo" not in sys.modules:  # this clone, even if another version is installed; the rooms lie at the top
    package = ModuleType("cnnzoo")
    package.__path__ = [str(HERE)]
    sys.modules["cnnzoo"] = package

import cnnzoo.models  # noqa: E402
from cnnzoo.contract.zoo_folder import SHIPPED, find_file  # noqa: E402

if not HERE.samefile(Path(cnnzoo.models.__file__).parents[1]):
    raise ImportError(f"{HERE} cannot be loaded: cnnzoo of another folder is in use; start a new process")


def _entry(name: str) -> Callable[..., Any]:
    def load(pretrained: bool = False, **kwargs: Any) -> Any:
        weights = find_file(name, SHIPPED) if pretrained else False
        return cnnzoo.models.create_model(name, pretrained=weights, **kwargs)

    load.__name__ = load.__qualname__ = name
    load.__doc__ = f"""Return {name}, a LightningModule that takes raw images, uint8 [N, C, H, W], and gives logits.

    Args:
        pretrained: load the weights of the newest version in this repository's zoo.
        kwargs: the network's own arguments; see cnnzoo.models.create_model.
    """
    return load


globals().update({name: _entry(name) for name in cnnzoo.models.list_models()})
