"""A model without its weights in memory: the graph is parsed, the weights stay in their files."""

from __future__ import annotations

import hashlib
import mmap
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto

from front_onnx.errors import DamagedError, FileError, RequestError
from front_onnx.read.external_data import DataFiles, is_external, map_file
from front_onnx.read.foreign import foreign
from front_onnx.read.functions import inline_functions
from front_onnx.read.specified import check_nodes
from front_onnx.read.subgraphs import all_graphs, are_unique, made_twice, make_names_unique, names_of
from front_onnx.read.tensor_data import check_length, from_buffer, has_data, inside_array
from front_onnx.read.wire import Hole, WireError, cut

__all__ = ["ModelFile", "read_model"]

_LEFT_IN_FILE = 1024  # bytes: raw_data longer than this is not loaded
_END = 256  # bytes of each end of a weight that its fingerprint looks at
_FORGET_AFTER = 32 << 20  # bytes handed out before the pages read so far are given back


def read_model(source: str | os.PathLike[str] | onnx.ModelProto) -> ModelFile:
    """Read a model from a file, leaving its weights there, or take a ModelProto as it is (never changed).

    Model-local functions are inlined.

    Raises:
        FileError: no such file, not readable, truncated, no ONNX model, no graph or no nodes.
        DamagedError: weights whose bytes do not agree with their shape, a data file that is missing or outside
            the model's folder.
    """
    if isinstance(source, onnx.ModelProto):
        proto, inlined = inline_functions(source)
        model = ModelFile(proto, None, {}, b"", inlined)
    elif isinstance(source, str | os.PathLike):
        model = _read_file(Path(os.fspath(source)))
    else:
        raise RequestError("a model is a path or an onnx.ModelProto", got=type(source).__name__)
    model.check()
    return model


def _read_file(path: Path) -> ModelFile:
    try:
        data = map_file(path)
    except FileNotFoundError:
        raise FileError(f"there is no file {path}") from None
    except (OSError, ValueError) as error:
        raise FileError(f"{path} cannot be read: {getattr(error, 'strerror', error)}") from None
    if len(data) == 0:
        raise FileError(f"{path} is empty")
    if (other := foreign(path, bytes(data[:512]))) is not None:
        what, way = other
        raise FileError(f"{path} is no ONNX model: it is {what}", hint=way)
    try:
        skeleton, holes = cut(data, _LEFT_IN_FILE)
        proto = onnx.ModelProto.FromString(skeleton)
    except (WireError, DecodeError) as error:
        reason = str(error) if isinstance(error, WireError) else "it does not parse"
        raise FileError(f"{path} is no ONNX model or is damaged: {reason}") from None
    names = [tensor.name for tensor in proto.graph.initializer]
    if len(names) != len(holes):
        raise FileError(f"{path} is no ONNX model or is damaged: its initializers are unreadable")
    left = {name: hole for name, hole in zip(names, holes, strict=True) if hole is not None}
    twice = next((name for name, count in Counter(names).items() if count > 1 and name in left), None)
    if twice is not None:
        raise FileError(f"{path} has two initializers of the name {twice!r}")
    model = ModelFile(proto, path, left, data)
    for tensor in _nested_tensors(proto):
        if is_external(tensor):  # rare, and out of the writer's reach: brought inside as onnx.load does
            tensor.raw_data = model.array(tensor).tobytes()
            del tensor.external_data[:]
            tensor.data_location = TensorProto.DEFAULT
    model.proto, model.inlined = inline_functions(proto)
    return model


