"""What becomes of a constant a few nodes on: frequencies go through a sine, variances through a root."""

from __future__ import annotations

from front_onnx.operators.record import Trait, record_of
from front_onnx.read.graph import Edge, Graph

__all__ = ["feeds_root", "near_waves"]

_STEPS = 12  # nodes between a frequency and its sine
_TO_ROOT = 12  # nodes between a variance and its root
_PASSED = Trait.SHIFTS | Trait.VIEW  # between a variance and its root
_ENDS = Trait.MEASURES | Trait.SOFTMAX | Trait.NORMALISES  # no frequencies behind these


def near_waves(graph: Graph) -> set[int]:
    """The nodes whose results go on to a sine or cosine within a few nodes, that of the sine included.

    One pass from the last node to the first: what reads a tensor stands behind what makes it, in bodies as well.
    """
    steps: dict[int, int] = {}
    for index in range(len(graph.nodes) - 1, -1, -1):
        node = graph.nodes[index]
        record = record_of(node)
        if record.has(Trait.PERIODIC):
            steps[index] = 0
        elif steps and not record.has(_ENDS):
            readers = (edge for name in node.output for edge in graph.consumers.get(name, ()))
            near = [steps[inner.node] for edge in readers for inner in graph.within(edge) if inner.node in steps]
            if near and min(near) < _STEPS:
                steps[index] = min(near) + 1
    return set(steps)


def feeds_root(graph: Graph, edge: Edge) -> bool:
    """True if a constant is a variance: BatchNormalization takes its root, or a root follows the sum with epsilon."""
    node = graph.nodes[edge.node]
    if record_of(node).has(Trait.NORMALISES):
        return record_of(node).parameters.get(edge.slot) == "variance"
    for _ in range(_TO_ROOT):
        if not record_of(node).has(_PASSED):
            break
        readers = {reader.node for reader in graph.consumers.get(node.output[0], ())}
        if len(readers) != 1:
            return False
        node = graph.nodes[readers.pop()]
    return record_of(node).has(Trait.ROOT)
