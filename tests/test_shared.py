"""Weights that several blocks, levels or towers share stay shared, and what is no block of theirs is none."""

from __future__ import annotations

import random

import onnx
import pytest
from small_graphs import Net
from zoo.oracle import compare

from front_onnx.api import inspect, resize
from front_onnx.errors import RequestError, UnsupportedError

WIDTH = 6


def _conv(net: Net, x: str, weight: str, where: str) -> str:
    made = net.add("Relu", net.add("Conv", x, weight, kernel_shape=[3, 3], pads=[1, 1, 1, 1]))
    for node in net.nodes[-2:]:
        node.name = f"/{where}/{node.op_type}_{len(net.nodes)}"
    return made


def _weights(net: Net, name: str, count: int) -> list[str]:
    return [net.weight(WIDTH, WIDTH, 3, 3, name=f"{name}.{number}.weight") for number in range(count)]


def pyramid(depth: int, *, own: bool, named: bool = True) -> onnx.ModelProto:
    """A head of some convolutions that two levels share; with `own`, one level has a convolution like them before."""
    net = Net(random.Random(0))
    x = net.input(["batch", 3, 8, 8])
    x = net.add("Conv", x, net.weight(WIDTH, 3, 1, 1, name="stem.weight"))
    small = net.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    shared = _weights(net, "head", depth)
    last = net.weight(2, WIDTH, 1, 1, name="last.weight")
    for level, y in enumerate((x, small)):
        if own and level:
            y = _conv(net, y, net.weight(WIDTH, WIDTH, 3, 3, name="lateral.weight"), "lateral")
        for number, weight in enumerate(shared):
            y = _conv(net, y, weight, f"head.{number}" if named else "")
        net.add("GlobalAveragePool", net.add("Conv", y, last))
        net.nodes[-1].output[0] = "coarse" if level else "fine"
    model = net.model("fine", "coarse")
    for node in model.graph.node if not named else ():
        node.name = ""
    return model


@pytest.mark.parametrize("own", [False, True], ids=["alike", "own"])
@pytest.mark.parametrize("named", [True, False], ids=["named", "nameless"])
def test_a_head_that_levels_share_stays_shared_at_every_depth(own: bool, named: bool) -> None:
    source = pyramid(3, own=own, named=named)
    assert [chain.depth for chain in inspect(source).chains] == [3, 3]
    for depth in (2, 5):
        resized = resize(source, depth=depth).model
        assert not compare(resized, pyramid(depth, own=own, named=named)), depth
        assert len([t for t in resized.graph.initializer if list(t.dims) == [WIDTH, WIDTH, 3, 3]]) == depth + own


def two_heads(depth: int, *, named: bool) -> onnx.ModelProto:
    """Two heads, each of some convolutions, that both read each of two levels."""
    net = Net(random.Random(0))
    x = net.input(["batch", 3, 8, 8])
    x = net.add("Conv", x, net.weight(WIDTH, 3, 1, 1, name="stem.weight"))
    small = net.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    heads = {name: _weights(net, name, depth) for name in ("classes", "boxes")}
    last = {name: net.weight(2 + len(name), WIDTH, 1, 1, name=f"{name}.last.weight") for name in heads}
    outputs = []
    for level, given in (("fine", x), ("coarse", small)):
        for name, weights in heads.items():
            y = given
            for number, weight in enumerate(weights):
                y = _conv(net, y, weight, f"{name}.{number}" if named else "")
            net.add("GlobalAveragePool", net.add("Conv", y, last[name]))
            outputs.append(f"{level}_{name}")
            net.nodes[-1].output[0] = outputs[-1]
    model = net.model(*outputs)
    for node in model.graph.node if not named else ():
        node.name = ""
    return model


@pytest.mark.parametrize("named", [True, False], ids=["named", "nameless"])
def test_the_first_layer_of_heads_that_read_one_tensor_counts(named: bool) -> None:
    source = two_heads(3, named=named)
    assert [chain.depth for chain in inspect(source).chains] == [3] * 4
    for depth in (2, 5):
        assert not compare(resize(source, depth=depth).model, two_heads(depth, named=named)), depth


