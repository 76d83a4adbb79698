"""Networks for torch.hub, without an installed cnnzoo: `torch.hub.load(CLONE, "mnist_cnn", source="local")`."""

import sys
from collections.abc import Callable as _Callable  # torch.hub lists each callable without an underscore
from pathlib import Path as _Path
from types import ModuleType as _ModuleType
from typing import Any as _Any

dependencies = ["torch", "torchvision", "torchmetrics", "lightning", "onnx", "numpy", "pydantic", "typing_extensions"]

HERE = _Path(__file__).parent
if "cnnzoo" not in sys.modules:  # this clone, even if another version is installed; the rooms lie at the top
    package = _ModuleType("cnnzoo")
    package.__path__ = [str(HERE)]
    sys.modules["cnnzoo"] = package

import cnnzoo.models  # noqa: E402
from cnnzoo.contract.zoo_folder import SHIPPED as _SHIPPED  # noqa: E402
from cnnzoo.contract.zoo_folder import find_file as _find_file  # noqa: E402

if not HERE.samefile(_Path(cnnzoo.models.__file__).parents[1]):
    raise ImportError(f"{HERE} cannot be loaded: cnnzoo of another folder is in use; start a new process")


def _entry(name: str) -> _Callable[..., _Any]:
    def load(pretrained: bool = False, **kwargs: _Any) -> _Any:
        weights = _find_file(name, _SHIPPED) if pretrained else False
        return cnnzoo.models.create_model(name, pretrained=weights, **kwargs)

    load.__name__ = load.__qualname__ = name
    load.__doc__ = f"""Return {name}, a LightningModule that takes raw images, uint8 [N, C, H, W], and gives logits.

    Args:
        pretrained: load the weights of the newest version in this clone's zoo. Raises FileNotFoundError if it has
            none; the message names those that it has.
        kwargs: the network's own arguments; see cnnzoo.models.create_model.
    """
    return load


globals().update({name: _entry(name) for name in cnnzoo.models.list_models()})
