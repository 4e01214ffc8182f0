"""Shared weights stay shared: a block that is repeated, or left out, is so wherever its weights are read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from front_onnx.dims.structure import Structure
from front_onnx.errors import UnsupportedError
from front_onnx.operators.record import Trait, record_of
from front_onnx.read.graph import Edge, Graph, label
from front_onnx.read.node import Node
from front_onnx.read.tensor_data import is_float, numpy_type

__all__ = ["check_shared"]


def check_shared(structure: Structure, units: Sequence[int]) -> None:
    """Look at the weights of every chain whose depth changes: others read them in blocks of such a chain alone.

    Args:
        structure: the source.
        units: how many units each chain gets.

    Raises:
        UnsupportedError: a weight is read elsewhere too, and would be another one there.
    """
    graph, edges = structure.graph, structure.constants.uses.edges
    rows = defaultdict[tuple[str, ...], set[Edge]](set)
    for chain in structure.chains:
        for there in chain.places.values():
            rows[tuple(map(graph.read_by, there))].update(there)
    for chain, count in zip(structure.chains, units, strict=True):
        for there in chain.places.values() if count != len(chain.units) and chain.loop is None else ():
            names = tuple(map(graph.read_by, there))
            if len({*names}) < len(names) or not is_float(numpy_type(graph.constants[names[0]])):
                continue
            for name in names if graph.constants[names[0]].dims else ():
                readings = (edge for edge in edges.get(name, ()) if edge not in rows[names])
                outside = [edge for edge in readings if not _hands_on(graph, graph.nodes[edge.node])]
                if outside:
                    raise UnsupportedError(
                        f"the depth of {chain.name} cannot change: {name} is one of its weights, and is read where no "
                        "block of its kind is: it would not be shared any more",
                        node=label(graph.nodes[outside[0].node]),
                        got=count * chain.layers + chain.beside,
                        wanted=chain.depth,
                    )


def _hands_on(graph: Graph, node: Node) -> bool:
    """True for what gives a weight another name, or reads its shape."""
    return node.output[0] in graph.alias or record_of(node).has(Trait.MEASURES)
