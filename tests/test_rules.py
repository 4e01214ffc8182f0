"""Every operator rule against onnxruntime: what is understood is what is computed, before and after resizing."""

from __future__ import annotations

import random
from collections.abc import Callable

import fused_cases  # noqa: F401 - fills the table
import numpy as np
import onnx
import onnxruntime
import pytest
import sequence_cases  # noqa: F401
import signal_cases  # noqa: F401
from rule_cases import CASES, OPSETS, key, random_models
from small_graphs import (
    Net,
    analyse,
    assert_as_planned,
    assert_refused_by_plan,
    assert_understood,
    feeds_for,
    is_runnable,
    run_all,
)
from tiers import few

from front_onnx.api import inspect, resize
from front_onnx.errors import FrontError
from front_onnx.operators import OPERATORS as RECORDS

# Graphs of each case: so many, and more until an operator has what is asked of it. `make test-more` has its own.
FEWEST, MOST = 2, 60
MORE = range(100, 112)
# A prime is no multiple of a block, more than a cache or an axis that is indexed holds, or other than a constant says.
REFUSED = {"SpaceToDepth", "RotaryEmbedding", "com.microsoft.GroupQueryAttention", "com.microsoft.Attention"} | {
    "GatherElements",
    "Scatter",
    "ScatterElements",
    "TensorScatter",
    "com.microsoft.DecoderMaskedMultiHeadAttention",
    "com.microsoft.PackedAttention",
    "com.microsoft.PackedMultiHeadAttention",
}

# So many of each operator's random graphs have to be understood with symbolic sizes, and so many requests to be met: a
# rule that refuses everything proves nothing.
UNDERSTOOD = 5
RESIZED = 5
FEW_RESIZED = {
    "MatMulInteger": (0, "quantised models are refused: rounded numbers cannot be resampled"),
}
OPERATORS = sorted(
    key(*name) for name in RECORDS if key(*name) in CASES and is_runnable(*name, OPSETS.get(key(*name), 20))
)


def _first_of_their_rule(most: int = 4) -> set[str]:
    """Some operators of each rule: what forty activations share is tried on a few of them at once."""
    by_rule: dict[object, list[str]] = {}
    for name, record in sorted(RECORDS.items()):
        by_rule.setdefault((record.rule, record.traits), []).append(key(*name))
    return {name for names in by_rule.values() for name in [n for n in names if n in OPERATORS][:most]}


ONE_BY_ONE = pytest.mark.parametrize("op_type", few(OPERATORS, _first_of_their_rule(), mark="slow"))
THOROUGH = pytest.mark.parametrize("thorough", few([False, True], 1), ids=["few", "more"])


def enough(op_type: str, least: int, thorough: bool, attempt: Callable[[int, onnx.ModelProto], int]) -> None:
    """Attempt random models until `least` of what is counted has been seen; `thorough`: others, all of them."""
    if thorough:
        for seed, proto in random_models(op_type, MORE):
            attempt(seed, proto)
        return
    seen = 0
    for seed in range(MOST):
        if seed >= FEWEST and seen >= least:
            break
        seen += sum(attempt(seed, proto) for _, proto in random_models(op_type, [seed]))
    assert seen >= least


def test_every_rule_has_a_case():
    missing = {key(*name) for name in RECORDS} - CASES.keys()
    assert not missing


@THOROUGH
@ONE_BY_ONE
def test_axes_and_contents_are_those_onnxruntime_makes(op_type, thorough):
    def attempt(seed: int, proto: onnx.ModelProto) -> int:
        analysis = analyse(proto)
        assert not analysis.troubles, seed
        assert_understood(analysis, run_all(proto, feeds_for(proto)))
        return 1

    enough(op_type, FEWEST, thorough, attempt)


@THOROUGH
@ONE_BY_ONE
def test_symbolic_sizes_flow_as_onnxruntime_computes_them(op_type, thorough):
    def attempt(seed: int, proto: onnx.ModelProto) -> int:
        rng = random.Random(seed)
        for info in proto.graph.input:
            for place, dim in enumerate(info.type.tensor_type.shape.dim):
                if rng.random() < 0.3:
                    dim.dim_param = f"{info.name}_{place}"
        analysis = analyse(proto)
        if analysis.troubles:
            return 0
        try:
            made = run_all(proto, feeds_for(proto, analysis.symbols.numbers))
        except Exception as error:
            if op_type not in REFUSED:
                pytest.fail(f"seed {seed}: {str(error)[:600]}")
            return 0
        assert_understood(analysis, made)
        return 1

    enough(op_type, UNDERSTOOD, thorough, attempt)


