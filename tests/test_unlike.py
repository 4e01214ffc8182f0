"""Modules that count like blocks and are no chain: the error says what parts them."""

from __future__ import annotations

import onnx
import pytest
from test_constants_fooled import Net

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
