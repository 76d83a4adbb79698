"""Export of a trained network to a self-describing ONNX file, with a parity check against torch."""

import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnxscript.optimizer import fold_constants, remove_unused_nodes
from torch import Tensor, nn

from ..contract.card import ModelCard
from ..contract.names import CARD_KEY, INPUT, LOGITS, PROBABILITIES
from ..contract.zoo_folder import ModelId, ZooFolder
from .classifier import ImageClassifier

OPSET = 18  # its IR version 10 is readable from ONNX Runtime 1.18 on
TOLERANCE = 1e-5  # of a probability, between torch and ONNX Runtime

Answers = tuple[Tensor, Tensor]
"""Logits and probabilities, float32 [N, classes] each."""


class ParityError(ValueError):
    """An exported file whose answers differ from torch's. The message names the images."""


class _Served(nn.Module):
    """A network with the outputs of the contract."""

    def __init__(self, model: ImageClassifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Answers:
        logits = self.model(images)
        return logits, (logits / self.model.temperature).softmax(dim=1)


def to_onnx(model: ImageClassifier) -> onnx.ModelProto:
    """Return the network in eval mode with the contract's input and outputs and a dynamic batch size."""
    served = _Served(model).cpu().eval()
    example = torch.zeros((2, *model.input_shape), dtype=torch.uint8)
    with warnings.catch_warnings():  # the exporter triggers deprecation warnings of its own library
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            served,
            (example,),
            dynamo=True,
            verbose=False,
            optimize=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[LOGITS, PROBABILITIES],
            dynamic_shapes={INPUT: {0: torch.export.Dim("batch")}},
        )
    assert program is not None
    # Not the exporter's optimize=True: it merges batch norms into convolutions, but pretrained.py needs each
    # parameter under its name. ONNX Runtime merges them when it loads the file.
    fold_constants(program.model)
    remove_unused_nodes(program.model)
    proto = program.model_proto
    graph = proto.graph
    for tensor in graph.initializer:  # pretrained.py needs the checkpoint's names
        tensor.name = tensor.name.removeprefix("model.")
    for entry in (graph, *graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output):
        entry.ClearField("metadata_props")  # stack traces, with paths of this machine
    for node in graph.node:
        for number, name in enumerate(node.input):
            node.input[number] = name.removeprefix("model.")
    return proto


@torch.inference_mode()
def torch_logits(model: ImageClassifier, images: Tensor, batch_size: int = 500) -> Tensor:
    """Return logits float32 [N, classes], on the CPU, for uint8 images [N, C, H, W], in eval mode."""
    model = model.eval()
    return torch.cat([model(batch.to(model.device)).cpu() for batch in images.split(batch_size)])


def torch_answers(model: ImageClassifier, images: Tensor) -> Answers:
    """Return torch's answers, computed on the CPU, for uint8 images [N, C, H, W]."""
    logits = torch_logits(model.cpu(), images)
    return logits, (logits / model.temperature).softmax(1)


class OnnxFile:
    """An exported network in ONNX Runtime, on the CPU."""

    def __init__(self, file: onnx.ModelProto | bytes) -> None:
        content = file if isinstance(file, bytes) else file.SerializeToString()
        self._session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])

    def answers(self, images: Tensor, batch_size: int = 100) -> Answers:
        """Return ONNX Runtime's answers for uint8 images [N, C, H, W]."""
        batches = [
            self._session.run([LOGITS, PROBABILITIES], {INPUT: batch.numpy()}) for batch in images.split(batch_size)
        ]
        logits, probabilities = (torch.from_numpy(np.concatenate(output)) for output in zip(*batches, strict=True))
        return logits, probabilities


def check_parity(answers: Answers, expected: Answers) -> float:
    """Compare ONNX Runtime's answers with torch's, and return the largest difference of a probability.

    Raises ParityError if any class differs, or any probability by more than TOLERANCE.
    """
    differing = np.flatnonzero(answers[0].argmax(1) != expected[0].argmax(1))
    difference = (answers[1] - expected[1]).abs().amax(1).numpy()
    worst = float(difference.max())
    if len(differing) or not worst <= TOLERANCE:  # written so that NaN fails
        over = np.flatnonzero(~(difference <= TOLERANCE))
        raise ParityError(
            f"ONNX Runtime and torch differ: another class for {len(differing)} of {len(difference)} images "
            f"({_first(differing)}), a probability off by more than {TOLERANCE:g} for {len(over)} "
            f"({_first(over)}), by {worst:.2g} at most. Nothing was written."
        )
    return worst


def with_card(proto: onnx.ModelProto, card: ModelCard) -> bytes:
    """Return the content of a zoo file: the network with its card."""
    del proto.metadata_props[:]
    proto.metadata_props.append(onnx.StringStringEntryProto(key=CARD_KEY, value=card.to_json()))
    proto.producer_name = "cnnzoo"
    proto.doc_string = card.summary
    content: bytes = proto.SerializeToString()
    return content


def write(proto: onnx.ModelProto, card: ModelCard, zoo: Path) -> Path:
    """Add the network with its card to a zoo folder, and return the file's path. Raises as `ZooFolder.add`."""
    return ZooFolder(zoo).add(ModelId(card.name, card.version), with_card(proto, card))


def _first(numbers: np.ndarray) -> str:
    listed = ", ".join(map(str, numbers[:10]))
    return f"numbers {listed}{', …' if len(numbers) > 10 else ''}" if len(numbers) else "none"