class ModelFile:
    """A model whose weights are read on demand; made by `read_model`.

    Attributes:
        proto: the model; initializers left in the file lack their data here. Not to be changed.
        path: the file, or None for a model given as a ModelProto.
        inlined: the names of the functions that were inlined.
        settled: False if a constant may have other contents later.
    """

    def __init__(
        self,
        proto: onnx.ModelProto,
        path: Path | None,
        left: dict[str, Hole],
        data: mmap.mmap | bytes,
        inlined: Sequence[str] = (),
    ) -> None:
        self.proto, self.path, self.inlined = proto, path, inlined
        self._left, self._data = left, data
        self._files = DataFiles(path) if path is not None else None
        self._handed_out = 0
        self.settled = True

    @property
    def runs(self) -> bool:
        """True if it can be run as it is; what is read of a learngene cannot."""
        return True

    @property
    def external(self) -> bool:
        """True if weights lie in data files beside the model."""
        return any(is_external(tensor) for tensor in self.proto.graph.initializer) or (
            self._files is not None and self._files.size > 0
        )

    @property
    def files(self) -> frozenset[Path]:
        """The files that are read: the model and the data file of any tensor, of subgraphs and Constants too."""
        if self.path is None:
            return frozenset()
        return frozenset([self.path, *(self._files.paths if self._files is not None else [])])

    @property
    def size(self) -> int:
        """Bytes of the model file and its data files, or of the ModelProto."""
        if self._files is None:
            return int(self.proto.ByteSize())
        return len(self._data) + self._files.size

    def array(self, tensor: TensorProto) -> np.ndarray:
        """The values of an initializer of this model, or of any tensor that carries its data: read-only.

        A view of the file where possible. Pages already read are given back to the system now and then (they
        return by themselves when touched again), so walking a model does not fill memory with it.

        Raises:
            DamagedError: the data are missing or do not agree with the tensor's shape.
        """
        if is_external(tensor):
            if self._files is None:
                raise DamagedError(
                    f"tensor {tensor.name!r} has its data in a file, and a ModelProto does not say where",
                    hint="give the path of the model, or load it with its external data",
                )
            data, offset, length = self._files.find(tensor)
        elif tensor.name in self._left and 0 not in tensor.dims and not has_data(tensor):
            data, (offset, length) = self._data, self._left[tensor.name]
        else:
            return inside_array(tensor)
        self._handed_out += length
        if self._handed_out > _FORGET_AFTER:
            self._handed_out = length
            self.forget()
        return from_buffer(tensor, data, offset, length)

    def forget(self) -> None:
        """Give the pages read so far back to the system; arrays stay valid and read them again."""
        for data in [self._data, *(self._files.maps if self._files is not None else [])]:
            if isinstance(data, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
                data.madvise(mmap.MADV_DONTNEED)

    def with_unique_names(self) -> ModelFile:
        """This model, with other names for tensors in bodies where a name means several things.

        Raises:
            DamagedError: one graph makes a name twice.
        """
        names = names_of(self.proto.graph)
        twice = made_twice(names)
        if twice is not None:
            raise DamagedError(f"the name {twice!r} is made twice in one graph, so what reads it is open")
        if are_unique(names):
            return self
        other = copy(self)
        other.proto = onnx.ModelProto()
        other.proto.CopyFrom(self.proto)
        make_names_unique(other.proto.graph)
        return other

    def edited(self, proto: onnx.ModelProto) -> ModelFile:
        """The same weights behind another graph."""
        other = copy(self)
        other.proto = proto
        return other

    def missing(self) -> set[str]:
        """Names of the initializers whose values are not in `proto` itself."""
        return {t.name for t in self.proto.graph.initializer if t.name in self._left or is_external(t)}

    def digest(self) -> str:
        """A hash of the graph and the weights."""
        found = hashlib.sha256(self.proto.SerializeToString(deterministic=True))
        for tensor in self.proto.graph.initializer:
            if not has_data(tensor):
                found.update(np.ascontiguousarray(self.array(tensor)).reshape(-1).view(np.uint8).data)
        return found.hexdigest()

    def fingerprint(self) -> str:
        """A hash that tells this model from others without reading all of its weights.

        SHA-256 of the operator sets, nodes, inputs and outputs, and of every initializer its name, type, shape, length
        and the first and last 256 bytes. Weights that differ in the middle of each tensor alone have one fingerprint:
        whoever has to exclude that asks for `digest`, which takes as long as it takes to read the file.
        """
        found = hashlib.sha256()
        graph = self.proto.graph
        for part in (*self.proto.opset_import, *graph.node, *graph.input, *graph.output, *graph.sparse_initializer):
            _counted(found, part.SerializeToString(deterministic=True))
        for tensor in graph.initializer:
            _counted(found, f"{tensor.name} {tensor.data_type} {list(tensor.dims)}".encode())
            if tensor.data_type == TensorProto.STRING:
                _counted(found, tensor.SerializeToString(deterministic=True))
                continue
            held = np.ascontiguousarray(self.array(tensor)).reshape(-1).view(np.uint8)
            _counted(found, len(held).to_bytes(8, "little") + held[:_END].tobytes() + held[-_END:].tobytes())
        return found.hexdigest()

    def are_apart(self, names: Sequence[str]) -> bool:
        """True if tensors are known to be different weights, however alike their values are."""
        return False

    def check(self) -> None:
        """Refuse what can be known to be wrong before any weight is read."""
        origin = self.path if self.path is not None else "the model"
        if not self.proto.HasField("graph"):
            raise FileError(f"{origin} is no ONNX model: it has no graph")
        if not self.proto.graph.node:
            raise FileError(f"{origin} has a graph without nodes")
        for text in _texts(self.proto):
            if not isinstance(text, str):  # protobuf hands out bytes that are no UTF-8 as they are
                raise FileError(f"{origin} is damaged: a name is no text", got=repr(text)[:60])
        check_nodes(self.proto)
        for tensor in self.proto.graph.initializer:
            self._check_data(tensor)

    def _check_data(self, tensor: TensorProto) -> None:
        if is_external(tensor):
            if self._files is not None:
                self._files.find(tensor)
        elif tensor.name in self._left:
            check_length(tensor, self._left[tensor.name].length)
        elif tensor.HasField("raw_data"):
            check_length(tensor, len(tensor.raw_data))
        else:
            inside_array(tensor)


def _counted(found: hashlib._Hash, piece: bytes) -> None:
    """Add a piece to a hash, and where it ends."""
    found.update(len(piece).to_bytes(8, "little"))
    found.update(piece)


def _texts(model: onnx.ModelProto) -> Iterator[object]:
    """Every text of a model that anything reads."""
    yield from (model.producer_name, model.producer_version, model.domain)
    for opset in model.opset_import:
        yield opset.domain
    yield from _entries(model.metadata_props)
    for graph in all_graphs(model.graph):
        yield graph.name
        for node in graph.node:
            yield from (node.name, node.op_type, node.domain)
            yield from node.input
            yield from node.output
            yield from _entries(node.metadata_props)
            for attribute in node.attribute:
                yield attribute.name
        for value in (*graph.input, *graph.output, *graph.value_info):
            yield value.name
            for dim in value.type.tensor_type.shape.dim:
                yield dim.dim_param
        for tensor in (*graph.initializer, *(sparse.values for sparse in graph.sparse_initializer)):
            yield tensor.name
            yield from _entries(tensor.external_data)


def _entries(entries: Iterable[onnx.StringStringEntryProto]) -> Iterator[object]:
    for entry in entries:
        yield from (entry.key, entry.value)


def _nested_tensors(proto: onnx.ModelProto) -> Iterator[TensorProto]:
    """Every tensor but the main graph's initializers: in attributes, subgraphs, functions, sparse ones."""
    yield from _node_tensors(proto.graph.node)
    for function in proto.functions:
        yield from _node_tensors(function.node)
    yield from _sparse_tensors(proto.graph.sparse_initializer)


def _node_tensors(nodes: Iterable[onnx.NodeProto]) -> Iterator[TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            sparse = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
            yield from _sparse_tensors([*sparse, *attribute.sparse_tensors])
            for graph in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
                yield from graph.initializer
                yield from _sparse_tensors(graph.sparse_initializer)
                yield from _node_tensors(graph.node)


def _sparse_tensors(tensors: Iterable[onnx.SparseTensorProto]) -> Iterator[TensorProto]:
    for sparse in tensors:
        yield sparse.values
        yield sparse.indices
