"""Read a zoo file: parse the ONNX, check its tensors, and return its model card."""

from itertools import chain
from pathlib import Path
from typing import Any

import onnx

from .card import ModelCard
from .names import CARD_KEY, FAMILIARITY, INPUT, ContractError
from .zoo_folder import ModelId, read_listed


def parse_onnx(content: bytes) -> onnx.ModelProto:
    """Parse a whole ONNX file. Raises ContractError for anything else, such as a file with weights in another one."""
    try:
        proto = onnx.load_model_from_string(content)
    except Exception:  # protobuf's error does not say what is wrong
        raise ContractError("it is not an ONNX file, or is damaged") from None
    if not proto.graph.node:
        raise ContractError("it is not an ONNX file, or has no network in it")
    if _refers_to_files(proto):  # its reader would look for them in the working directory
        raise ContractError("it keeps its weights in another file: export it again, as one file")
    return proto


def card_of(proto: onnx.ModelProto) -> ModelCard:
    """Return the model card in an ONNX file's metadata. Raises ContractError if there is none, or a wrong one."""
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    if CARD_KEY not in metadata:
        raise ContractError(f"it has no model card (no metadata entry {CARD_KEY!r}): it was not exported by cnnzoo")
    return ModelCard.from_json(metadata[CARD_KEY])


def read_model(content: bytes) -> ModelCard:
    """Return the card of a zoo file, given its content.

    Raises ContractError if the file is no ONNX file, has no valid card, or if its inputs and outputs are not those
    of the contract.
    """
    proto = parse_onnx(content)
    card = card_of(proto)
    _check_tensors(proto.graph, card)
    return card


def read_card(path: Path) -> ModelCard:
    """Return the card of the file at <model>/<version>/model.onnx.

    Raises what `read_listed` and `read_model` raise, and ContractError if the card names another model or version.
    """
    model_id = ModelId.from_path(path)
    card = read_model(read_listed(path))
    check_path(card, model_id)
    return card


def check_path(card: ModelCard, model_id: ModelId) -> None:
    """Raise ContractError if a card is not that of the model and version that its path names."""
    if (card.name, card.version) != model_id:
        expected = f"{model_id.name}/{model_id.version}"
        raise ContractError(f"its card says {card.name}/{card.version}, but its path is {expected}: move it there")


def _refers_to_files(message: Any) -> bool:
    """Return whether a tensor in a protobuf message has its values in another file.

    Weights, constants, branches and functions may hold such tensors.
    """
    if isinstance(message, onnx.TensorProto):
        return message.data_location == onnx.TensorProto.EXTERNAL
    parts = chain.from_iterable(
        [value] if hasattr(value, "ListFields") else value
        for field, value in message.ListFields()
        if field.message_type
    )
    return any(map(_refers_to_files, parts))


def _check_tensors(graph: onnx.GraphProto, card: ModelCard) -> None:
    weights = {tensor.name for tensor in graph.initializer}
    inputs = {value.name: _signature(value) for value in graph.input if value.name not in weights}
    if list(inputs) != [INPUT]:
        raise ContractError(f"its inputs are {list(inputs)}: expected [{INPUT!r}]")
    dtype, shape = inputs[INPUT]
    if dtype != "uint8" or shape[1:] != list(card.input_shape):
        raise ContractError(f"its input is {dtype} {shape[1:]}: its card says uint8 {list(card.input_shape)}")
    if isinstance(shape[0], int):
        raise ContractError(f"its batch size is fixed at {shape[0]}: expected a dynamic one")
    outputs = {value.name: _signature(value) for value in graph.output}
    if FAMILIARITY in outputs and FAMILIARITY not in card.outputs:
        raise ContractError(f"it has the output {FAMILIARITY!r}, of which its card says nothing: export it again")
    for name in card.outputs:
        if name not in outputs:
            raise ContractError(f"it has no output {name!r}: its outputs are {[other[:64] for other in outputs][:8]}")
        dtype, shape = outputs[name]
        expected: list[int] = [] if name == FAMILIARITY else [len(card.classes)]
        if dtype != "float32" or not shape or isinstance(shape[0], int) or shape[1:] != expected:
            batch_and_more = ", ".join(["batch", *map(str, expected)])
            raise ContractError(f"its output {name!r} is {dtype} {shape}: expected float32 [{batch_and_more}]")


def _signature(value: onnx.ValueInfoProto) -> tuple[str, list[Any]]:
    """Return the dtype and the shape of a tensor: an int for each fixed extent, a name or None for a dynamic one."""
    tensor = value.type.tensor_type
    names: dict[int, str] = {onnx.TensorProto.UINT8: "uint8", onnx.TensorProto.FLOAT: "float32"}
    dtype = names.get(tensor.elem_type, f"of ONNX's type {tensor.elem_type}")
    shape = [d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in tensor.shape.dim]
    return dtype, shape
