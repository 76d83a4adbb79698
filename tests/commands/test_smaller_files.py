"""Test int8 and fp16: `cnnzoo export` writes them if they are nearly as accurate, else nothing."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers import done, refused

from cnnzoo.contract.card import Precision
from cnnzoo.contract.model_file import read_card
from cnnzoo.models.export import OnnxFile
from cnnzoo.models.variants import to_fp16

RUN = "runs/digits_cnn/version_0"
FAST = ("--corruption_images", "0")


@pytest.mark.slow
@pytest.mark.parametrize(("option", "precision"), [("--quantize", "int8"), ("--fp16", "fp16")])
def test_a_smaller_file_is_as_accurate(trained: Path, tmp_path: Path, digits: tuple, option: str, precision: Precision):
    value = {"int8": "int8", "fp16": "true"}[precision]
    text = done("export", "--config", RUN, option, value, "--zoo", str(tmp_path), *FAST, cwd=trained)
    assert f"Gate: {precision} " in text
    path = tmp_path / f"digits_cnn_{precision}/1/model.onnx"
    card = read_card(path)
    assert card.precision == precision
    types = {tensor.data_type for tensor in onnx.load(path).graph.initializer if np.prod(tensor.dims) > 64}
    assert {"int8": onnx.TensorProto.INT8, "fp16": onnx.TensorProto.FLOAT16}[precision] in types
    images, labels = digits
    accuracy = (OnnxFile(path.read_bytes()).answers(images)[0].argmax(1) == labels).double().mean().item()
    assert accuracy == pytest.approx(card.metrics["accuracy"], abs=1e-6)
    assert accuracy >= read_card(trained / "zoo/digits_cnn/1/model.onnx").metrics["accuracy"] - 0.01


def test_a_file_that_is_less_accurate_is_not_written(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def spoiled(proto: onnx.ModelProto) -> onnx.ModelProto:
        """Return the network in fp16, in which class 0 wins more often."""
        converted = to_fp16(proto)
        node = next(node for node in converted.graph.node if "logits" in node.output)
        node.output[:] = ["before"]
        offset = onnx.numpy_helper.from_array(np.eye(1, 10, dtype=np.float32) * 2, "offset")
        converted.graph.initializer.append(offset)
        place = list(converted.graph.node).index(node) + 1
        converted.graph.node.insert(place, onnx.helper.make_node("Add", ["before", "offset"], ["logits"]))
        return converted

    monkeypatch.setattr("cnnzoo.commands.export.to_fp16", spoiled)
    text = refused("export", "--config", RUN, "--fp16", "true", "--zoo", str(tmp_path / "zoo"), *FAST, cwd=trained)
    assert "more than 0.3% less. Nothing was written" in text
    assert not (tmp_path / "zoo").exists()


@pytest.mark.slow
def test_without_held_out_images_it_cannot_be_compared(tmp_path: Path):
    done("fit", "--config", "digits", "--trainer.max_epochs", "1", "--data.val_fraction", "0", cwd=tmp_path)
    text = refused("export", "--config", RUN, "--ckpt_path", "last", "--fp16", "true", *FAST, cwd=tmp_path)
    assert "fp16 is compared with fp32 on held-out images, and data.val_fraction is 0" in text
    assert not (tmp_path / "zoo").exists()


def test_one_precision_at_a_time(trained: Path):
    text = refused("export", "--config", RUN, "--fp16", "true", "--quantize", "int8", cwd=trained)
    assert "give one of them" in text
