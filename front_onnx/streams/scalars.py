"""Where a number of the file ends up that is cast, inverted or rooted before it scales a tensor."""

from __future__ import annotations

from front_onnx.read.graph import Edge, Graph

__all__ = ["scalar_reader"]

_POWERS = {"Cast": 1.0, "CastLike": 1.0, "Identity": 1.0, "Sqrt": 0.5, "Reciprocal": -1.0}
_STEPS = 6


def scalar_reader(graph: Graph, edge: Edge) -> tuple[Edge, float]:
    """The reading behind one of a number, through operators that take a power of it, and that power.

    `Sqrt(Cast(N)) * x` scales x by the power 0.5 of N, wherever an exporter leaves the root to be computed.
    """
    power = 1.0
    for _ in range(_STEPS):
        node = graph.nodes[edge.node]
        readers = list(graph.consumers.get(node.output[0], ()))
        if node.op_type not in _POWERS or edge.slot != 0 or len(readers) != 1:
            break
        power *= _POWERS[node.op_type]
        edge = readers[0]
    return edge, power
