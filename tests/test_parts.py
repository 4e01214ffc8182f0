"""Inner sizes are called what readers of an architecture call them, by what the graph does with them."""

from __future__ import annotations

import random

import onnx
from small_graphs import Net

from front_onnx.api import inspect


def convolutional(blocks: int) -> onnx.ModelProto:
    """A stem; blocks that expand, convolve each channel, squeeze, and return; blocks of 3 x 3 convolutions; classes."""
    net = Net(random.Random(0))
    same = {"pads": [1, 1, 1, 1], "kernel_shape": [3, 3]}
    x = net.input(["batch", 3, "height", "width"])
    x = net.add("Relu", net.add("Conv", x, net.weight(10, 3, 3, 3), **same))
    x = net.add("Conv", x, net.weight(8, 10, 1, 1))
    for _ in range(blocks):
        y = net.add("Relu", net.add("Conv", x, net.weight(24, 8, 1, 1)))
        y = net.add("Relu", net.add("Conv", y, net.weight(24, 1, 3, 3), group=24, **same))
        gate = net.add("GlobalAveragePool", y)
        gate = net.add("Relu", net.add("Conv", gate, net.weight(6, 24, 1, 1)))
        gate = net.add("Sigmoid", net.add("Conv", gate, net.weight(24, 6, 1, 1)))
        x = net.add("Add", x, net.add("Conv", net.add("Mul", y, gate), net.weight(8, 24, 1, 1)))
    for _ in range(blocks):
        y = net.add("Relu", net.add("Conv", x, net.weight(12, 8, 3, 3), **same))
        x = net.add("Add", x, net.add("Conv", y, net.weight(8, 12, 3, 3), **same))
    pooled = net.add("Flatten", net.add("GlobalAveragePool", x))
    return net.model(net.add("Gemm", pooled, net.weight(8, 5)))


def recurrent(layers: int) -> onnx.ModelProto:
    """Layers of one cell whose states are smaller than what flows between them."""
    net = Net(random.Random(0))
    x = net.add("MatMul", net.input(["time", "batch", 4]), net.weight(4, 8))
    for _ in range(layers):
        states = net.add("LSTM", x, net.weight(1, 20, 8), net.weight(1, 20, 5), hidden_size=5)
        x = net.add("Add", x, net.add("MatMul", net.add("Squeeze", states, net.ints(1)), net.weight(5, 8)))
    return net.model(net.add("MatMul", x, net.weight(8, 3)))


def test_parts_of_convolutional_blocks_have_their_usual_names() -> None:
    sizes = {(dim.name.partition(".")[0], dim.size) for dim in inspect(convolutional(2)).dims if dim.kind == "inner"}
    assert sizes == {("stem", 10), ("expand", 24), ("squeeze", 6), ("mid", 12)}


def test_what_is_pooled_for_classes_is_no_squeeze() -> None:
    net = Net(random.Random(0))
    x = net.add("Relu", net.add("Conv", net.input(["batch", 3, 9, 9]), net.weight(8, 3, 3, 3)))
    pooled = net.add("Flatten", net.add("GlobalAveragePool", x))
    net.add("Gemm", net.add("Relu", net.add("Gemm", pooled, net.weight(8, 6))), net.weight(6, 5))
    assert "squeeze" not in {dim.name for dim in inspect(net.model()).dims}


def test_what_a_cell_carries_is_a_state() -> None:
    assert {dim.name: dim.size for dim in inspect(recurrent(2)).dims if dim.kind == "inner"} == {"state": 5}
