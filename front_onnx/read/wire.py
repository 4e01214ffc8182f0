"""The protobuf wire format, as far as it takes to leave large weights in their file.

Nested paths used here: ModelProto.graph = 7, GraphProto.initializer = 5, TensorProto.raw_data = 9. `cut`
takes the bytes of large raw_data fields out of a model, `splice` computes where they go in a model to be
written. Everything else is passed on byte for byte, unknown fields too.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["Hole", "MessageLayout", "WireError", "cut", "splice"]

GRAPH, INITIALIZER, RAW_DATA = 7, 5, 9
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_TENSOR_FIELDS = 8 << 20  # a tensor with its values as unpacked fields larger than this is not scanned

Buffer = bytes | mmap.mmap


class WireError(ValueError):
    """The bytes are not a well-formed protobuf message; the text says where."""


class Hole(NamedTuple):
    """Bytes left in the file: `length` bytes from `offset`."""

    offset: int
    length: int


class _Field(NamedTuple):
    number: int
    wire_type: int
    start: int  # of the tag
    payload: int  # of the content
    end: int


def _varint(data: Buffer, at: int, end: int) -> tuple[int, int]:
    """The varint at `at` and the position after it."""
    value = shift = 0
    while at < end:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise WireError(f"a number at byte {at} is too long")
    raise WireError(f"the data end inside a number at byte {end}")


def _encode(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _header(number: int, length: int) -> bytes:
    """Tag and length of a length-delimited field."""
    return _encode(number << 3 | _BYTES) + _encode(length)


def _fields(data: Buffer, start: int, end: int) -> Iterator[_Field]:
    """The fields of the message in data[start:end].

    Raises:
        WireError: a field runs past the end, or its tag is none of protobuf's.
    """
    at = start
    while at < end:
        tag, payload = _varint(data, at, end)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == _BYTES:
            length, payload = _varint(data, payload, end)
            stop = payload + length
        elif wire_type == _VARINT:
            _, stop = _varint(data, payload, end)
        elif wire_type == _FIXED32:
            stop = payload + 4
        elif wire_type == _FIXED64:
            stop = payload + 8
        else:
            raise WireError(f"byte {at} starts no known kind of field")
        if not 0 < number < 1 << 29:
            raise WireError(f"byte {at} starts a field with the impossible number {number}")
        if stop > end:
            raise WireError(f"the field at byte {at} needs {stop - at} bytes where {end - at} are left")
        yield _Field(number, wire_type, at, payload, stop)
        at = stop


def cut(data: Buffer, limit: int) -> tuple[bytes, list[Hole | None]]:
    """A ModelProto without the raw_data of its graph's initializers longer than `limit` bytes.

    Returns:
        The remaining message, and for every initializer in order the hole left by its raw_data, or None.

    Raises:
        WireError: `data` is no well-formed message.
    """
    holes: list[Hole | None] = []
    parts: list[bytes] = []
    for field in _fields(data, 0, len(data)):
        if field.number == GRAPH and field.wire_type == _BYTES:
            graph = b"".join(_cut_graph(data, field, limit, holes))
            parts += [_header(GRAPH, len(graph)), graph]
        else:
            parts.append(data[field.start : field.end])
    return b"".join(parts), holes


def _cut_graph(data: Buffer, graph: _Field, limit: int, holes: list[Hole | None]) -> list[bytes]:
    parts: list[bytes] = []
    kept_from = graph.payload  # what lies between two tensors is copied in one piece
    for field in _fields(data, graph.payload, graph.end):
        if field.number != INITIALIZER or field.wire_type != _BYTES:
            continue
        hole = None
        if field.end - field.payload > limit:
            inside = list(_fields(data, field.payload, field.end)) if _scannable(data, field) else []
            raw = [f for f in inside if f.number == RAW_DATA and f.wire_type == _BYTES]
            if raw and raw[-1].end - raw[-1].payload > limit:  # of a field given twice the last one counts
                hole = Hole(raw[-1].payload, raw[-1].end - raw[-1].payload)
                rest = b"".join(data[f.start : f.end] for f in inside if f not in raw)
                parts += [data[kept_from : field.start], _header(INITIALIZER, len(rest)), rest]
                kept_from = field.end
        holes.append(hole)
    parts.append(data[kept_from : graph.end])
    return parts


def _scannable(data: Buffer, tensor: _Field) -> bool:
    """False for a tensor of millions of tiny fields: protobuf parses those faster than Python walks them."""
    small = 0
    for field in _fields(data, tensor.payload, tensor.end):
        if field.number == RAW_DATA:
            return True
        small += field.end - field.start if field.wire_type != _BYTES else 0
        if small > _MAX_TENSOR_FIELDS:
            return False
    return True


@dataclass(frozen=True)
class MessageLayout:
    """A model file to be written: `pieces` are (offset, bytes), `holes` the place of each missing raw_data.

    The holes are keyed by the initializer's position in the graph; the file has `size` bytes.
    """

    pieces: list[tuple[int, bytes]]
    holes: dict[int, Hole]
    size: int


def splice(skeleton: bytes, lengths: Mapping[int, int]) -> MessageLayout:
    """Where everything goes when initializer i of `skeleton` gets a raw_data of lengths[i] bytes.

    The inverse of `cut`: raw_data stands where protobuf itself puts it, after all lower field numbers.

    Raises:
        WireError: `skeleton` is no well-formed message.
    """
    items: list[bytes | tuple[int, int]] = []  # bytes, or (initializer, length) for a hole
    ordinal = -1
    for field in _fields(skeleton, 0, len(skeleton)):
        if field.number != GRAPH or field.wire_type != _BYTES:
            items.append(skeleton[field.start : field.end])
            continue
        graph: list[bytes | tuple[int, int]] = []
        kept_from = field.payload
        for inner in _fields(skeleton, field.payload, field.end):
            if inner.number != INITIALIZER or inner.wire_type != _BYTES:
                continue
            ordinal += 1
            if ordinal in lengths:
                graph.append(skeleton[kept_from : inner.start])
                graph += _splice_tensor(skeleton, inner, ordinal, lengths[ordinal])
                kept_from = inner.end
        graph.append(skeleton[kept_from : field.end])
        items += [_header(GRAPH, sum(_size(item) for item in graph)), *graph]
    return _place(items)


def _splice_tensor(data: bytes, tensor: _Field, ordinal: int, length: int) -> list[bytes | tuple[int, int]]:
    at = tensor.end
    for field in _fields(data, tensor.payload, tensor.end):
        if field.number > RAW_DATA:
            at = field.start
            break
    head = data[tensor.payload : at] + _header(RAW_DATA, length)
    tail = data[at : tensor.end]
    return [_header(INITIALIZER, len(head) + length + len(tail)) + head, (ordinal, length), tail]


def _size(item: bytes | tuple[int, int]) -> int:
    return len(item) if isinstance(item, bytes) else item[1]


def _place(items: list[bytes | tuple[int, int]]) -> MessageLayout:
    pieces: list[tuple[int, bytes]] = []
    holes: dict[int, Hole] = {}
    at = 0
    for item in items:
        if isinstance(item, bytes):
            pieces.append((at, item))
        else:
            holes[item[0]] = Hole(at, item[1])
        at += _size(item)
    return MessageLayout(pieces, holes, at)