def test_every_rule_is_run():
    """Older versions of onnx and onnxruntime leave out what they do not know."""
    installed = tuple(map(int, onnxruntime.__version__.split(".")[:2]))
    if onnx.defs.onnx_opset_version() < 28 or installed < (1, 31):
        pytest.skip("written for newer versions")
    assert {key(*name) for name in RECORDS} == set(OPERATORS)


@pytest.mark.parametrize("scatters", [False, True])
def test_places_are_not_counted_against_a_size_known_only_at_run_time(scatters):
    """A prime stands for it inside, which says nothing about how many places there are."""
    net = Net(random.Random(0))
    data, places = net.input(["batch", 4]), net.input([64, 4], np.int64)
    if scatters:
        net.add("ScatterElements", data, places, net.input([64, 4]), axis=1)
    else:
        net.add("GatherElements", data, places, axis=1)
    assert _reasons(net) == []


def test_more_places_than_entries_are_not_followed():
    net = Net(random.Random(0))
    net.add("GatherElements", net.input([2, 4]), net.input([3, 4], np.int64), axis=1)
    assert _reasons(net) == ["3 entries where there is room for 2"]


def test_a_tiled_axis_is_repeated_as_a_whole():
    net = Net(random.Random(0))
    tiled = net.add("Tile", net.data([2, 3]), net.ints(1, 4))
    analysis = analyse(net.model())
    assert [var.size for var in analysis.algebra.expand(analysis.facts[tiled].axes[1])] == [4, 3]


def _reasons(net: Net) -> list[str]:
    """What cannot be followed, of a graph that is not run before."""
    graph = onnx.helper.make_graph(net.nodes, "small", net.inputs, [onnx.ValueInfoProto(name="y")], net.weights)
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    return [trouble.reason for trouble in analyse(proto).troubles]


def test_a_member_that_data_pick_has_to_be_as_the_others():
    net = Net(random.Random(0))
    sequence = net.add("SequenceConstruct", net.input([2, 3]), net.input([2, 4]))
    net.add("SequenceAt", sequence, net.input([], np.int64))
    assert _reasons(net) == ["3 is not 4"]


def test_a_sequence_that_a_loop_lets_grow_is_not_followed():
    net = Net(random.Random(0))
    inner = net.inner("body")
    _, going, held = inner.input([], np.int64), inner.input([], bool), inner.input(None)
    grown = inner.add("SequenceInsert", held, net.input([2, 3]))
    body = inner.body(inner.add("Identity", going), grown)
    start = net.add("SequenceEmpty", dtype=1)
    net.add("Loop", net.input([], np.int64), "", start, body=body)
    (reason,) = _reasons(net)
    assert reason.endswith("is a sequence of tensors")


def test_a_sequence_of_unknown_length_is_not_followed():
    net = Net(random.Random(0))
    sequence = net.add("SplitToSequence", net.input(["steps", 3]), keepdims=0)
    net.add("ConcatFromSequence", sequence, axis=0, new_axis=1)
    first, second = _reasons(net)
    assert first == "a sequence with as many members as a size that is known only at run time"
    assert second.startswith(f"nothing is known of '{sequence}'")


@THOROUGH
@ONE_BY_ONE
def test_resized_graphs_run_and_have_the_planned_shapes(op_type, thorough):
    def attempt(seed: int, proto: onnx.ModelProto) -> int:
        resized = 0
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
        return resized

    least, _ = FEW_RESIZED.get(op_type, (RESIZED, ""))
    enough(op_type, least, thorough, attempt)


def test_a_table_that_lies_otherwise_in_memory_is_not_resampled():
    """RelativePositionBias declares [buckets, heads] and reads heads in front."""
    net = Net(random.Random(0))
    length = net.const(5, np.int64)
    bias = net.add(
        "RelativePositionBias", net.weight(8, 4, name="table"), length, length, domain="com.microsoft", max_distance=16
    )
    net.add("Add", net.add("Add", net.input([1, 4, 5, 5]), net.weight(4, 5, 5)), bias)
    proto = net.model()
    dims = [dim for dim in inspect(proto).dims if dim.size in (8, 4)]
    assert dims
    for dim in dims:
        with pytest.raises(FrontError, match="RelativePositionBias0"):
            resize(proto, dims={dim.name: 2 * dim.size}, validate=False)
