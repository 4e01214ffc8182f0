"""Where values and gradients pass: which node inputs outputs depend on, and which of them training could reach."""

from __future__ import annotations

from collections.abc import Collection

from onnx import TensorProto

from front_onnx.read.graph import Edge, Graph, attribute

__all__ = ["NO_GRADIENT", "WHOLE", "fed", "reaching"]

# Operators that only measure shapes: what they read has no values for them.
_MEASURING = frozenset("Shape Size ConstantOfShape EyeLike RandomNormalLike RandomUniformLike".split())
# Operators through which no gradient passes, and the inputs of others that are settings.
NO_GRADIENT = _MEASURING | frozenset(
    "Equal Less LessOrEqual Greater GreaterOrEqual ArgMax ArgMin NonZero IsNaN IsInf Not And Or Xor Range "
    "OneHot Sign Floor Ceil Round Bernoulli".split()
)
_SETTINGS = {
    "Clip": (1, 2),
    "CumSum": (1,),
    "Dropout": (1, 2),
    "Expand": (1,),
    "Pad": (1, 2, 3),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "Slice": (1, 2, 3, 4),
    "Tile": (1,),
    "TopK": (1,),
    "Upsample": (1,),
}
WHOLE = frozenset((TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL, TensorProto.UINT8, TensorProto.INT8))


def reaching(graph: Graph, *, gradient: bool = True) -> set[Edge]:
    """The node inputs from which a gradient of a float output comes back; without it, those any output depends on."""
    found: set[Edge] = set()
    waiting = [name for name in graph.outputs if not gradient or _type_of(graph, name) not in WHOLE]
    seen = set(waiting)
    closed: Collection[str] = NO_GRADIENT if gradient else _MEASURING
    while waiting:
        index = graph.producer.get(waiting.pop())
        if index is None:
            continue
        node = graph.nodes[index]
        if node.op_type in closed or (gradient and node.op_type == "Cast" and attribute(node, "to") in WHOLE):
            continue
        settings = _SETTINGS.get(node.op_type, ())
        names = []
        for slot, name in enumerate(node.input):
            if name and slot not in settings and not (gradient and node.op_type == "Where" and slot == 0):
                found.add(Edge(index, slot))
                found.update(graph.within(Edge(index, slot)))
                names.append(name)
        for body in graph.layout.bodies.get(index, {}).values():
            names += body.outputs
        for name in names:
            if name not in seen:
                seen.add(name)
                waiting.append(name)
    return found


def fed(graph: Graph) -> set[str]:
    """Tensors that values of the graph's inputs flow into."""
    found = {v.name for v in graph.inputs}
    for body in graph.layout.all_bodies():
        found.update(body.inputs)
    for index, node in enumerate(graph.nodes):
        if node.op_type == "Shape":
            continue
        if any(name in found for name in (*node.input, *graph.captured.get(index, ()))):
            found.update(node.output)
    return found


def _type_of(graph: Graph, name: str) -> int:
    info = graph.value_info.get(name)
    return info.type.tensor_type.elem_type if info is not None else TensorProto.FLOAT
