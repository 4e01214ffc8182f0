"""Writing a model again with other values in some of its constants, and nothing else changed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto

from front_onnx.read.bodies import all_graphs
from front_onnx.read.graph import Graph
from front_onnx.read.tensor_data import array_bytes
from front_onnx.write.model_writer import ModelWriter
from front_onnx.write.unshare import share_again

__all__ = ["write_with"]


def write_with(
    graph: Graph, arrays: Mapping[str, np.ndarray], path: Path, before: Mapping[str, str] | None = None
) -> None:
    """Write a graph's model with new values for constants, in their shapes and types.

    Args:
        graph: the model.
        arrays: values by the name of an initializer, or of what a Constant node makes.
        path: where to write.
        before: initializers that go again where they hold what they held: see `write/unshare.py`.

    Raises:
        FrontError: another shape or type.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(graph.model.proto)
    outer = {tensor.name for tensor in proto.graph.initializer}
    for tensor, name in _inner(proto):
        if name in arrays and name not in outer:
            raw = array_bytes(tensor, arrays[name]).tobytes()
            kept = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, raw_data=raw)
            tensor.CopyFrom(kept)
    share_again(proto, before or {}, arrays, graph)
    outer = {tensor.name for tensor in proto.graph.initializer}
    changed = [name for name in arrays if name in outer]
    pending = {*changed, *graph.model.missing()}
    with ModelWriter(proto, path, external=graph.model.external, pending=pending) as writer:
        for name in pending:
            writer.put(name, arrays[name] if name in arrays else graph.array(name))


def _inner(proto: onnx.ModelProto) -> list[tuple[TensorProto, str]]:
    """The tensors of bodies and of Constant nodes, by the name they are read by."""
    found = []
    for graph in all_graphs(proto.graph):
        if graph is not proto.graph:
            found += [(tensor, tensor.name) for tensor in graph.initializer]
        for node in graph.node:
            if node.op_type == "Constant":
                found += [(entry.t, node.output[0]) for entry in node.attribute if entry.HasField("t")]
    return found
