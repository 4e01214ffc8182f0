"""Norms that are written out: a division by a root, then a gain and a bias that are nodes of their own."""

from __future__ import annotations

from front_onnx.operators.record import Trait, record_of
from front_onnx.read.graph import Graph
from front_onnx.roles.trace import Trace

__all__ = ["is_gained", "is_normed", "is_root", "normed_end"]


def normed_end(trace: Trace, name: str) -> str:
    """The result of a norm whose gain and bias are nodes of their own."""
    for edge in trace.graph.consumers.get(name, ()):
        node = trace.graph.nodes[edge.node]
        if record_of(node).has(Trait.SHIFTS) and trace.beside_constant(edge):
            return str(node.output[0])
    return name


def is_normed(graph: Graph, name: str) -> bool:
    """True for what was divided by a root: a decomposed norm before its gain."""
    maker = graph.producer.get(name)
    if maker is None:
        return False
    node = graph.nodes[maker]
    if node.op_type == "Cast":
        return is_normed(graph, node.input[0])
    if not record_of(node).has(Trait.SCALES):
        return False
    return any(is_root(graph, other) for other in node.input)


def is_root(graph: Graph, name: str) -> bool:
    """True for a root, or one over it."""
    maker = graph.producer.get(name)
    node = graph.nodes[maker] if maker is not None else None
    if node is None:
        return False
    if record_of(node).has(Trait.ROOT):
        return True
    turned = record_of(node).has(Trait.DIVIDES) or node.op_type in ("Reciprocal", "Pow")
    return turned and any(is_root(graph, other) for other in node.input)


def is_gained(graph: Graph, name: str) -> bool:
    """True for what was normalised and then multiplied by a gain."""
    maker = graph.producer.get(name)
    node = graph.nodes[maker] if maker is not None else None
    return (
        node is not None
        and record_of(node).has(Trait.MULTIPLIES)
        and any(is_normed(graph, other) for other in node.input)
    )
