"""Merged decoders: both branches of an If are resized alike, and are what the parts become."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from small import weights
from two_branches import merged, part
from zoo.oracle import compare

from front_onnx.api import inspect, resize
from front_onnx.check.agreement import agreement
from front_onnx.errors import RequestError
from front_onnx.read.merged import joined, side_by_side
from front_onnx.read.model_file import read_model
from front_onnx.write.rewrite import rewrite

WIDTH = {"width_mult": 2, "dims": {"encoder_hidden_states.2": 16}}
NARROW = {"width_mult": 0.5, "dims": {"encoder_hidden_states.2": 8}}


@pytest.mark.parametrize(
    "source, target, request_",
    [
        ((2, 8), (4, 8), {"depth": 4}),
        ((4, 8), (2, 8), {"depth": "layers=2"}),
        ((2, 8), (2, 16), WIDTH),
        ((3, 8), (5, 16), {"depth_mult": "5/3", **WIDTH}),
        ((4, 16), (2, 8), {"depth": "2", **NARROW}),
    ],
)
def test_equals_what_was_merged_at_that_size(source: tuple, target: tuple, request_: dict) -> None:
    made = resize(merged(*source), **request_)
    assert made.validation is not None and made.validation.passed
    assert not compare(made.model, merged(*target, seed=1), names=True)


@pytest.mark.parametrize("past", [False, True])
@pytest.mark.parametrize("depth", [2, 4])
def test_keys_and_values_that_are_made_for_a_cache_come_and_go_with_their_block(past: bool, depth: int) -> None:
    """Nothing but a cache reads the turned keys of cross-attention: once they stayed, and the model was another one."""
    made = resize(part(3, 8, past), depth=depth)
    assert not compare(made.model, part(depth, 8, past, seed=1), names=True)


def test_branches_are_put_back_as_they_were() -> None:
    model = merged(2, 8)
    apart = side_by_side(read_model(model))
    assert [node.op_type for node in apart.proto.graph.node].count("If") == 0
    assert joined(apart.proto).SerializeToString(deterministic=True) == model.SerializeToString(deterministic=True)


def test_weights_are_those_of_the_parts() -> None:
    """What both branches read is one tensor, and the one that a part alone would get."""
    both = weights(resize(merged(2, 8), depth=4, **WIDTH).model)
    for past in (False, True):
        dims = {} if past else WIDTH["dims"]
        for name, array in weights(resize(part(2, 8, past), depth=4, width_mult=2, dims=dims).model).items():
            assert np.array_equal(both[name], array), name


@pytest.mark.parametrize("branch", [False, True])
def test_both_branches_compute_what_the_source_does(branch: bool) -> None:
    source = merged(2, 8)
    larger = resize(source, depth=3, method="lossless", **WIDTH)
    inputs = {"use_cache_branch": np.array([branch])}
    found = agreement(read_model(source), larger.model, larger.plan, rewrite(larger.plan), inputs=inputs)
    assert found.worst < 1e-5 and not found.left_out
    assert {"logits", "present.0.decoder.key", "present.2.decoder.value"} <= found.differences.keys()


def test_branches_that_share_weights_have_one_depth() -> None:
    chains = inspect(merged(2, 8)).chains
    assert [(chain.name, chain.depth) for chain in chains] == [("layers@else_branch", 2), ("layers@then_branch", 2)]
    assert [after for _, after in resize(merged(2, 8), depth={"layers@then_branch": 1}).plan.depths] == [1, 1]
    with pytest.raises(RequestError, match="share their weights"):
        resize(merged(2, 8), depth="1,3")


def test_branches_with_weights_of_their_own_stay_an_if() -> None:
    model = merged(2, 8)
    other = onnx.ModelProto()
    other.CopyFrom(model)
    (node,) = other.graph.node
    for body in (attribute.g for attribute in node.attribute):
        for inner in body.node:
            for slot, name in enumerate(inner.input):
                if name in {tensor.name for tensor in model.graph.initializer}:
                    inner.input[slot] = f"{body.name}.{name}"
    for tensor in model.graph.initializer:
        for prefix in ("no_past", "with_past"):
            other.graph.initializer.add().CopyFrom(tensor)
            other.graph.initializer[-1].name = f"{prefix}.{tensor.name}"
    del other.graph.initializer[: len(model.graph.initializer)]
    read = read_model(other)
    assert side_by_side(read) is read
