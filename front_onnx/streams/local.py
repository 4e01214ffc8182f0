"""What a few nodes make of one tensor and constants, seen by running them on noise."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from front_onnx.axes.size import Axis, size_of
from front_onnx.operators.record import Trait, record_of
from front_onnx.read.graph import Edge, Graph

__all__ = ["between", "computed", "local_nodes", "noise_like", "small_session"]

_POINTWISE = Trait.ARITHMETIC | Trait.ROOT | Trait.REDUCES | Trait.BOUNDS | Trait.MAGNITUDE | Trait.VIEW | Trait.REPEATS
_COMPARED = ("Equal", "Less", "Greater", "And", "Or", "Not", "Where")  # a variance may be told from rounding
_OTHERS = frozenset(("Pow", "Reciprocal", "Neg", "Cast", "Sub", "Identity", "ReduceMean", *_COMPARED))
_MANY = 24  # nodes
_ROWS = 6  # of noise


def local_nodes(graph: Graph, start: str, others: Collection[str] = ()) -> list[int]:
    """The nodes that only a tensor and constants lead to; `others` are operators allowed besides the usual ones."""
    inside = {start}
    nodes: list[int] = []
    waiting = sorted({edge.node for edge in graph.consumers.get(start, ())})
    for _ in range(4 * _MANY):
        if not waiting or len(nodes) >= _MANY:
            break
        index = waiting.pop(0)
        node = graph.nodes[index]
        simple = record_of(node).has(_POINTWISE) or node.op_type in _OTHERS or node.op_type in others
        before = [_before(graph, Edge(index, slot)) for slot, n in enumerate(node.input) if n and n not in inside]
        if index in nodes or not simple or None in before or record_of(node).has(Trait.BENDS):
            continue
        nodes += [each for casts in before for each in casts or () if each not in nodes]
        nodes.append(index)
        inside.update(node.output)
        more = {edge.node for name in node.output for edge in graph.consumers.get(name, ())}
        waiting = sorted({*waiting, *more})
    return sorted(nodes)


def _before(graph: Graph, edge: Edge) -> list[int] | None:
    """The nodes between a constant and a node input, as casts of a gain; None if no constant is read there."""
    found = list[int]()
    stored = graph.stored(edge)
    if graph.nodes[stored.node].input[stored.slot] not in graph.constants:
        return None
    while edge != stored:
        found.append(graph.producer[graph.nodes[edge.node].input[edge.slot]])
        edge = Edge(found[-1], 0)
    return found


def noise_like(axes: Sequence[Axis]) -> np.ndarray:
    """Noise of a tensor's shape, with few entries where a size is known at run time alone."""
    shape = [size_of(axis) for axis in axes]
    outer = zip(axes[:-1], shape[:-1], strict=True)
    shape[:-1] = [min(size, _ROWS) if axis and axis[0].symbols else size for axis, size in outer]
    return np.random.default_rng(0).normal(0.3, 1.0, shape)


def computed(graph: Graph, start: str, nodes: list[int], noise: np.ndarray) -> dict[str, np.ndarray] | None:
    """What nodes make of noise, by tensor; None if that cannot be run by itself."""
    held = {name: None for index in nodes for name in graph.nodes[index].input if name in graph.constants}
    tensors = [numpy_helper.from_array(np.asarray(graph.array(name)), name) for name in held]
    uncast = {name for index in nodes if graph.nodes[index].op_type != "Cast" for name in graph.nodes[index].input}
    kinds = [t.data_type for t in tensors if t.data_type in (1, 10, 11, 16) and t.name in uncast]
    kind = kinds[0] if kinds else onnx.TensorProto.FLOAT
    outputs = [str(name) for index in nodes for name in graph.nodes[index].output if name]
    part = helper.make_graph(
        [graph.nodes[index].proto for index in nodes],
        "part",
        [helper.make_tensor_value_info(start, kind, list(noise.shape))],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        tensors,
    )
    proto = graph.model.proto
    model = helper.make_model(part, opset_imports=proto.opset_import, ir_version=proto.ir_version)
    try:
        session = small_session(model)
        fed = noise.astype(helper.tensor_dtype_to_np_dtype(kind))
        return dict(zip(outputs, session.run(None, {start: fed}), strict=True))
    except Exception:  # nodes that onnxruntime does not run by themselves are nothing that is known
        return None


def small_session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """Load a few nodes that run for a moment: no threads of their own, which take longer to start than they do."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def between(graph: Graph, start: str, output: str, nodes: Collection[int]) -> frozenset[int]:
    """The nodes that an output needs, of some."""
    found: set[int] = set()
    waiting = [output]
    while waiting:
        maker = graph.producer.get(waiting.pop())
        if maker is not None and maker in nodes and maker not in found:
            found.add(maker)
            waiting += [name for name in graph.nodes[maker].input if name != start]
    return frozenset(found)
