"""Blocks are found whatever the order in which a file lists what meets behind them."""

from __future__ import annotations

import random

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from small import run
from small_graphs import Net
from zoo.oracle import compare

from front_onnx.api import inspect, resize
from front_onnx.read.graph import Graph
from front_onnx.session import FilledModel, Session

WIDTH = 6


def skips(depth: int, *, late: bool) -> onnx.ModelProto:
    """Blocks that go on, and give something to a sum each; `late`: all sums stand behind the last block."""
    net = Net(random.Random(0))
    x = net.add("MatMul", net.input(["batch", 4]), net.weight(4, WIDTH, name="stem"))
    parts, total = [], net.add("Mul", x, net.weight(WIDTH, name="first"))
    for number in range(depth):
        y = net.add("Tanh", net.add("MatMul", x, net.weight(WIDTH, 9, name=f"b.{number}.up")))
        x = net.add("Add", x, net.add("MatMul", y, net.weight(9, WIDTH, name=f"b.{number}.down")))
        parts.append(net.add("MatMul", y, net.weight(9, WIDTH, name=f"b.{number}.skip")))
        if not late:
            total = net.add("Add", total, parts[-1])
    for part in parts if late else ():
        total = net.add("Add", total, part)
    net.add("MatMul", net.add("Relu", net.add("Add", x, total)), net.weight(WIDTH, 5, name="head"))
    net.nodes[-1].output[0] = "out"
    return net.model("out")


@pytest.mark.parametrize("late", [False, True])
def test_skips_may_be_summed_behind_all_blocks(late: bool) -> None:
    source = skips(4, late=late)
    assert [(chain.name, chain.depth) for chain in inspect(source).chains] == [("b", 4)]
    for request, sizes in (({"depth": 6}, 6), ({"depth": 2}, 2)):
        assert not compare(resize(source, **request).model, skips(sizes, late=late))


def test_another_order_computes_the_same() -> None:
    source = skips(4, late=True)
    made = resize(source).model
    feed = {source.graph.input[0].name: np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)}
    np.testing.assert_array_equal(run(source, feed)[0], run(made, feed)[0])


def test_another_order_keeps_weights_that_lie_beside_the_graph() -> None:
    source = skips(4, late=True)
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in source.graph.initializer}
    bare = onnx.ModelProto()
    bare.CopyFrom(source)
    for tensor in bare.graph.initializer:
        tensor.ClearField("raw_data")
    structure = Session(Graph(FilledModel(bare, arrays))).structure
    assert [chain.depth for chain in structure.chains] == [4]
    assert all(np.array_equal(structure.graph.array(name), array) for name, array in arrays.items())
