"""Graphs deeper than Python's stack, and expressions that share their parts: neither recursion nor repetition."""

from __future__ import annotations

import random

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from small_graphs import Net

from front_onnx.api import inspect, resize

_DEEP = 1200  # more than the limit of the interpreter


def model(net: Net, output: str) -> onnx.ModelProto:
    """The graph as it is: onnxruntime need not load it."""
    info = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
    graph = helper.make_graph(net.nodes, "deep", net.inputs, [info], net.weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])


def reshaped(steps: int, step) -> onnx.ModelProto:
    """Two dense layers, between them a Reshape whose batch is computed in many steps."""
    net = Net(random.Random(0))
    x = net.input(["batch", 8], name="x")
    number = net.add("Gather", net.add("Shape", x), net.const(0, np.int64))
    for _ in range(steps):
        number = step(net, number)
    shape = net.add("Concat", net.add("Unsqueeze", number, net.ints(0)), net.ints(6), axis=0)
    y = net.add("Reshape", net.add("MatMul", x, net.weight(8, 6, name="first")), shape)
    return model(net, net.add("MatMul", y, net.weight(6, 3, name="second")))


@pytest.mark.parametrize(
    ("steps", "step"),
    [
        (_DEEP, lambda net, n: net.add("Sub", net.add("Add", n, net.const(1, np.int64)), net.const(1, np.int64))),
        (64, lambda net, n: net.add("Div", net.add("Add", n, n), net.const(2, np.int64))),  # 2^64 if not shared
    ],
    ids=["deep", "shared"],
)
def test_sizes_computed_in_many_steps(steps: int, step) -> None:
    proto = reshaped(steps, step)
    plan = resize(proto, width_mult=2, dry_run=True).plan
    assert [(d.size, plan.sizes[d.var]) for d in plan.structure.dims if d.kind == "inner"] == [(6, 12)]


@pytest.mark.slow
def test_a_tower_that_is_deeper_than_the_stack() -> None:
    """For the way through one tower, all of the other is a side expression."""
    net = Net(random.Random(0))
    ends = []
    for name, width, depth in (("a", 4, _DEEP // 2), ("b", 6, _DEEP // 4)):
        x = net.input(["batch", width], name=name)
        for i in range(depth):
            x = net.add("Relu", net.add("MatMul", x, net.weight(width, width, name=f"{name}.{i}.w")))
        ends.append(x)
    both = net.add("Concat", *ends, axis=1)
    chains = inspect(model(net, net.add("MatMul", both, net.weight(10, 3)))).chains
    assert [(chain.name, chain.depth) for chain in chains] == [("a", _DEEP // 2), ("b", _DEEP // 4)]
