"""Every operator rule against onnxruntime: what is understood is what is computed, before and after resizing."""

from __future__ import annotations

import random

import fused_cases  # noqa: F401 - fills the table
import onnx
import pytest
from rule_cases import CASES, OPSETS, key
from small_graphs import Net, analyse, assert_as_planned, assert_refused_by_plan, assert_understood, feeds_for, run_all

from front_onnx.api import inspect, resize
from front_onnx.errors import FrontError
from front_onnx.understand.rules import RULES

SEEDS = 20
# A prime is no multiple of a block, more than a cache holds, or other than a constant says.
REFUSED = {"SpaceToDepth", "RotaryEmbedding", "com.microsoft.GroupQueryAttention", "com.microsoft.Attention"}

# So many of each operator's random graphs have to be understood with symbolic sizes, and so many requests to be met: a
# rule that refuses everything proves nothing.
UNDERSTOOD = 4
FEW_UNDERSTOOD = {
    "Attention": (
        2,
        "its inputs share nearly all axes, and one that is free in one of them and written in another is refused",
    ),
}
RESIZED = 10
FEW_RESIZED = {
    "MatMulInteger": (0, "quantised models are refused: rounded numbers cannot be resampled"),
}
OPERATORS = sorted(key(*name) for name in RULES if key(*name) in CASES)


def builds(op_type: str, seeds: range = range(SEEDS)) -> list[tuple[int, onnx.ModelProto]]:
    """Random models with an operator."""
    found = []
    for number, build in enumerate(CASES[op_type]):
        for seed in seeds:
            net = Net(random.Random(f"{op_type} {number} {seed}"), OPSETS.get(op_type, 20))
            build(net)
            if net.nodes:
                found.append((seed, net.model()))
    return found


def test_every_rule_has_a_case():
    missing = {key(*name) for name in RULES} - CASES.keys()
    assert not missing


@pytest.mark.parametrize("op_type", OPERATORS)
def test_axes_and_contents_are_those_onnxruntime_makes(op_type):
    for seed, proto in builds(op_type):
        analysis = analyse(proto)
        assert not analysis.troubles, seed
        assert_understood(analysis, run_all(proto, feeds_for(proto)))


@pytest.mark.parametrize("op_type", OPERATORS)
def test_symbolic_sizes_flow_as_onnxruntime_computes_them(op_type):
    understood = 0
    for seed, proto in builds(op_type):
        rng = random.Random(seed)
        for info in proto.graph.input:
            for place, dim in enumerate(info.type.tensor_type.shape.dim):
                if rng.random() < 0.3:
                    dim.dim_param = f"{info.name}_{place}"
        analysis = analyse(proto)
        if analysis.troubles:
            continue
        try:
            made = run_all(proto, feeds_for(proto, analysis.symbols))
        except Exception as error:
            if op_type not in REFUSED:
                pytest.fail(f"seed {seed}: {str(error)[:600]}")
            continue
        assert_understood(analysis, made)
        understood += 1
    least, _ = FEW_UNDERSTOOD.get(op_type, (UNDERSTOOD, ""))
    assert understood >= least


def test_a_tiled_axis_is_repeated_as_a_whole():
    net = Net(random.Random(0))
    tiled = net.add("Tile", net.data([2, 3]), net.ints(1, 4))
    analysis = analyse(net.model())
    assert [atom.size for atom in analysis.algebra.expand(analysis.facts[tiled].axes[1])] == [4, 3]


@pytest.mark.parametrize("op_type", OPERATORS)
def test_resized_graphs_run_and_have_the_planned_shapes(op_type):
    resized = 0
    for seed, proto in builds(op_type):
        rng = random.Random(seed)
        dims = [dim for dim in inspect(proto).dims if dim.named and not dim.frozen]
        for picked in [[dim] for dim in dims] + [dims] * bool(dims):
            wanted = {
                dim.name: rng.choice([dim.size * 2, dim.size * 3, dim.size + 1, max(2, dim.size - 1)]) for dim in picked
            }
            try:
                result = resize(proto, dims=wanted, validate=False)
            except FrontError as error:
                assert_refused_by_plan(error)
                continue
            try:
                made = run_all(result.model, feeds_for(result.model))
                assert_as_planned(result.plan, made)
            except Exception as error:
                pytest.fail(f"seed {seed}, {wanted}: {type(error).__name__}: {str(error)[:600]}")
            resized += 1
    least, _ = FEW_RESIZED.get(op_type, (RESIZED, ""))
    assert resized >= least
