"""What becomes of a constant a few nodes on: frequencies go through a sine, variances through a root."""

from __future__ import annotations

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
        if node.op_type in ("Sin", "Cos"):
            return True
        if steps < _STEPS and node.op_type not in ("Shape", "Size", "Softmax", "LayerNormalization"):
            for name in node.output:
                for reader in (inner for found in graph.consumers.get(name, ()) for inner in graph.within(found)):
                    if reader.node not in seen:
                        seen.add(reader.node)
                        waiting.append((reader.node, steps + 1))
    return False


def feeds_root(graph: Graph, edge: Edge) -> bool:
    """True if a constant is a variance: BatchNormalization takes its root, or a root follows the sum with epsilon."""
    node = graph.nodes[edge.node]
    if node.op_type == "BatchNormalization":
        return edge.slot == 4
    while node.op_type in ("Add", "Identity", "Cast", "Reshape", "Unsqueeze"):
        readers = {reader.node for reader in graph.consumers.get(node.output[0], ())}
        if len(readers) != 1:
            return False
        node = graph.nodes[readers.pop()]
    return node.op_type == "Sqrt"
