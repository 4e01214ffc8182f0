"""Heads that are tied to a table of embeddings, and the norm before them."""

from __future__ import annotations

from dataclasses import dataclass

from front_onnx.operators.analysis import Analysis
from front_onnx.operators.record import Trait, record_of
from front_onnx.read.graph import Edge
from front_onnx.streams.norms import Norm

__all__ = ["TiedHead", "find_tied_heads", "read_by_weight"]

_VIEWS = Trait.VIEW | Trait.PICKS | Trait.REPEATS


@dataclass(frozen=True)
class TiedHead:
    """A contraction with a table of embeddings.

    Attributes:
        edge: where the head reads it.
        table: where data look it up.
        norm: the norm whose result the head reads, and nothing else does; None if there is none.
    """

    edge: Edge
    table: Edge
    norm: Norm | None


def find_tied_heads(analysis: Analysis, norms: dict[str, Norm]) -> list[TiedHead]:
    """The heads of a graph that are tied to tables."""
    graph = analysis.graph
    tables = {graph.read_by(edge): edge for edge in analysis.tables}
    found = []
    for edge in analysis.contractions:
        name = graph.read_by(edge)
        table = tables.get(analysis.transposed.get(name, name))
        if table is not None and edge not in analysis.tables:
            found.append(TiedHead(edge, table, _norm_before(analysis, norms, edge)))
    return found


def _norm_before(analysis: Analysis, norms: dict[str, Norm], edge: Edge) -> Norm | None:
    """The norm whose result a contraction reads, if nothing else reads it."""
    graph = analysis.graph
    node = _reader(analysis, edge)
    data = [] if node is None else [name for name in graph.nodes[node].input if name and analysis.is_data(name)]
    name = data[0] if len(data) == 1 else ""
    while name:
        if len(graph.consumers.get(name, ())) != 1 or name in graph.outputs:
            return None
        if name in norms:
            return norms[name]
        maker = graph.producer.get(name)
        if maker is None or not record_of(graph.nodes[maker]).has(_VIEWS):
            return None
        name = str(graph.nodes[maker].input[0])
    return None


def read_by_weight(analysis: Analysis, edge: Edge) -> str | None:
    """The tensor that is contracted with the weight that an edge reads."""
    node = _reader(analysis, edge)
    data = [] if node is None else [n for n in analysis.graph.nodes[node].input if n and analysis.is_data(n)]
    return str(data[0]) if len(data) == 1 else None


def _reader(analysis: Analysis, edge: Edge) -> int | None:
    """The contraction that reads a weight, by views of it perhaps."""
    graph = analysis.graph
    for _ in range(4):
        if any(analysis.is_data(name) for name in graph.nodes[edge.node].input if name):
            return edge.node
        readers = list(graph.consumers.get(graph.nodes[edge.node].output[0], ()))
        if len(readers) != 1:
            return None
        edge = readers[0]
    return None
