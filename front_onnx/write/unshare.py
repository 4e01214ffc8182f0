"""Weights that are one tensor only because they are equal: zeros and ones of a model that was never trained.

Exporters store equal tensors once. Before such a model gets weights, each reading gets a tensor of its own; where
nothing comes of it, it is shared again.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper

from front_onnx.read.arrays import is_uniform
from front_onnx.read.graph import Edge, Graph
from front_onnx.read.model_file import ModelFile
from front_onnx.read.names import unused
from front_onnx.read.subgraphs import all_graphs
from front_onnx.read.tensor_data import array_bytes, is_float

__all__ = ["share_again", "unshared"]


def unshared(graph: Graph, *, vectors: bool = False) -> tuple[ModelFile, dict[str, str]]:
    """Give each reading of what is filled with one number a tensor of its own, and tell what these were read as before.

    Args:
        graph: the model's graph.
        vectors: True for vectors too that belong to weights of their own: two branches that meet in a sum have biases
            with equal gradients, so that training leaves them equal.

    Returns:
        The model, and for each added initializer the name that the node input had.
    """
    readings: dict[str, list[Edge]] = {}
    for name in graph.constants:
        for edge in graph.consumers.get(name, ()):
            readings.setdefault(graph.constant_name(name), []).append(edge)
    shared = {
        name: sorted(edges)
        for name, edges in readings.items()
        if len(edges) > 1 and (_is_fill(graph, name) or (vectors and _is_of_several(graph, name, edges)))
    }
    if not shared:
        return graph.model, {}
    proto = onnx.ModelProto()
    proto.CopyFrom(graph.model.proto)
    other = Graph(graph.model.edited(proto))
    taken = {*graph.constants, *graph.producer, *(info.name for info in graph.inputs)}
    before: dict[str, str] = {}
    for name, edges in shared.items():
        tensor = graph.constants[name]
        raw = array_bytes(tensor, graph.array(name)).tobytes()
        for edge in edges[1:]:
            copy = unused(name, taken)
            taken.add(copy)
            node = other.order.nodes[edge.node]
            before[copy], node.input[edge.slot] = node.input[edge.slot], copy
            made = TensorProto(name=copy, data_type=tensor.data_type, dims=tensor.dims, raw_data=raw)
            other.proto.initializer.append(made)
            if proto.ir_version < 4:  # every initializer is a graph input as well
                dims = list(tensor.dims)
                other.proto.input.append(helper.make_tensor_value_info(copy, tensor.data_type, dims))
    return other.model, before


def share_again(
    proto: onnx.ModelProto, before: Mapping[str, str], arrays: Mapping[str, np.ndarray], graph: Graph
) -> None:
    """Take back the tensors that were added where they and what was read before hold what they held, in place."""
    changed = {name for name, array in arrays.items() if not np.array_equal(array, graph.array(name))}
    same = {name for name, origin in before.items() if not {name, graph.constant_name(origin)} & changed}
    for inner in all_graphs(proto.graph):
        for node in inner.node:
            for slot, name in enumerate(node.input):
                if name in same:
                    node.input[slot] = before[name]
    for entries in (proto.graph.initializer, proto.graph.input):
        kept = [entry for entry in entries if entry.name not in same]
        if len(kept) < len(entries):
            del entries[:]
            entries.extend(kept)


def _is_fill(graph: Graph, name: str) -> bool:
    tensor = graph.constants[name]
    if not tensor.dims or 0 in tensor.dims:
        return False
    array = graph.array(name)
    return array.size > 1 and is_float(np.dtype(array.dtype)) and is_uniform(array)


def _is_of_several(graph: Graph, name: str, edges: list[Edge]) -> bool:
    """True for a vector that nodes read beside or behind weights, each beside another one."""
    if len(graph.constants[name].dims) != 1 or not is_float(np.dtype(graph.array(name).dtype)):
        return False
    keys = [_weight_near(graph, edge.node) for edge in edges if graph.nodes[edge.node].output[0] not in graph.alias]
    return len(keys) > 1 and None not in keys and len(set(keys)) == len(keys)


def _weight_near(graph: Graph, index: int) -> str | None:
    """The weight of a node, or of the node that makes what it reads."""
    makers = [graph.producer.get(name) for name in graph.nodes[index].input if name not in graph.constants]
    for node in (index, *(maker for maker in makers if maker is not None)):
        for name in graph.nodes[node].input:
            if name in graph.constants and len(graph.constants[name].dims) > 1:
                return graph.constant_name(name)
    return None
