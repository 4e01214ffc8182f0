"""What becomes of a constant a few nodes on: frequencies go through a sine, variances through a root."""

from __future__ import annotations

from front_onnx.operators.record import Trait, record_of
from front_onnx.read.graph import Edge, Graph

__all__ = ["feeds_root", "feeds_waves"]

_STEPS = 12  # nodes between a frequency and its sine


def feeds_waves(graph: Graph, edge: Edge) -> bool:
    """True if what reads a constant goes on to a sine or cosine within a few nodes."""
    seen = {reader.node for reader in graph.within(edge)}
    waiting = [(node, 0) for node in seen]
    while waiting:
        index, steps = waiting.pop()
        node = graph.nodes[index]
        record = record_of(node)
        if record.has(Trait.PERIODIC):
            return True
        if steps < _STEPS and not record.has(Trait.MEASURES | Trait.SOFTMAX | Trait.NORMALISES):
            for name in node.output:
                for reader in (inner for found in graph.consumers.get(name, ()) for inner in graph.within(found)):
                    if reader.node not in seen:
                        seen.add(reader.node)
                        waiting.append((reader.node, steps + 1))
    return False


def feeds_root(graph: Graph, edge: Edge) -> bool:
    """True if a constant is a variance: BatchNormalization takes its root, or a root follows the sum with epsilon."""
    node = graph.nodes[edge.node]
    if record_of(node).has(Trait.NORMALISES):
        return record_of(node).parameters.get(edge.slot) == "variance"
    while record_of(node).has(Trait.SHIFTS | Trait.VIEW):
        readers = {reader.node for reader in graph.consumers.get(node.output[0], ())}
        if len(readers) != 1:
            return False
        node = graph.nodes[readers.pop()]
    return record_of(node).has(Trait.ROOT)
