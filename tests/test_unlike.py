"""Modules that count like blocks and are no chain: the error says what parts them."""

from __future__ import annotations

import random

import numpy as np
import onnx
import pytest
import small_graphs
from test_constants_fooled import Net
from zoo.oracle import compare

from front_onnx import resize
from front_onnx.errors import RequestError


def named(net: Net, first: int, stem: str, number: int) -> None:
    """Give the nodes from the first on the names of a module."""
    for node in net.nodes[first:]:
        node.name = f"/{stem}.{number}{node.name}"


def stack(widths: list[int], activations: list[str]) -> onnx.ModelProto:
    net, x = Net(), "x"
    for number, (before, after) in enumerate(zip([7, *widths], widths, strict=False)):
        start = len(net.nodes)
        x = net.add(activations[number], net.linear(x, before, after))
        named(net, start, "enc/layers", number)
    return net.model(net.linear(x, widths[-1], 3), 3)


def test_weights_of_other_shapes() -> None:
    with pytest.raises(RequestError, match=r"layers\.2 and .*layers\.3 differ in shape: 12 x 16 and 16 x 20"):
        resize(stack([8, 12, 16, 20], ["Relu"] * 4), depth=2)


def test_other_operators() -> None:
    kinds = ["Relu", "Tanh", "Sigmoid", "Elu"]
    with pytest.raises(RequestError, match=r"differ: 1 Sigmoid in .*layers\.2 alone, 1 Elu in .*layers\.3 alone"):
        resize(stack([8] * 4, kinds), depth=2)


def test_nothing_that_counts() -> None:
    net = Net()
    model = net.model(net.linear(net.add("Relu", net.linear("x", 7, 8)), 8, 3), 3)
    for node in model.graph.node:
        node.name = node.op_type
    for number, tensor in enumerate(model.graph.initializer):
        for node in model.graph.node:
            node.input[:] = ["abcd"[number] if name == tensor.name else name for name in node.input]
        tensor.name = "abcd"[number]
    with pytest.raises(RequestError, match=r"its depth cannot change$"):
        resize(model, depth=2)


def recurrent(layers: int, hidden: int, seed: int = 0) -> onnx.ModelProto:
    """Layers whose states are parts of one input, as torch's LSTM has them."""
    net = small_graphs.Net(random.Random(seed), opset=17)
    y = net.add("Gather", net.weight(9, hidden, name="table"), net.input(["time", "batch"], np.int64, "ids"))
    states = [net.input([layers, "batch", hidden], name=name) for name in ("h0", "c0")]
    made: list[tuple[str, ...]] = []
    for number in range(layers):
        own = [net.add("Slice", x, net.ints(number), net.ints(number + 1), net.ints(0)) for x in states]
        w, r = (net.weight(1, 4 * hidden, hidden, name=f"r.{kind}.{number}") for kind in "wr")
        y, *after = net.add("LSTM", y, w, r, "", "", *own, outputs=3, hidden_size=hidden)
        y = net.add("Squeeze", y, net.ints(1))
        made.append(tuple(after))
    ends = [net.add("Concat", *parts, axis=0) for parts in zip(*made, strict=True)]
    return net.model(net.add("MatMul", y, net.weight(hidden, 3, name="head")), *ends)


def test_states_that_are_parts_of_one_input() -> None:
    with pytest.raises(RequestError, match=r"LSTM.* and LSTM.* begin with parts of input h0"):
        resize(recurrent(2, 4), depth=3)


@pytest.mark.parametrize("layers", [2, 3])
def test_states_follow_the_width_when_they_are_named(layers: int) -> None:
    kept = resize(recurrent(layers, 4), width_mult=2)
    assert any("size of a state" in warning for warning in kept.plan.warnings)
    assert not compare(resize(recurrent(layers, 4), width_mult=2, dims={"h0.2": 8}).model, recurrent(layers, 8, seed=1))
