"""Export of a trained network to a self-describing ONNX file, with a parity check against torch."""

import logging
import math
import warnings

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnxscript.optimizer import fold_constants, remove_unused_nodes
from torch import Tensor, nn

from ..contract.card import ModelCard
from ..contract.names import CARD_KEY, FAMILIARITY, INPUT, LOGITS, PROBABILITIES
from .classifier import ImageClassifier
from .familiarity import Reading

OPSET = 18  # its IR version 10 is readable from ONNX Runtime 1.18 on
TOLERANCE = 1e-5  # of a probability, between torch and ONNX Runtime
FAMILIARITY_TOLERANCE = 1e-4
AT_ONCE = 500 * 64 * 64  # pixels of the images that torch answers at once

Answers = tuple[Tensor, ...]
"""Logits and probabilities, float32 [N, classes] each, and familiarity, float32 [N], if the network has it."""


class ParityError(ValueError):
    """An exported file whose answers differ from torch's. The message names the images."""


class _Served(nn.Module):
    """A network with the outputs of the contract."""

    def __init__(self, model: ImageClassifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Answers:
        return self.model.answers(images)


def to_onnx(model: ImageClassifier) -> onnx.ModelProto:
    """Return the network in eval mode with the contract's input and outputs and a dynamic batch size."""
    served = _Served(model.cpu()).eval()  # not _Served(model).cpu(), after which model.device is still the GPU
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
            output_names=[LOGITS, PROBABILITIES, *([FAMILIARITY] if model.familiarity else [])],
            dynamic_shapes={INPUT: {0: torch.export.Dim("batch")}},
        )
    assert program is not None
    # Not the exporter's optimize=True: it merges batch norms into convolutions, but pretrained.py needs each
    # parameter under its name. ONNX Runtime merges them when it loads the file.
    # Nor are dense weights transposed, for the same reason.
    fold_constants(program.model, should_fold=lambda node: False if node.op_type == "Transpose" else None)
    remove_unused_nodes(program.model)
    proto = program.model_proto
    graph = proto.graph
    _name_as_in_checkpoints(graph)
    for entry in (graph, *graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output):
        entry.ClearField("metadata_props")  # stack traces, with paths of this machine
    return proto


def _name_as_in_checkpoints(graph: onnx.GraphProto) -> None:
    """Give each parameter its name in a checkpoint, which pretrained.py needs, and no other value that name."""
    names = {tensor.name: tensor.name.removeprefix("model.") for tensor in graph.initializer}
    taken = set(names.values())
    names |= {value: f"{value}_value" for node in graph.node for value in node.output if value in taken}
    for entry in (*graph.initializer, *graph.value_info):
        entry.name = names.get(entry.name, entry.name)
    for node in graph.node:
        for values in (node.input, node.output):
            for number, name in enumerate(values):
                values[number] = names.get(name, name)


@torch.inference_mode()
def torch_answers(model: ImageClassifier, images: Tensor) -> Answers:
    """Return torch's answers, on the CPU, for uint8 images [N, C, H, W], in eval mode."""
    model = model.eval()
    batches = [model.answers(batch.to(model.device)) for batch in images.split(_at_once(images))]
    return tuple(torch.cat(output).cpu() for output in zip(*batches, strict=True))


@torch.inference_mode()
def readings(model: ImageClassifier, images: Tensor) -> Reading:
    """Return `ImageClassifier.reading`, on the CPU, for uint8 images [N, C, H, W], in eval mode."""
    model = model.eval()
    found = [model.reading(batch.to(model.device)) for batch in images.split(_at_once(images))]
    statistics = [torch.cat(layer).cpu() for layer in zip(*(values for values, _ in found), strict=True)]
    return statistics, torch.cat([logits for _, logits in found]).cpu()


def _at_once(images: Tensor) -> int:
    """Return how many of the images to compute at once: fewer large ones, whose layers take gigabytes."""
    return min(500, max(1, AT_ONCE // math.prod(images.shape[2:])))


class OnnxFile:
    """An exported network in ONNX Runtime, on the CPU."""

    def __init__(self, file: onnx.ModelProto | bytes) -> None:
        content = file if isinstance(file, bytes) else file.SerializeToString()
        self._session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
        there = {output.name for output in self._session.get_outputs()}
        self._outputs = [name for name in (LOGITS, PROBABILITIES, FAMILIARITY) if name in there]

    def answers(self, images: Tensor, batch_size: int = 100) -> Answers:
        """Return ONNX Runtime's answers for uint8 images [N, C, H, W]."""
        batches = [self._session.run(self._outputs, {INPUT: batch.numpy()}) for batch in images.split(batch_size)]
        return tuple(torch.from_numpy(np.concatenate(output)) for output in zip(*batches, strict=True))


def check_parity(answers: Answers, expected: Answers) -> float:
    """Compare ONNX Runtime's answers with torch's, and return the largest difference of a probability.

    Raises ParityError if any class differs, any probability by more than TOLERANCE, or any familiarity by more than
    FAMILIARITY_TOLERANCE.
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
    familiarity = (answers[2] - expected[2]).abs().max().item() if len(expected) > 2 else 0.0
    if not familiarity <= FAMILIARITY_TOLERANCE:
        raise ParityError(
            f"ONNX Runtime and torch differ: familiarity by up to {familiarity:.2g}. Nothing was written."
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


def _first(numbers: np.ndarray) -> str:
    listed = ", ".join(map(str, numbers[:10]))
    return f"numbers {listed}{', …' if len(numbers) > 10 else ''}" if len(numbers) else "none"
