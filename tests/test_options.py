"""Sizes by hand: rounding on request, dims that keep their size, residual widths that the user names."""

from __future__ import annotations

import random

import numpy as np
import onnx
import pytest
from small import DIGITS, mlp, unsigned, weights
from small_graphs import Net, feeds_for, run_all
from test_blocks import shapes, transformer

from front_onnx.api import inspect, resize
from front_onnx.errors import FrontError, RequestError


def planned(model: object, **request: object) -> dict[str, int]:
    """The dims of a plan that do not keep their size by nature."""
    plan = resize(model, dry_run=True, **request).plan
    return {d.name: plan.sizes[d.var] * d.times for d in plan.structure.dims if d.kind != "fixed"}


@pytest.mark.parametrize("size", ["abc", "24", 24.5, float("nan"), None, True, -1])
def test_a_dim_takes_a_whole_number(size: object) -> None:
    with pytest.raises(RequestError, match=r"dim ffn takes a whole number"):
        resize(DIGITS, dims={"ffn": size}, dry_run=True)


# --- rounding --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "step", "hidden", "heads", "ffn"),
    [
        (12, 4, 12, 3, 20),  # heads of 4, ffn 12/8 of the width: 18 is half way, and goes up
        (11, 4, 12, 3, 20),
        (10, 2, 10, 3, 16),  # heads 2.5, ffn 15
        (9, 8, 8, 2, 12),  # what does not change is not rounded
        (1, 8, 8, 2, 12),  # never to nothing
        (13, 1, 13, 3, 20),  # heads 3.25, ffn 19.5
    ],
)
def test_widths_are_rounded_and_heads_are_whole(width: int, step: int, hidden: int, heads: int, ffn: int) -> None:
    sizes = planned(transformer(3), width=width, round_to=step)
    assert sizes == {"hidden": hidden, "heads": heads, "head_dim": 4, "v_head_dim": 4, "ffn": ffn}


def test_a_rounded_model_is_the_model_of_the_rounded_size() -> None:
    source = transformer(3)
    rounded = resize(source, width=11, round_to=4, validate=False).model
    plain = resize(source, width=12, dims={"ffn": 20}, validate=False).model
    assert unsigned(rounded) == unsigned(plain)
    run_all(rounded, feeds_for(rounded))


def test_where_the_graph_ties_the_width_to_its_heads_both_are_rounded() -> None:
    """Heads of 12 and multiples of 8: multiples of 24."""
    sizes = [planned(DIGITS, width=width, round_to=8) for width in (60, 100)]
    assert [(found["hidden"], found["heads"], found["ffn"]) for found in sizes] == [(72, 6, 288), (96, 8, 384)]


def test_nothing_is_rounded_unasked() -> None:
    for request in ({"width": 10}, {"width_mult": "0.7", "exact": True}):
        with pytest.raises(FrontError, match="no size"):
            resize(transformer(3), **request)


def test_sizes_that_are_named_or_kept_are_not_rounded() -> None:
    sizes = planned(transformer(3), width=16, dims={"ffn": 13}, round_to=8)
    assert (sizes["ffn"], sizes["hidden"]) == (13, 16)
    assert planned(transformer(3), depth=2, round_to=8)["ffn"] == 12


def test_channels_per_group_are_rounded_together() -> None:
    """4 groups of 6 channels: the 24 are the width that hardware sees."""
    net = Net(random.Random(0))
    x = net.add("Conv", net.input([2, 3, 8, 8], name="x"), net.weight(24, 3, 1, 1, name="in"))
    x = net.add("Relu", net.add("Conv", x, net.weight(24, 6, 3, 3, name="mid"), group=4, pads=[1] * 4))
    net.add("Conv", x, net.weight(2, 24, 1, 1, name="out"))
    result = resize(net.model(), width_mult=0.75, round_to=8, validate=False).model
    assert {n: s for n, s in shapes(result).items() if n != "in"} == {"mid": (16, 4, 3, 3), "out": (2, 16, 1, 1)}


# --- dims that are kept ----------------------------------------------------------------------------------


def test_a_dim_keeps_its_size_whatever_the_width_does() -> None:
    assert planned(DIGITS, width=24, freeze="ffn") == {"hidden": 24, "heads": 2, "head_dim": 12, "ffn": 192}
    assert planned(DIGITS, width_mult=2, freeze=["ffn", "classes"])["ffn"] == 192
    result = resize(transformer(3), width=16, freeze=["heads"], validate=False).model
    assert shapes(result)["layer.0.q.weight"] == (16, 8)
    run_all(result, feeds_for(result))


