"""Writing a model whose weights arrive one at a time, in any order, and are never all in memory."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
import onnx
from onnx import TensorProto

from front_onnx.errors import FrontError
from front_onnx.read.external_data import is_external
from front_onnx.read.merged import joined
from front_onnx.read.tensor_data import array_bytes, raw_length
from front_onnx.read.wire import Hole, splice
from front_onnx.store.atomic import Staged

__all__ = ["LARGEST_MESSAGE", "ModelWriter", "ProtoWriter"]

LARGEST_MESSAGE = (1 << 31) - 1  # protobuf's limit, in bytes
_PAGE = 4096  # data files: larger arrays start at a page, so that they can be mapped
_TYPED = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")


class _Pending:
    """A copy of the skeleton, and the initializers that still wait for their values."""

    def __init__(self, proto: onnx.ModelProto, pending: Collection[str]) -> None:
        self.proto = onnx.ModelProto()
        self.proto.CopyFrom(joined(proto))
        self.tensors: dict[str, TensorProto] = {}
        self.ordinals: dict[str, int] = {}
        for ordinal, tensor in enumerate(self.proto.graph.initializer):
            if tensor.name not in pending:
                if is_external(tensor):
                    raise FrontError(f"initializer {tensor.name!r} has its data elsewhere and is not pending")
                continue
            if tensor.name in self.tensors:
                raise FrontError(f"two initializers have the name {tensor.name!r}")
            self.tensors[tensor.name], self.ordinals[tensor.name] = tensor, ordinal
            for field in ("raw_data", *_TYPED):
                tensor.ClearField(field)
            if is_external(tensor):
                del tensor.external_data[:]
                tensor.data_location = TensorProto.DEFAULT  # what onnx.load leaves behind
        if missing := set(pending) - set(self.tensors):
            raise FrontError(f"no initializer has the pending name {min(missing)!r}")
        self._waiting = set(self.tensors)

    def take(self, name: str, array: np.ndarray) -> np.ndarray:
        """The bytes to store for `name`, which from now on is no longer waiting."""
        if name not in self._waiting:
            known = "was given twice" if name in self.tensors else "is not pending"
            raise FrontError(f"initializer {name!r} {known}")
        raw = array_bytes(self.tensors[name], array)
        self._waiting.discard(name)
        return raw

    def complete(self) -> None:
        """Refuse to finish while something is missing."""
        if self._waiting:
            raise FrontError(f"{len(self._waiting)} initializers were never given", got=min(self._waiting))


class ProtoWriter:
    """The in-memory twin of `ModelWriter`, for users who pass a ModelProto.

    Args:
        proto: skeleton with final names, dims and types; copied, not changed.
        pending: names of the initializers whose values come by `put`.
    """

    def __init__(self, proto: onnx.ModelProto, pending: Collection[str]) -> None:
        self._pending = _Pending(proto, pending)

    def put(self, name: str, array: np.ndarray) -> None:
        """Give the values of a pending initializer, once, in its shape and type.

        Raises:
            FrontError: not pending, given twice, another shape or type.
        """
        raw = self._pending.take(name, array)
        self._pending.tensors[name].raw_data = raw.tobytes()

    def result(self) -> onnx.ModelProto:
        """The finished model.

        Raises:
            FrontError: a pending initializer was never given.
        """
        self._pending.complete()
        return self._pending.proto


class ModelWriter:
    """Write a model into a staged output while its weights come one by one; a context manager.

        with atomic_write(path) as staged, ModelWriter(proto, staged, external=False, pending={"w"}) as writer:
            writer.put("w", array)

    Args:
        proto: skeleton with final names, dims and types; copied, not changed.
        output: where to write.
        external: store pending weights in a data file beside the model; done anyway over `largest`.
        pending: names of the initializers whose values come by `put`; all others carry their data.
        largest: bytes that one file may have.

    Raises:
        FrontError: the disk is full; a pending name is unknown or was never given.
    """

    def __init__(
        self,
        proto: onnx.ModelProto,
        output: Staged,
        *,
        external: bool,
        pending: Collection[str],
        largest: int = LARGEST_MESSAGE,
    ) -> None:
        self._output = output
        self._pending = _Pending(proto, pending)
        lengths = {name: raw_length(tensor) for name, tensor in self._pending.tensors.items()}
        ordinals = self._pending.ordinals
        layout = splice(self._serialized(), {ordinals[name]: lengths[name] for name in lengths})
        self.external = external or layout.size > largest
        self._places: dict[str, Hole] = {}
        if self.external:
            output.check_data()
            self._to_data_file(lengths)
            lengths = dict.fromkeys((name for name in lengths if name not in self._places), 0)
            layout = splice(self._serialized(), {ordinals[name]: 0 for name in lengths})
        else:
            self._places = {name: layout.holes[ordinals[name]] for name in lengths}
        self._layout = layout
        self._out: BinaryIO | None = None

    def _serialized(self) -> bytes:
        try:
            return bytes(self._pending.proto.SerializeToString(deterministic=True))
        except Exception as error:  # protobuf has several names for "over 2 GiB"
            raise FrontError(f"the model without its large weights does not serialise: {error}") from None

    def _to_data_file(self, lengths: dict[str, int]) -> None:
        """Place every pending array in the data file and say so in the skeleton; empty ones stay inside."""
        at = 0
        for name, length in lengths.items():
            if length == 0:
                continue
            alignment = _PAGE if length >= _PAGE else 64
            at = -(-at // alignment) * alignment
            self._places[name] = Hole(at, length)
            tensor = self._pending.tensors[name]
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in [("location", self._output.data_name), ("offset", at), ("length", length)]:
                tensor.external_data.add(key=key, value=str(value))
            at += length

    def __enter__(self) -> Self:
        with self._output.writing():
            model = open(self._output.path, "xb")
            self._out = model
            for offset, piece in self._layout.pieces:
                model.seek(offset)
                model.write(piece)
            if self._places and self.external:
                model.close()
                self._out = open(self._output.data_path, "xb")
        return self

    def put(self, name: str, array: np.ndarray) -> None:
        """Give the values of a pending initializer, once, in its shape and type; written at once.

        Raises:
            FrontError: not pending, given twice, another shape or type; the disk is full.
        """
        if self._out is None:
            raise FrontError("ModelWriter.put outside its with block")
        raw = self._pending.take(name, array)
        with self._output.writing():
            if name in self._places:
                self._out.seek(self._places[name].offset)
                self._out.write(raw.data)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        out, self._out = self._out, None
        if kind is None:
            self._pending.complete()
            if out is not None:
                with self._output.writing():
                    out.close()
        elif out is not None:
            with contextlib.suppress(OSError):
                out.close()
