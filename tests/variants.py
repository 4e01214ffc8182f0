"""The same model written another way: what other exporters, converters and older files do with weights."""

from collections.abc import Callable

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper


def as_inputs(model: onnx.ModelProto) -> onnx.ModelProto:
    """Every initializer is a graph input too, as IR version 3 demands."""
    copy = _copy(model)
    for tensor in copy.graph.initializer:
        copy.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    copy.ir_version = 3
    return copy


def in_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """Every weight in a Constant node."""
    copy = _copy(model)
    nodes = [helper.make_node("Constant", [], [t.name], f"constant_{t.name}", value=t) for t in copy.graph.initializer]
    del copy.graph.initializer[:]
    return _before(copy, nodes)


def behind_identity(model: onnx.ModelProto) -> onnx.ModelProto:
    """Every weight behind an Identity node."""
    return _behind(model, lambda array: (array, helper.make_node("Identity", [], [])))


def behind_transpose(model: onnx.ModelProto) -> onnx.ModelProto:
    """Every matrix stored the other way round, behind a Transpose node."""

    def turned(array: np.ndarray) -> tuple[np.ndarray, NodeProto] | None:
        if array.ndim != 2:
            return None
        return np.ascontiguousarray(array.T), helper.make_node("Transpose", [], [], perm=[1, 0])

    return _behind(model, turned)


def behind_cast(model: onnx.ModelProto) -> onnx.ModelProto:
    """Every weight stored in double precision, behind a Cast node."""
    node = helper.make_node("Cast", [], [], to=TensorProto.FLOAT)
    return _behind(model, lambda array: (array.astype(np.float64), node))


def _behind(
    model: onnx.ModelProto, store: Callable[[np.ndarray], tuple[np.ndarray, NodeProto] | None]
) -> onnx.ModelProto:
    copy = _copy(model)
    nodes = []
    for tensor in copy.graph.initializer:
        name, array = tensor.name, numpy_helper.to_array(tensor)
        stored = store(array) if array.dtype == np.float32 and array.size > 1 else None
        if stored is None:
            continue
        tensor.CopyFrom(numpy_helper.from_array(stored[0], f"{name}.stored"))
        node = NodeProto()
        node.CopyFrom(stored[1])
        node.name = f"restore_{name}"
        node.input.append(tensor.name)
        node.output.append(name)
        nodes.append(node)
    return _before(copy, nodes)


def _before(model: onnx.ModelProto, nodes: list[NodeProto]) -> onnx.ModelProto:
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])
    return model


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


VARIANTS = {
    "inputs, IR 3": as_inputs,
    "constants": in_constants,
    "identity": behind_identity,
    "transpose": behind_transpose,
    "cast": behind_cast,
}
