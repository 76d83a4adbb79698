"""Test the zoo folder against the documented rules of a Triton model repository.

docs/user_guide/model_repository.md and model_configuration.md ("Auto-Generated Model Configuration") of
github.com/triton-inference-server/server, and the ONNX Runtime backend's README.
"""

import re
from pathlib import Path

import onnx
import pytest
from helpers import copy_of_export, exported, write

from cnnzoo.contract.card import ModelCard
from cnnzoo.models import list_models

# ONNX types that the ONNX Runtime backend maps to Triton's; others cannot be served.
TYPES = {"BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FLOAT16", "FLOAT", "DOUBLE",
         "STRING"}  # fmt: skip


QUICK = ("digits_cnn", "cifar10_cnn")  # whose export takes no second


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in list_models()],
)
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    shape = exported(request.param)[0].input_shape
    card = ModelCard(request.param, 1, tuple(map(str, range(10))), shape)  # type: ignore[arg-type]
    return write(copy_of_export(request.param), card, tmp_path_factory.mktemp("zoo"))


def test_the_layout_is_model_version_file(path: Path):
    assert path.name == "model.onnx"
    assert re.fullmatch(r"[1-9]\d*", path.parent.name), "versions whose names begin with 0 are ignored"
    assert re.fullmatch(r"[\w.-]+", path.parent.parent.name)
    assert [p.name for p in path.parent.parent.iterdir()] == [path.parent.name]


def test_the_configuration_completes_itself(path: Path):
    """Triton adds batching if the first dimension of every input and output is dynamic, and no other is."""
    graph = onnx.load(path).graph
    weights = {i.name for i in graph.initializer}
    for value in [*(i for i in graph.input if i.name not in weights), *graph.output]:
        tensor = value.type.tensor_type
        assert onnx.TensorProto.DataType.Name(tensor.elem_type) in TYPES
        batch, *rest = tensor.shape.dim
        assert batch.dim_param
        assert all(d.dim_value > 0 for d in rest)