def test_keeping_is_setting_to_what_it_is() -> None:
    one = resize(onnx.load(DIGITS), width=24, freeze="ffn", validate=False).model
    other = resize(onnx.load(DIGITS), width=24, dims={"ffn": 192}, validate=False).model
    assert unsigned(one) == unsigned(other)


# --- residual widths -------------------------------------------------------------------------------------


def test_a_width_for_a_model_without_blocks() -> None:
    source = mlp(repeat=False)
    with pytest.raises(FrontError, match="residual"):
        resize(source, width=12)
    result = resize(source, width=12, residual="embed.out").model
    assert [
        weights(result)[f"{name}.weight"].shape for name in ("embed", "layers.0", "layers.1", "layers.2", "head")
    ] == [
        (5, 12),
        (12, 14),
        (14, 18),
        (18, 24),
        (24, 4),
    ]
    half = resize(source, width_mult=2).model
    assert all(np.array_equal(weights(result)[name], array) for name, array in weights(half).items())


def test_the_width_is_that_of_the_tensor_that_is_named() -> None:
    assert list(planned(mlp(repeat=False), width=18, residual="layers.1.out").values()) == [18, 12, 14, 24]


def mixer() -> onnx.ModelProto:
    """Blocks that sum over tokens and over channels: two widths, and nothing says which is meant."""
    net = Net(random.Random(0))
    x = net.input([2, 4, 6], name="x")
    x = net.add("Add", net.add("MatMul", x, net.weight(6, 6, name="embed")), net.weight(4, 1, name="places"))
    for i in range(3):
        y = net.add("Transpose", x, perm=[0, 2, 1])
        y = net.add("MatMul", net.add("Relu", net.add("MatMul", y, net.weight(4, 8, name=f"{i}.t1"))), net.weight(8, 4))
        x = net.add("Add", x, net.add("Transpose", y, perm=[0, 2, 1]))
        y = net.add("Relu", net.add("MatMul", x, net.weight(6, 12, name=f"{i}.c1")))
        x = net.add("Add", x, net.add("MatMul", y, net.weight(12, 6)))
    net.add("MatMul", net.add("ReduceMean", x, net.ints(1), keepdims=0), net.weight(6, 3, name="head"))
    return net.model()


def test_which_of_two_widths_is_the_users_choice() -> None:
    source = mixer()
    (chain,) = inspect(source).chains
    for place, size, weight in ((1, 8, "0.t1"), (2, 12, "0.c1"), (-1, 12, "0.c1")):
        result = resize(source, width=size, residual=f"{chain.end}:{place}", validate=False).model
        assert shapes(result)[weight] == (size, 2 * size)


def test_a_tensor_with_two_widths_has_to_come_with_an_axis() -> None:
    net = Net(random.Random(0))
    x = net.add("MatMul", net.input([2, 4, 6], name="x"), net.weight(6, 6, name="a"))
    y = net.add("MatMul", net.weight(5, 4, name="b"), x)
    net.add("MatMul", net.add("MatMul", net.weight(3, 5, name="c"), y), net.weight(6, 6, name="d"))
    source = net.model()
    with pytest.raises(FrontError, match="several axes") as caught:
        inspect(source, residual=y)
    assert f"{y}:AXIS" in str(caught.value.wanted) and caught.value.exit_code == 2


def test_a_table_of_no_rows_beside_the_width_is_no_reason_to_fail() -> None:
    """A model may be configured with no register tokens: their table is [1, 0, width], and joined to what there is."""
    source = mlp(depth=3, width=6)
    state = next(node for node in source.graph.node if node.name == "/head/MatMul").input[0]
    source.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros((0, 6), np.float32), "registers"))
    place = next(n for n, node in enumerate(source.graph.node) if node.name == "/head/MatMul")
    source.graph.node.insert(place, onnx.helper.make_node("Concat", ["registers", state], ["joined"], "join", axis=0))
    source.graph.node[place + 1].input[0] = "joined"
    result = resize(source, width_mult=0.5)
    assert {tuple(t.dims) for t in result.model.graph.initializer} >= {(0, 3), (3, 3)}
