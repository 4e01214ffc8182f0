"""Writing a model again with other values in some of its constants, and nothing else changed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto

from front_onnx.provenance import sign
from front_onnx.read.graph import Graph
from front_onnx.read.subgraphs import all_graphs
from front_onnx.read.tensor_data import array_bytes
from front_onnx.store.atomic import Staged
from front_onnx.store.model_writer import ModelWriter, ProtoWriter
from front_onnx.write.unshare import share_again

__all__ = ["made_with", "write_with"]


def write_with(
    graph: Graph,
    arrays: Mapping[str, np.ndarray],
    output: Staged,
    before: Mapping[str, str] | None = None,
    origin: Mapping[str, str] | None = None,
) -> None:
    """Write a graph's model with new values for constants, in their shapes and types.

    Args:
        graph: the model.
        arrays: values by the name of an initializer, or of what a Constant node makes.
        output: where to write.
        before: initializers that go again where they hold what they held: see `write/unshare.py`.
        origin: where it comes from now, see `provenance.py`; what it said itself stays if None.

    Raises:
        FrontError: another shape or type.
    """
    proto, pending = _prepared(graph, arrays, before)
    if origin is not None:
        sign(proto, origin)
    with ModelWriter(proto, output, external=graph.model.external, pending=pending) as writer:
        for name in pending:
            writer.put(name, arrays[name] if name in arrays else graph.array(name))


def made_with(
    graph: Graph,
    arrays: Mapping[str, np.ndarray],
    before: Mapping[str, str] | None = None,
    origin: Mapping[str, str] | None = None,
) -> onnx.ModelProto:
    """The same as a model in memory."""
    proto, pending = _prepared(graph, arrays, before)
    if origin is not None:
        sign(proto, origin)
    writer = ProtoWriter(proto, pending)
    for name in pending:
        writer.put(name, arrays[name] if name in arrays else graph.array(name))
    return writer.result()


def _prepared(
    graph: Graph, arrays: Mapping[str, np.ndarray], before: Mapping[str, str] | None
) -> tuple[onnx.ModelProto, set[str]]:
    """A copy of the model with new values wherever it carries them itself, and the initializers still to be given."""
    proto = onnx.ModelProto()
    proto.CopyFrom(graph.model.proto)
    outer = {tensor.name for tensor in proto.graph.initializer}
    for place, name in _inner(proto):
        if name in arrays and name not in outer:
            _fill(place, arrays[name])
    share_again(proto, before or {}, arrays, graph)
    outer = {tensor.name for tensor in proto.graph.initializer}
    return proto, {*(name for name in arrays if name in outer), *graph.model.missing()}


def _fill(place: TensorProto | AttributeProto, array: np.ndarray) -> None:
    if isinstance(place, AttributeProto):
        if place.name == "value_floats":
            del place.floats[:]
            place.floats.extend(float(x) for x in array.reshape(-1))
        else:
            place.f = float(array.reshape(-1)[0])
        return
    raw = array_bytes(place, array).tobytes()
    place.CopyFrom(TensorProto(name=place.name, data_type=place.data_type, dims=place.dims, raw_data=raw))


def _inner(proto: onnx.ModelProto) -> list[tuple[TensorProto | AttributeProto, str]]:
    """Where bodies and Constant nodes hold floats, by the name they are read by."""
    found: list[tuple[TensorProto | AttributeProto, str]] = []
    for graph in all_graphs(proto.graph):
        if graph is not proto.graph:
            found += [(tensor, tensor.name) for tensor in graph.initializer]
        for node in graph.node:
            if node.op_type == "Constant":
                found += [(entry.t, node.output[0]) for entry in node.attribute if entry.HasField("t")]
                found += [(entry, node.output[0]) for entry in node.attribute if entry.name.startswith("value_float")]
    return found
