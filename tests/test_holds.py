"""Why sizes stay: reasons are values that are united, each has words, and the node to blame is the one named."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small import mlp

from front_onnx.api import inspect, resize
from front_onnx.axes.holds import Hold, Telling, Why
from front_onnx.axes.wording import reason
from front_onnx.errors import FrontError
from front_onnx.read.graph import Graph
from front_onnx.session import read_any
from front_onnx.summary import describe_structure
from front_onnx.understand import follow_axes


def model(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, list],
    weights: dict[str, tuple],
    shapes: dict[str, list] | None = None,
):
    """A graph whose output is `y`; weights are random, integers are given as arrays."""
    rng = np.random.default_rng(1)
    arrays = {
        n: w if isinstance(w, np.ndarray) else rng.standard_normal(w).astype(np.float32) for n, w in weights.items()
    }
    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info(
                n, TensorProto.INT64 if n in ("ids", "off", "places") else TensorProto.FLOAT, s
            )
            for n, s in inputs.items()
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
        value_info=[helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (shapes or {}).items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.example", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def blocks(start: str, width: int = 8, count: int = 3, end: str = "y") -> tuple[list[onnx.NodeProto], dict[str, tuple]]:
    """Equal layers behind a tensor, and a head."""
    nodes, weights, value = [], {}, start
    for number in range(count):
        nodes += [
            helper.make_node("MatMul", [value, f"blocks.{number}.w"], [f"m{number}"], f"/blocks.{number}/MatMul"),
            helper.make_node("Relu", [f"m{number}"], [f"r{number}"], f"/blocks.{number}/Relu"),
        ]
        weights[f"blocks.{number}.w"], value = (width, width), f"r{number}"
    nodes.append(helper.make_node("MatMul", [value, "head.w"], [end], "/head/MatMul"))
    return nodes, {**weights, "head.w": (width, 3)}


def refusal(proto: onnx.ModelProto, **size: object) -> str:
    with pytest.raises(FrontError) as caught:
        resize(proto, validate=False, **size)
    assert caught.value.exit_code == 2
    return str(caught.value)


def causes(proto: onnx.ModelProto) -> list[str]:
    return [entry["node"] for entry in describe_structure(inspect(proto))["unfollowed"]]


@pytest.mark.parametrize("why", Why)
def test_every_reason_has_words(why: Why) -> None:
    graph = Graph(read_any(mlp()))
    for node in (None, 0) if why not in (Why.UNFOLLOWED, Why.BEHIND) else (0,):
        words = reason(graph, Hold(why, node, tensor="x", axis=1, detail="it has no rule"))
        assert words and "{" not in words
        assert node is None or "/embed/MatMul" in words


def test_kinds_either_fix_or_freeze() -> None:
    assert all(why.fixes or why.freezes for why in Why)
    assert [why for why in Why if why.fixes and why.freezes] == [Why.GIVEN_BACK]
    assert not any(why.computed and why.freezes for why in Why)


def test_a_cause_is_told_before_what_follows_from_it_and_the_node_nearest_to_the_input_first() -> None:
    telling = Telling(Graph(read_any(mlp())))
    near, far = Hold(Why.INDEXED, 1), Hold(Why.INDEXED, 4)
    assert telling.first([Hold(Why.PART), far, near, Hold(Why.OUTPUT)]) == Hold(Why.PART)
    assert telling.first([far, near]) == telling.first([near, far]) == near
    assert telling.first([near, Hold(Why.UNFOLLOWED, 4, detail="no")]) == Hold(Why.UNFOLLOWED, 4, detail="no")
    assert telling.first([]) is None


def positions_from_a_start() -> onnx.ModelProto:
    """Positions cut along an axis that is fed: the Slice cannot be followed, and no shape is declared behind it."""
    layers, weights = blocks("met")
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"], "/e/Gather"),
        helper.make_node("Add", ["off", "four"], ["stop"], "/Add"),
        helper.make_node("Slice", ["positions", "zero", "four", "off"], ["p"], "/Slice"),
        helper.make_node("Add", ["e", "p"], ["met"], "/Add_1"),
    ]
    numbers = {"four": np.array([4]), "zero": np.array([0])}
    weights = {"table": (20, 8), "positions": (12, 8), **weights, **numbers}
    return model([*nodes, *layers], {"ids": [1, 4], "off": [1]}, weights)


@pytest.mark.parametrize("size", [{"width": 16}, {"width_mult": 2}])
def test_the_unfollowed_node_is_named_and_not_the_last_that_falls_with_it(size: dict) -> None:
    proto = positions_from_a_start()
    assert causes(proto) == ["/Slice"]
    line = refusal(proto, **size)
    assert "Slice /Slice cannot be followed: the contents of 'off' (input 3, axes) are computed at run time" in line
    assert "MatMul" not in line


def test_shape_arithmetic_behind_an_unfollowed_node_is_its_victim() -> None:
    """The Reshape takes a shape that an operator without a rule has a part in."""
    layers, weights = blocks("r")
    nodes = [
        helper.make_node("MatMul", ["x", "embed.w"], ["h"], "/embed/MatMul"),
        helper.make_node("Shape", ["h"], ["s"], "/Shape"),
        helper.make_node("Odd", ["s"], ["t"], "/Odd", domain="com.example"),
        helper.make_node("Cast", ["t"], ["u"], "/Cast", to=TensorProto.INT64),
        helper.make_node("Reshape", ["h", "u"], ["r"], "/Reshape"),
    ]
    proto = model([*nodes, *layers], {"x": [2, 5]}, {"embed.w": (5, 8), **weights})
    assert causes(proto) == ["/Odd"]
    assert "Odd /Odd cannot be followed: operator Odd of com.example has no rule" in refusal(proto, width_mult=2)


def test_what_fails_for_a_reason_of_its_own_is_not_blamed_on_a_node_before_it() -> None:
    """The shape behind the unknown operator is declared: the Slice behind it fails because its axis is fed."""
    layers, weights = blocks("p")
    nodes = [
        helper.make_node("MatMul", ["x", "embed.w"], ["h"], "/embed/MatMul"),
        helper.make_node("Odd", ["h"], ["o"], "/Odd", domain="com.example"),
        helper.make_node("Slice", ["o", "zero", "stop", "off"], ["p"], "/Slice"),
    ]
    numbers = {"stop": np.array([4]), "zero": np.array([0])}
    weights = {"embed.w": (5, 8), **weights, **numbers}
    proto = model([*nodes, *layers], {"x": [6, 5], "off": [1]}, weights, {"o": [6, 8]})
    analysis, _ = follow_axes(Graph(read_any(proto)))
    own = {analysis.graph.nodes[trouble.node].name for trouble in analysis.troubles if trouble.is_cause}
    assert own == {"/Odd", "/Slice"}
    assert causes(proto) == ["/Odd", "/Slice"]


def test_a_width_that_something_keeps_says_what_and_where() -> None:
    nodes, weights = [helper.make_node("MatMul", ["x", "embed.w"], ["h0"], "/embed/MatMul")], {"embed.w": (5, 8)}
    for number in range(3):
        nodes += [
            helper.make_node(
                "MatMul", [f"h{number}", f"blocks.{number}.w"], [f"m{number}"], f"/blocks.{number}/MatMul"
            ),
            helper.make_node(
                "ScatterElements",
                [f"m{number}", "places", f"h{number}"],
                [f"h{number + 1}"],
                f"/blocks.{number}/Put",
                axis=1,
            ),
        ]
        weights[f"blocks.{number}.w"] = (8, 8)
    nodes.append(helper.make_node("MatMul", ["h3", "head.w"], ["y"], "/head/MatMul"))
    proto = model(nodes, {"x": [6, 5], "places": [6, 8]}, {**weights, "head.w": (8, 3)})
    line = refusal(proto, width=16)
    assert "is kept: indexed by the input (/blocks.0/Put)" in line and "node ScatterElements /blocks.0/Put" in line
    assert 'residual="h3:1"' in line


def test_an_input_that_is_indexed_stays_indexed_when_the_width_is_freed() -> None:
    """The width of blocks that an input feeds is free; one that a constant indexes as well is not."""
    layers, weights = blocks("x", end="made")
    free = model([*layers, helper.make_node("Relu", ["made"], ["y"])], {"x": [2, 8]}, weights)
    (residual,) = inspect(free).residuals
    assert residual is not None and not residual[0].fixed
    picked = [
        helper.make_node("Gather", ["x", "some"], ["g"], "/Gather", axis=1),
        helper.make_node("ReduceSum", ["g", "one"], ["s"], "/Sum"),
        helper.make_node("Add", ["made", "s"], ["y"], "/Add"),
    ]
    held = model([*layers, *picked], {"x": [2, 8]}, {**weights, "some": np.array([1, 5]), "one": np.array([1])})
    structure = inspect(held)
    assert structure.residuals == [None]
    (dim,) = (
        dim for dim in structure.dims if dim.var.is_held(Why.INPUT_AXIS) and dim.var.is_held(Why.INDEXED_BY_CONSTANT)
    )
    assert (dim.size, dim.kind) == (8, "fixed")
    assert "indexed by a constant (/Gather)" in refusal(held, width=16)


def test_a_stream_read_as_factors_that_cross_keeps_its_width_and_not_its_depth() -> None:
    nodes, weights = blocks("h", 12)
    nodes = [
        helper.make_node("MatMul", ["x", "stem.w"], ["s"], "/stem/MatMul"),
        helper.make_node("Reshape", ["s", "sixes"], ["six"], "/stem/Reshape"),  # 2 groups of 6
        helper.make_node("Mul", ["six", "gain"], ["scaled"], "/stem/Mul"),
        helper.make_node("Reshape", ["scaled", "whole"], ["flat"], "/stem/Reshape_1"),
        helper.make_node("Reshape", ["flat", "fours"], ["four"], "/stem/Reshape_2"),  # and 3 of 4
        helper.make_node("Softmax", ["four"], ["soft"], "/stem/Softmax", axis=-1),
        helper.make_node("Reshape", ["soft", "whole"], ["h"], "/stem/Reshape_3"),
        *nodes,
    ]
    shapes = {"sixes": np.array([-1, 2, 6]), "whole": np.array([-1, 12]), "fours": np.array([-1, 3, 4])}
    crossing = model(nodes, {"x": ["n", 5]}, {**weights, **shapes, "stem.w": (5, 12), "gain": (2, 1)})
    for depth in (2, 5):
        assert inspect(resize(crossing, depth=depth).model).chains[0].depth == depth
    for asked in ({"width": 24}, {"width": 6}):
        with pytest.raises(FrontError, match=r"\[3, 4\] mixes the places of its factors, at /stem/Reshape_2"):
            resize(crossing, **asked)
