"""How sizes are asked for: one number for all chains, factors that are rounded, budgets, and what cannot follow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from small import DIGITS, weights
from test_blocks import transformer
from test_constants_fooled import Net, ffn
from test_options import planned
from tiers import few
from zoo.oracle import compare

from front_onnx import inspect, resize
from front_onnx.errors import RequestError
from front_onnx.summary import parameter_count

H, T = 8, 6


def two_towers(first: int, second: int) -> onnx.ModelProto:
    """Two chains of blocks, one behind the other, with another kind of block in the second."""
    net = Net()
    x = net.linear("x", 7, H)
    for _ in range(first):
        x = net.add("Add", x, ffn(net, x, H))
    x = net.add("Tanh", net.linear(x, H, H))
    for _ in range(second):
        x = net.add("Sub", x, net.add("Sigmoid", net.linear(x, H, H)))
    return net.model(net.linear(x, H, 3), 3)


def depths(model: onnx.ModelProto, **request: object) -> list[int]:
    return [after for _, after in resize(model, dry_run=True, **request).plan.depths]


# --- depth ------------------------------------------------------------------------------------------------------


def test_one_depth_is_for_all_chains_that_have_one() -> None:
    assert depths(two_towers(4, 4), depth=2) == depths(two_towers(4, 4), depth="2") == [2, 2]


def test_one_depth_is_for_none_of_several_depths() -> None:
    with pytest.raises(RequestError, match="one number per chain"):
        resize(two_towers(4, 3), depth=2, dry_run=True)


@pytest.mark.parametrize(
    ("factor", "wanted"), [(0.5, [2, 2]), (0.1, [1, 1]), ("3/2", [6, 5]), (2, [8, 6]), (1, [4, 3])]
)
def test_a_factor_of_depth_is_rounded(factor: float | str, wanted: list[int]) -> None:
    assert depths(two_towers(4, 3), depth_mult=factor) == wanted


def test_an_exact_factor_of_depth_is_not() -> None:
    assert depths(two_towers(4, 4), depth_mult=0.5, exact=True) == [2, 2]
    with pytest.raises(RequestError, match=r"cannot have this depth .*got 1.5, wanted 2"):
        resize(two_towers(4, 3), depth_mult=0.5, exact=True, dry_run=True)


# --- width ------------------------------------------------------------------------------------------------------


def test_a_factor_of_width_is_rounded_to_whole_sizes_and_heads() -> None:
    source = transformer(3)  # hidden 8, heads of 4, ffn 12
    assert planned(source, width_mult=1.3) == planned(source, width=10, round_to=1)
    plan = resize(source, width_mult=1.3, dry_run=True).plan
    assert {float(size) for size in plan.rounded.values()} >= {10.4}
    with pytest.raises(RequestError, match="which is no size"):
        resize(source, width_mult=1.3, exact=True, dry_run=True)


def test_what_cannot_be_followed_keeps_its_size_under_a_factor_and_is_told() -> None:
    net = Net()
    x = net.linear("x", 7, H)
    for _ in range(2):
        x = net.add("Add", x, ffn(net, x, H))
    x = net.add("Nothing", net.linear(x, H, 5), domain="unheard.of")
    model = net.model(x, 5)
    model.opset_import.append(onnx.helper.make_opsetid("unheard.of", 1))
    with pytest.raises(Exception, match=r"Nothing .*cannot be followed"):
        resize(model, width_mult=2, exact=True, dry_run=True)
    plan = resize(model, width_mult=2, dry_run=True).plan
    assert any("stay" in line and "Nothing" in line for line in plan.warnings)
    sizes = {dim.size: plan.sizes[dim.var] for dim in plan.structure.dims}
    assert sizes[5] == 5 and sizes[H] == 2 * H


# --- budgets ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", few([15_000, "40k", 1.2e6, 90_000, 171_298, "0.4M"], 3, mark="slow"))
def test_parameters_are_the_nearest_of_these_proportions(budget: int | str | float) -> None:
    source = onnx.load(DIGITS)
    wanted = {"40k": 40_000, "0.4M": 400_000}.get(str(budget), budget)
    result = resize(source, params=budget, dry_run=True)
    got = parameter_count(result.skeleton.graph)
    ((_, depth),) = result.plan.depths
    (width,) = {result.plan.size(axis) for axis in result.plan.structure.residuals if axis}

    def off(depth: int, width: int) -> float:
        found = parameter_count(resize(source, depth=depth, width=width, dry_run=True).skeleton.graph)
        return abs(found / wanted - 1)

    assert abs(got / wanted - 1) <= min(off(depth, width + 12), off(depth, max(width - 12, 12))) + 1e-9
    assert 0.4 < (depth / 6) / (width / 48) < 2.5  # as slender as before, as far as whole heads allow


def test_a_budget_leaves_what_is_asked_for() -> None:
    plan = resize(DIGITS, params="100k", depth=3, dry_run=True).plan
    assert plan.depths == [(6, 3)] and plan.size(plan.structure.residuals[0]) == 48
    plan = resize(DIGITS, params="60k", width=48, dry_run=True).plan
    assert plan.depths == [(6, 2)] and plan.size(plan.structure.residuals[0]) == 48
    plan = resize(DIGITS, params="60k", freeze=["hidden", "ffn", "heads"], dry_run=True).plan
    assert plan.depths == [(6, 2)]
    with pytest.raises(RequestError, match="leave depth or width out"):
        resize(DIGITS, params="60k", width=24, depth=2, dry_run=True)


def test_a_budget_that_nothing_comes_near_is_told() -> None:
    said = resize(DIGITS, params="1", dry_run=True).plan.warnings[0]
    assert said.startswith("1 parameters were asked for, and the nearest that") and "has 2," in said
    assert not any("asked for" in warning for warning in resize(DIGITS, params="40k", dry_run=True).plan.warnings)
    plan = resize(transformer(2), params="1e9", dry_run=True).plan  # every try makes the whole graph
    assert plan.depths == [(2, 12)] and "asked for" in plan.warnings[0]
    said = resize(DIGITS, size="20", dry_run=True).plan.warnings[0]
    assert said.startswith("20 bytes were asked for")


def test_the_bytes_that_are_told_are_those_of_the_file(tmp_path: Path) -> None:
    """Depth takes nodes along, not weights alone; what a result says of where it comes from is not counted."""
    result = resize(DIGITS, size="1kB", output=tmp_path / "small.onnx", validate=False)
    told = int(result.plan.warnings[0].rpartition(" has ")[2].partition(":")[0].replace(",", ""))
    assert told == pytest.approx(result.size, rel=0.05)


def test_bytes_are_those_of_the_file() -> None:
    source = onnx.load(DIGITS)
    result = resize(source, size="250kB", validate=False)
    assert 0.7 < result.size / 250_000 < 1.4
    assert sum(array.nbytes for array in weights(result.model).values()) < result.size


def test_chains_of_one_stem_are_told_apart_by_the_number_of_their_first_block() -> None:
    model = two_towers(3, 3)
    for number, node in enumerate(model.graph.node):
        node.name = f"/stack/layers.{number}/{node.op_type}"
    names = [chain.name for chain in inspect(model).chains]
    assert len(names) == len(set(names)) == 2


def collected(blocks: int, width: int) -> onnx.ModelProto:
    """Blocks whose outputs are all read at the end: no chain, and one width."""
    net = Net()
    x = net.linear("x", 7, width)
    every = []
    for _ in range(blocks):
        x = net.add("Add", x, ffn(net, x, width))
        every.append(x)
    total = every[0]
    for number, each in enumerate(every[1:], 1):
        total = net.add("Add", total, net.add("Mul", each, net.const(0.3 + 0.1 * number)))
    return net.model(net.linear(total, width, 5), 5)


def test_a_width_is_found_where_the_outputs_of_all_blocks_are_collected() -> None:
    source = collected(3, H)
    assert not inspect(source).chains
    assert {dim.name: dim.size for dim in inspect(source).dims if dim.kind == "residual"} == {"hidden": H}
    assert not compare(resize(source, width=2 * H).model, collected(3, 2 * H))


def test_a_model_of_several_widths_has_none_to_set() -> None:
    net = Net()
    x = "x"
    for rows, columns in ((7, 12), (12, 6), (6, 12), (12, 9)):
        x = net.add("Relu", net.linear(x, rows, columns))
    with pytest.raises(RequestError, match="width has nothing to set"):
        resize(net.model(net.linear(x, 9, 4), 4), width=24)


def test_the_number_of_learned_queries_stays_where_a_head_reads_them_flattened() -> None:
    net = Net()
    queries, width = 3, H
    keys = net.linear("x", 7, width)
    asking = net.linear(net.weight(queries, width), width, width)
    scores = net.add("MatMul", asking, net.add("Transpose", keys))
    found = net.add("MatMul", net.add("Softmax", scores, axis=-1), net.linear(net.add("Tanh", keys), width, width))
    flat = net.add("Reshape", found, net.const([1, queries * width], dtype=np.int64))
    model = net.model(net.linear(flat, queries * width, 2), 2, places="n")
    shapes = {tuple(t.dims) for t in resize(model, width_mult=2, validate=False).model.graph.initializer}
    assert {(queries, 2 * width), (queries * 2 * width, 2)} <= shapes
