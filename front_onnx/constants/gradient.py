"""Where values and gradients pass: which node inputs outputs depend on, and which of them training could reach."""

from __future__ import annotations

from onnx import TensorProto

from front_onnx.operators.record import Trait, record_of
from front_onnx.read.graph import Edge, Graph

__all__ = ["WHOLE", "fed", "reaching"]

WHOLE = frozenset((TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL, TensorProto.UINT8, TensorProto.INT8))


def reaching(graph: Graph, *, gradient: bool = True) -> set[Edge]:
    """The node inputs from which a gradient of a float output comes back; without it, those any output depends on."""
    found: set[Edge] = set()
    waiting = [name for name in graph.outputs if not gradient or _type_of(graph, name) not in WHOLE]
    seen = set(waiting)
    closed = Trait.MEASURES | Trait.NO_GRADIENT if gradient else Trait.MEASURES
    while waiting:
        index = graph.producer.get(waiting.pop())
        if index is None:
            continue
        node = graph.nodes[index]
        record = record_of(node)
        if record.has(closed) or (gradient and node.op_type == "Cast" and graph.attribute(index, "to") in WHOLE):
            continue
        settings = (*record.numbers, *record.settings)
        bodies = graph.order.subgraphs.get(index, {})
        names = []
        for edge, name in zip(graph.reads[index], node.input, strict=True):
            if name and edge.slot not in settings and not (gradient and edge.slot == 0 and record.has(Trait.CHOOSES)):
                found.update(graph.within(edge) if bodies else (edge,))
                names.append(name)
        for body in bodies.values():
            names += body.outputs
        for name in names:
            if name not in seen:
                seen.add(name)
                waiting.append(name)
    return found


def fed(graph: Graph) -> set[str]:
    """All tensors whose contents depend on an input's contents, and not on its shape alone."""
    found = {v.name for v in graph.inputs}
    for body in graph.order.all_subgraphs():
        found.update(body.inputs)
    for index, node in enumerate(graph.nodes):
        if record_of(node).has(Trait.MEASURES):
            continue
        if any(name in found for name in (*node.input, *graph.outer_scope.get(index, ()))):
            found.update(node.output)
    return found


def _type_of(graph: Graph, name: str) -> int:
    info = graph.value_info.get(name)
    return info.type.tensor_type.elem_type if info is not None else TensorProto.FLOAT
