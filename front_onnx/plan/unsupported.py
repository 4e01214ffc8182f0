"""What a model may hold that no size change is possible with: said once, clearly, before anything is planned."""

from __future__ import annotations

import re

import numpy as np
from onnx import TensorProto

from front_onnx.errors import UnsupportedError
from front_onnx.plan.request import Request
from front_onnx.read.graph import Graph, label
from front_onnx.read.node import AnyNode

__all__ = ["refuse_unsupported"]

_QUANTISED = re.compile(r"[Qq]uanti[sz]e|^Q[A-Z]|NBits|Bnb4|FpQ4|(MatMul|Conv)Integer")


def refuse_unsupported(graph: Graph, request: Request) -> None:
    """Let models without quantised or sparse weights pass, and requests that change nothing.

    Raises:
        UnsupportedError: the node or tensor in the way, and what to do.
    """
    if request == Request(scale=request.scale):
        return
    for index, node in enumerate(graph.nodes):
        if is_quantised(node) or _restores(graph, index):
            raise UnsupportedError(
                f"the model is quantised: {node.op_type} works on rounded numbers, which cannot be resampled",
                node=label(node, index),
                hint="resize the float model and quantise the result again",
            )
    for tensor in graph.proto.sparse_initializer:
        raise UnsupportedError(
            f"initializer {tensor.values.name} is sparse: what is left out cannot be resampled",
            hint="store it as a dense tensor",
        )


def is_quantised(node: AnyNode) -> bool:
    """True for operators on quantised numbers, of the standard and of onnxruntime."""
    return _QUANTISED.search(node.op_type) is not None


def _restores(graph: Graph, index: int) -> bool:
    """True if a Cast makes floats of a matrix of bytes; one of two values is a mask."""
    node = graph.nodes[index]
    tensor = graph.constants.get(node.input[0]) if node.op_type == "Cast" else None
    if tensor is None or tensor.data_type not in (TensorProto.INT8, TensorProto.UINT8) or len(tensor.dims) < 2:
        return False
    floats = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
    return graph.attribute(index, "to") in floats and np.unique(graph.array(node.input[0])).size > 2
