"""Layers of several kinds in turn are one chain, whatever is left at its end, and go on as the pattern does."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import onnx
import pytest
from small_graphs import Net
from zoo.oracle import compare

from front_onnx.api import inspect, resize
from front_onnx.blocks.evidence import found_by
from front_onnx.errors import RequestError

WIDTH = 6


def in_turn(depth: int, period: int, *, first_is_odd: bool = True, seed: int = 0) -> onnx.ModelProto:
    """Layers that read one mask, and each `period`-th, from the first on or the last of each, another one."""
    net, rng = Net(random.Random(seed)), np.random.default_rng(seed)

    def weight(name: str, *shape: int) -> str:
        return net.const(rng.uniform(-1, 1, shape).astype(np.float32), name=name)

    mask = net.input(["batch", "length", 1], name="mask")
    sides = [net.add("Abs", mask), net.add("Mul", net.add("Neg", mask), mask)]
    x = net.add("MatMul", net.input(["batch", "length", 4], name="x"), weight("stem", 4, WIDTH))
    for number in range(depth):
        name, start = f"layers.{number}", len(net.nodes)
        far = number % period == 0 if first_is_odd else (number + 1) % period == 0
        h = net.add("Mul", x, weight(f"{name}.norm", WIDTH)) if number or not first_is_odd else x
        h = net.add("Add", net.add("MatMul", h, weight(f"{name}.w", WIDTH, WIDTH)), sides[far])
        x = net.add("Add", x, net.add("Tanh", h))
        h = net.add("MatMul", net.add("Mul", x, weight(f"{name}.norm2", WIDTH)), weight(f"{name}.up", WIDTH, 9))
        x = net.add("Add", x, net.add("MatMul", net.add("Relu", h), weight(f"{name}.down", 9, WIDTH)))
        count = Counter[tuple[str, str]]()  # a first layer without its norm counts as the others do
        for node in net.nodes[start:]:
            part = "norm" if node.op_type == "Mul" else "block"
            node.name = f"/{name}/{part}/{node.op_type}_{count[part, node.op_type]}"
            count[part, node.op_type] += 1
    net.add("MatMul", x, weight("head", WIDTH, 5))
    net.nodes[-1].output[0] = "out"
    return net.model("out")


@pytest.mark.parametrize(
    "depth, period, first_is_odd",
    [(6, 3, True), (5, 3, True), (8, 3, True), (9, 3, True), (4, 3, True), (8, 3, False), (8, 4, True), (5, 2, True)],
)
def test_a_chain_has_all_layers_and_goes_on_as_they_do(depth: int, period: int, first_is_odd: bool) -> None:
    model = in_turn(depth, period, first_is_odd=first_is_odd)
    (chain,) = inspect(model).chains
    assert (chain.name, chain.depth, chain.layers) == ("layers", depth, period)
    for target in {depth % period or period, depth + period, depth + 2 * period}:
        native = in_turn(target, period, first_is_odd=first_is_odd, seed=1)
        assert not compare(resize(model, depth=target).model, native, names=True), target


def test_other_depths_are_refused_with_those_that_can_be() -> None:
    with pytest.raises(RequestError, match=r"its unit holds 3 layers.*got 7, wanted 6 or 9"):
        resize(in_turn(6, 3), depth=7)


def test_an_odd_last_layer_makes_no_period() -> None:
    """Four layers of one kind and a last one of another: nothing says that this comes again."""
    model = in_turn(5, 5, first_is_odd=False)
    (chain,) = inspect(model).chains
    assert (chain.depth, chain.layers) == (4, 1)


def uneven(depth: int, kinds: str, *, seed: int = 0) -> onnx.ModelProto:
    """Layers of two kinds: one branch beside the stream (a), or two, one behind the other (b)."""
    net, rng = Net(random.Random(seed)), np.random.default_rng(seed)

    def weight(name: str, *shape: int) -> str:
        return net.const(rng.uniform(-1, 1, shape).astype(np.float32), name=name)

    x = net.add("MatMul", net.input(["batch", 4], name="x"), weight("stem", 4, WIDTH))
    for number in range(depth):
        name, start = f"layers.{number}", len(net.nodes)
        for branch, op in enumerate(("Relu",) if kinds[number % len(kinds)] == "a" else ("Tanh", "Sigmoid")):
            h = net.add(op, net.add("MatMul", x, weight(f"{name}.up{branch}", WIDTH, 9)))
            x = net.add("Add", x, net.add("MatMul", h, weight(f"{name}.down{branch}", 9, WIDTH)))
        for place, node in enumerate(net.nodes[start:]):
            node.name = f"/{name}/part{place}/{node.op_type}"
    net.add("MatMul", x, weight("head", WIDTH, 5))
    net.nodes[-1].output[0] = "out"
    return net.model("out")


@pytest.mark.parametrize(
    "depth, kinds", [(7, "aba"), (8, "aba"), (6, "aba"), (5, "ab"), (5, "ba"), (8, "abb"), (9, "babb"), (10, "babb")]
)
def test_layers_that_are_cut_into_different_numbers_of_pieces_are_counted(depth: int, kinds: str) -> None:
    model = uneven(depth, kinds)
    (chain,) = inspect(model).chains
    assert (chain.depth, chain.layers) == (depth, len(kinds))
    for target in {depth % len(kinds) or len(kinds), depth + len(kinds)}:
        resized = resize(model, depth=target)
        assert not compare(resized.model, uneven(target, kinds, seed=1), names=True), target
        assert not resized.plan.warnings


def test_how_a_chain_was_found_is_told_with_what_is_left_behind_its_units() -> None:
    structure = inspect(uneven(8, "aba"))
    (chain,) = structure.chains
    found = found_by(structure.graph, chain)
    assert found == {
        "by": "structure and names",
        "first": "layers.0",
        "last": "layers.5",
        "beside": {"first": 0, "last": 2},
    }


@pytest.mark.parametrize("target", [2, 3])
def test_a_layer_of_another_kind_is_told_whenever_a_depth_is_asked_for(target: int) -> None:
    """Five layers show no period of three twice: the odd ones are beside the chain, and who asks for 3 gets 5."""
    (warning,) = resize(uneven(5, "aba"), depth=target).plan.warnings
    assert warning.startswith("layers.0, layers.4: of another kind than the blocks of layers")


def numbered(kinds: str, *, seed: int = 0) -> onnx.ModelProto:
    """Modules with numbers that each add to the stream: attention (a), a filter (f), one of each channel (d),
    a matrix over the places (t), or each place by itself (p).
    """
    net, rng = Net(random.Random(seed)), np.random.default_rng(seed)

    def weight(name: str, *shape: int) -> str:
        return net.const(rng.uniform(-1, 1, shape).astype(np.float32), name=name)

    x = net.add("MatMul", net.input(["batch", 5, 4], name="x"), weight("stem", 4, WIDTH))
    for number, kind in enumerate(kinds):
        name, start = f"layers.{number}.module", len(net.nodes)
        if kind == "p":
            h = net.add("Relu", net.add("MatMul", x, weight(f"{name}.up.weight", WIDTH, 9)))
            h = net.add("MatMul", h, weight(f"{name}.down.weight", 9, WIDTH))
        elif kind == "t":
            h = net.add("MatMul", net.add("Transpose", x, perm=[0, 2, 1]), weight(f"{name}.mix.weight", 5, 5))
            h = net.add("Transpose", net.add("Tanh", h), perm=[0, 2, 1])
        elif kind == "d":
            h = net.add("Transpose", x, perm=[0, 2, 1])
            h = net.add("Conv", h, weight(f"{name}.w", WIDTH, 1, 3), pads=[1, 1], group=WIDTH)
            h = net.add("Transpose", h, perm=[0, 2, 1])
        elif kind == "f":
            h = net.add(
                "Conv", net.add("Transpose", x, perm=[0, 2, 1]), weight(f"{name}.w", WIDTH, WIDTH, 3), pads=[1, 1]
            )
            h = net.add("Tanh", net.add("Transpose", h, perm=[0, 2, 1]))
        else:
            q, v = (net.add("MatMul", x, weight(f"{name}.{part}.weight", WIDTH, WIDTH)) for part in "qv")
            shares = net.add("Softmax", net.add("MatMul", q, net.add("Transpose", x, perm=[0, 2, 1])), axis=-1)
            h = net.add("MatMul", net.add("MatMul", shares, v), weight(f"{name}.out.weight", WIDTH, WIDTH))
        x = net.add("Add", x, h)
        for place, node in enumerate(net.nodes[start:]):
            where = name.replace(".", "/") if node is not net.nodes[-1] else f"layers/{number}"
            node.name = f"/{where}/{node.op_type}_{place}"
    net.add("MatMul", x, weight("head", WIDTH, 5))
    net.nodes[-1].output[0] = "out"
    return net.model("out")


@pytest.mark.parametrize(
    "pattern, layers, depths",
    [
        ("ap", 1, (2, 5)),
        ("fp", 1, (2, 5)),
        ("dp", 1, (2, 5)),
        ("tp", 1, (2, 5)),
        ("fa", 2, (4, 10)),
        ("apfp", 2, (4, 10)),
    ],
    ids=["attention", "filter", "filter of channels", "matrix over places", "two that mix", "two blocks"],
)
def test_what_mixes_and_what_does_not_are_one_block_though_both_have_numbers(
    pattern: str, layers: int, depths: tuple[int, int]
) -> None:
    (chain,) = inspect(numbered(pattern * 3)).chains
    assert (chain.depth, chain.layers) == (3 * layers, layers)
    for depth in depths:
        native = numbered(pattern * (depth // layers), seed=1)
        assert not compare(resize(numbered(pattern * 3), depth=depth).model, native, names=True), depth
