"""The metadata of an ONNX file without the file: what names the models of a large zoo in no time.

An ONNX file is a protobuf message (ModelProto, onnx.proto of ONNX 1.x). Its fields are walked over, the graph
with the weights among them, and only field 14, `metadata_props`, is read.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path

_METADATA_PROPS = 14  # of ModelProto; each a StringStringEntryProto with 1: key, 2: value
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # protobuf's wire types
_MAX_FIELDS = 10_000  # at the top of a file, whose weights and operators are one field
_MAX_ENTRY = 2**20  # bytes; a card has a few thousand


def read_metadata(path: Path) -> dict[str, str]:
    """The entries of `metadata_props`. Raises ValueError for a file that is no ONNX file, OSError if unreadable."""
    if path.stat().st_size == 0:
        raise ValueError("it is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return dict(_entry(data[start:end]) for field, start, end in _fields(data) if field == _METADATA_PROPS)


def _entry(message: bytes) -> tuple[str, str]:
    parts = {field: message[start:end].decode() for field, start, end in _fields(message)}
    return parts.get(1, ""), parts.get(2, "")


def _fields(data: bytes | mmap.mmap) -> Iterator[tuple[int, int, int]]:
    """(number, start, end) of every field of a message that has a length; the others are passed over."""
    at = count = 0
    while at < len(data):
        count += 1
        if count > _MAX_FIELDS:
            raise ValueError(f"it is no ONNX file of the zoo's: it has more than {_MAX_FIELDS:,} parts")
        tag, at = _varint(data, at)
        field, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            _, at = _varint(data, at)
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        elif kind == _BYTES:
            length, start = _varint(data, at)
            at = start + length
            if field == _METADATA_PROPS and length > _MAX_ENTRY:
                raise ValueError(f"its metadata has an entry of {length:,} bytes")
            yield field, start, at
        else:
            raise ValueError("it is no ONNX file")
    if at != len(data):
        raise ValueError("it is no ONNX file, or a part of one")


def _varint(data: bytes | mmap.mmap, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 64:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("it is no ONNX file, or a part of one")