def tower(first: int, second: int) -> onnx.ModelProto:
    """Blocks of an encoder, and behind them blocks of a decoder that look like them."""
    net = Net(random.Random(0))
    x = net.add("MatMul", net.input(["batch", 4]), net.weight(4, WIDTH, name="stem"))
    for part, count in (("encoder", first), ("decoder", second)):
        for number in range(count):
            name, start = f"{part}.{number}", len(net.nodes)
            y = net.add("Relu", net.add("MatMul", x, net.weight(WIDTH, 9, name=f"{name}.up.weight")))
            x = net.add("Add", x, net.add("MatMul", y, net.weight(9, WIDTH, name=f"{name}.down.weight")))
            for place, node in enumerate(net.nodes[start:]):
                node.name = f"/{name}/part{place}/{node.op_type}"
    net.add("MatMul", x, net.weight(WIDTH, 5, name="last"))
    net.nodes[-1].output[0] = "out"
    return net.model("out")


def test_blocks_of_two_containers_are_two_chains() -> None:
    source = tower(3, 2)
    assert [(chain.name, chain.depth) for chain in inspect(source).chains] == [("encoder", 3), ("decoder", 2)]
    assert not compare(resize(source, depth="encoder=2,decoder=4").model, tower(2, 4), names=True)
    with pytest.raises(RequestError, match="depth takes one number per chain"):
        resize(source, depth=4)


def with_a_second_reader(depth: int) -> onnx.ModelProto:
    """Blocks whose gains are summed up beside them as well, as the determinants of a flow are."""
    net = Net(random.Random(0))
    x = net.add("MatMul", net.input(["batch", 4]), net.weight(4, WIDTH))
    total = []
    for number in range(depth):
        gain = net.weight(WIDTH, name=f"b.{number}.gain")
        x = net.add("Add", x, net.add("Tanh", net.add("MatMul", net.add("Mul", x, gain), net.weight(WIDTH, WIDTH))))
        total.append(net.add("ReduceSum", net.add("Abs", gain), keepdims=1))
    y = net.add("MatMul", x, net.weight(WIDTH, 5))
    for part in total:
        y = net.add("Add", y, part)
    return net.model(y)


def test_a_weight_that_is_read_beside_its_block_as_well_keeps_the_depth() -> None:
    with pytest.raises(UnsupportedError, match=r"b\.0\.gain is one of its weights, and is read where no block"):
        resize(with_a_second_reader(3), depth=5)


def halved(depth: int, halves: tuple[str, ...]) -> onnx.ModelProto:
    """Blocks of parts that look alike, and scales that belong to no part."""
    net = Net(random.Random(0))
    x = net.add("MatMul", net.input(["batch", 4]), net.weight(4, WIDTH, name="stem"))
    for number in range(depth):
        for half in halves:
            name, start = f"blocks.{number}", len(net.nodes)
            y = net.add("Tanh", net.add("MatMul", x, net.weight(WIDTH, WIDTH, name=f"{name}.{half}.weight")))
            x = net.add("Add", x, net.add("Mul", y, net.weight(WIDTH, name=f"{name}.scale_{half}")))
            for node in net.nodes[start:]:
                inside = node.op_type in ("MatMul", "Tanh")
                node.name = f"/{name}/{half}/{node.op_type}" if inside else f"/{name}/{node.op_type}_{half}"
    net.add("MatMul", x, net.weight(WIDTH, 5, name="last"))
    net.nodes[-1].output[0] = "out"
    return net.model("out")


@pytest.mark.parametrize("halves", [("first", "second"), ("ff1", "ff2"), ("a", "b", "c")], ids="-".join)
def test_parts_of_a_block_that_look_alike_are_one_block(halves: tuple[str, ...]) -> None:
    source = halved(3, halves)
    (chain,) = inspect(source).chains
    assert (chain.name, chain.depth, chain.layers) == ("blocks", 3, 1)
    for depth in (1, 5):
        assert not compare(resize(source, depth=depth).model, halved(depth, halves), names=True), depth


def test_stages_of_one_width_are_a_chain_each() -> None:
    """Blocks in numbered stages, nothing between them: the author of the model counts them in each stage."""
    net = Net(random.Random(0))
    x = net.add("MatMul", net.input(["batch", 4]), net.weight(4, WIDTH))
    for stage, count in enumerate((2, 3)):
        for number in range(count):
            start = len(net.nodes)
            y = net.add("Tanh", net.add("MatMul", x, net.weight(WIDTH, WIDTH, name=f"s.{stage}.b.{number}.weight")))
            x = net.add("Add", x, net.add("MatMul", y, net.weight(WIDTH, WIDTH, name=f"s.{stage}.b.{number}.out")))
            for place, node in enumerate(net.nodes[start:]):
                node.name = f"/s.{stage}/b.{number}/part{place}/{node.op_type}"
    assert [chain.depth for chain in inspect(net.model(net.add("MatMul", x, net.weight(WIDTH, 5)))).chains] == [2, 3]
