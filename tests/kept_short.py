"""Models whose weights are kept in short floats: cast before they are used, or computed with between casts."""

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SHORT = {"float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16)}


def stored_short(model: onnx.ModelProto, kind: str) -> onnx.ModelProto:
    """The same model whose float weights are kept short, each cast to float32 at the beginning of the graph."""
    found = onnx.ModelProto()
    found.CopyFrom(model)
    casts = []
    for tensor in found.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            name = tensor.name
            limit = float(ml_dtypes.finfo(SHORT[kind]).max)
            values = np.clip(numpy_helper.to_array(tensor), -limit, limit).astype(SHORT[kind])
            tensor.CopyFrom(numpy_helper.from_array(values, f"{name}.short"))
            casts.append(helper.make_node("Cast", [tensor.name], [name], f"{name}.cast", to=TensorProto.FLOAT))
    nodes = [*casts, *found.graph.node]
    del found.graph.node[:]
    found.graph.node.extend(nodes)
    return found


def computed_short(model: onnx.ModelProto, left: tuple[str, ...]) -> onnx.ModelProto:
    """The model as converters to float16 leave it: float32 outside, and in some operators, with casts around them."""
    found = onnx.ModelProto()
    found.CopyFrom(model)
    graph = found.graph
    long = {name for node in graph.node if node.op_type in left for name in node.input}
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and tensor.name not in long:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    constants = {tensor.name for tensor in graph.initializer}
    inputs = {value.name for value in graph.input}
    nodes = [helper.make_node("Cast", [name], [f"{name}.short"], f"{name}.cast", to=10) for name in sorted(inputs)]
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = f"{name}.short" if name in inputs else name
        if node.op_type not in left:
            nodes.append(node)
            continue
        reads = [name for name in node.input if name and name not in constants]
        makes = [name for name in node.output if name]
        nodes += [helper.make_node("Cast", [name], [f"{name}.long {node.name}"], to=1) for name in reads]
        for place, name in enumerate(node.input):
            node.input[place] = f"{name}.long {node.name}" if name in reads else name
        for place, name in enumerate(node.output):
            node.output[place] = f"{name}.long" if name else name
        nodes += [node, *(helper.make_node("Cast", [f"{name}.long"], [name], to=10) for name in makes)]
    for value in graph.output:
        nodes.append(helper.make_node("Cast", [value.name], [f"{value.name}.out"], to=1))
        value.name = f"{value.name}.out"
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    return found
