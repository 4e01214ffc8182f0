"""Names of repeated blocks: which number counts, and what comes next."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from front_onnx.read.names import common_stem, continued, counts, prefix, renumbered, unused


@pytest.mark.parametrize(
    ("names", "index", "wanted"),
    [
        (["layer.0.w", "layer.1.w"], 2, "layer.2.w"),
        (["layer.0.w", "layer.1.w"], 5, "layer.5.w"),
        (["blocks.0.0.w", "blocks.0.2.w"], 2, "blocks.0.4.w"),
        (["h.7/MatMul_3", "h.8/MatMul_5"], 2, "h.9/MatMul_7"),
        (["onnx::MatMul_662", "onnx::MatMul_678"], 2, "onnx::MatMul_694"),
        (["val_3", "val_4", "val_9"], 3, "val_9"),
        (["a", "b"], 2, "b"),
        (["x1.0", "x1.1"], 2, "x1.2"),
        (["block01.w", "block02.w"], 2, "block03.w"),
        (["block08.w", "block09.w"], 2, "block10.w"),
        (["conv00_1/w", "conv00_2/w"], 2, "conv00_3/w"),
        (["", ""], 2, ""),
    ],
)
def test_patterns_go_on(names, index, wanted):
    assert continued(names, index) == wanted


@given(st.integers(0, 50), st.integers(1, 5), st.integers(2, 6), st.integers(0, 4))
def test_an_even_sequence_goes_on_evenly(start, step, count, ahead):
    names = [f"m.{start + step * i}.w{i}" for i in range(count + ahead + 1)]
    assert continued(names[:count], count + ahead) == names[-1]
    assert counts(names)


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["a.0", "a.1"], True),
        (["a.0", "a.0"], False),
        (["a.0", "a.1", "a.3"], False),
        (["a.0"], False),
        (["a", "b"], False),
        (["a.1.b", "a.1"], False),
    ],
)
def test_what_counts(names, wanted):
    assert counts(names) is wanted


def test_the_stem_ends_before_the_number_that_counts():
    assert prefix(["/encoder/layer.0/ln.1", "/encoder/layer.1/ln.1"]) == "/encoder/layer."
    assert prefix(["stage01.layer.0", "stage01.layer.1"]) == "stage01.layer."
    assert prefix(["a", "b"]) is None
    assert common_stem(["encoder.layer.0.ln", "encoder.layer.1.ln"]) == "encoder.layer"
    assert common_stem(["0.ln", "1.ln"]) is None


def test_the_number_behind_a_known_prefix_moves():
    assert renumbered("/layer.3/attn.1/MatMul", ["/layer."], 2) == "/layer.5/attn.1/MatMul"
    assert renumbered("/layer.3/MatMul", ["/other."], 2) == "/layer.5/MatMul"
    assert renumbered("/layer.03/attn2/MatMul", [], 1) == "/layer.04/attn2/MatMul"
    assert renumbered("/layer/MatMul", [], 1) == "/layer/MatMul"


def test_taken_names_get_a_number():
    assert unused("w", set()) == "w"
    assert unused("w", {"w", "w_2"}) == "w_3"
