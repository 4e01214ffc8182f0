"""Scalars that are sizes: a mean that is written out stays a mean."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from small import constants
from small_graphs import Net, feeds_for, run_all
from test_holds import model

from front_onnx.api import resize
from front_onnx.constants.suspects import formula_of


@pytest.mark.parametrize("form", ["Div", "Mul"])
def test_a_mean_that_is_written_out_stays_a_mean(form):
    net = Net(random.Random(0))
    x = net.add("MatMul", net.input([3, 5]), net.weight(5, 8))
    total = net.add("ReduceSum", x, net.ints(1), keepdims=0)
    total = net.add("Expand", net.add("Reshape", total, net.ints(3, 1)), net.ints(3, 8))
    count = net.const(8.0 if form == "Div" else 1 / 8, np.float32)
    mean = net.add(form, total, count)
    net.add("MatMul", net.add("Sub", x, mean), net.weight(8, 4))
    model = resize(net.model(), width_mult="1/2", validate=False).model
    made = run_all(model, feeds_for(model))
    np.testing.assert_allclose(made[mean], made[x].mean(1, keepdims=True).repeat(4, 1), rtol=1e-4, atol=1e-6)


def test_what_scales_an_output_is_no_scale_of_embeddings():
    """Nothing reads it, so that no product with an embedding tells that the root of the classes is meant."""
    net = Net(random.Random(0))
    hidden = net.add("Relu", net.add("MatMul", net.input([2, 5]), net.weight(5, 9)))
    net.add("Mul", hidden, net.const(3.0, np.float32, name="scale"))
    result = resize(net.model(), dims={"classes": 18}, validate=False)
    scales = [tensor for tensor in result.model.graph.initializer if tensor.name == "scale"]
    assert [numpy_helper.to_array(tensor).item() for tensor in scales] == [3.0]
    assert any("scales by 3" in warning for warning in result.plan.warnings)


FORMULAS: dict[str, Callable[[int], float]] = {
    "1/sqrt(3 n)": lambda n: (3 * n) ** -0.5,
    "n^(-1/4)": lambda n: n**-0.25,
    "sqrt(2 / (5 n))": lambda n: (2 / (n + 4 * n)) ** 0.5,
    "sqrt(6 / (5 n))": lambda n: (6 / (n + 4 * n)) ** 0.5,
    "ln n": math.log,
    "1 / log2 n": lambda n: 1 / math.log2(n),
    "1 / (3 n)": lambda n: 1 / (3 * n),
    "n - 1": lambda n: n - 1.0,
    "1 / (n + 1)": lambda n: 1 / (n + 1),
    "n / (n - 1)": lambda n: n / (n - 1),
    "n^(3/4)": lambda n: n**0.75,
    "0.1 sqrt(n)": lambda n: 0.1 * n**0.5,
}


def _scaled_by(value: float, width: int) -> onnx.ModelProto:
    """A network of one layer whose width is scaled by a number."""
    net = Net(random.Random(0))
    x = net.add("Relu", net.add("MatMul", net.input([3, 5]), net.weight(5, width)))
    x = net.add("Tanh", net.add("Mul", x, net.const(value, np.float32, name="scale")))
    net.add("MatMul", x, net.weight(width, 4))
    return net.model()


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("size", [28, 44, 52])
def test_a_number_that_a_size_gives_is_told_with_both_values(formula: str, size: int) -> None:
    source, target = FORMULAS[formula](size), FORMULAS[formula](2 * size)
    (told,) = resize(_scaled_by(source, size), width_mult=2, validate=False).plan.warnings
    assert f"{source:.6g}" in told and f"{target:.6g}" in told and f"{size}" in told


COMMON = (0.5, 1e-5, 1.0, 2.0, 0.044715, 2**0.5, 0.5**0.5, (2 / math.pi) ** 0.5, 1.702, 3.0, 6.0, 1 / 6, 0.2, 10.0)
OTHERS = (1.0507, 1.67326, 0.125, 0.18215, 0.9999, 1 / 255, 127.5, 100.0, 1 / 3, 3**0.5, 0.7, 14.285714, 0.3333)


@pytest.mark.parametrize("value", [*COMMON, *OTHERS])
def test_common_numbers_are_not_told(value: float) -> None:
    for size in (5, 8, 12, 16, 20, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048, 3072, 4096):
        assert formula_of(float(np.float32(value)), size) is None


def test_numbers_by_chance_are_not_told() -> None:
    rng = np.random.default_rng(0)
    found = [formula_of(float(v), size) for v in np.exp(rng.uniform(-5, 5, 1000)) for size in (24, 64, 768)]
    assert sum(formula is not None for formula in found) < 0.002 * len(found)


@pytest.mark.parametrize("form", ["Div", "Mul", "root"])
@pytest.mark.parametrize("square", ["Mul", "Pow", "ReduceSumSquare"])
def test_the_variance_of_a_sample_divides_by_one_less_than_the_size(form: str, square: str) -> None:
    def model(width: int) -> onnx.ModelProto:
        net = Net(random.Random(0))
        x = net.add("MatMul", net.input([3, 5]), net.weight(5, width))
        away = net.add("Sub", x, net.add("ReduceMean", x, net.ints(1)))
        if square == "ReduceSumSquare":
            total = net.add(square, away, net.ints(1))
        else:
            squares = net.add(square, away, away if square == "Mul" else net.const(2.0, np.float32))
            total = net.add("ReduceSum", squares, net.ints(1))
        if form == "root":
            deviation = net.add("Div", net.add("Sqrt", total), net.const((width - 1) ** 0.5, np.float32))
        else:
            count = net.const(width - 1.0 if form == "Div" else 1 / (width - 1), np.float32)
            deviation = net.add("Sqrt", net.add(form, total, count))
        net.add("MatMul", net.add("Div", away, deviation), net.weight(width, 4))
        return net.model()

    def held(model: onnx.ModelProto) -> list[float]:
        return sorted(float(a.reshape(-1)[0]) for a in constants(model).values() if a.size == 1 and a.dtype.kind == "f")

    result = resize(model(24), width_mult=2, validate=False)
    assert held(result.model) == pytest.approx(held(model(48)), rel=1e-6)
    assert sum("one less than" in warning for warning in result.plan.warnings) == 1


def test_a_scalar_that_goes_on_behind_the_blocks_is_told() -> None:
    nodes, weights, value = [], {}, "x"
    for number in range(3):  # norm-free: each block counts the variance of those before it
        weights[f"blocks.{number}.w"], weights[f"blocks.{number}.s"] = (
            (8, 8),
            np.array((1 + 0.04 * number) ** -0.5, np.float32),
        )
        nodes += [
            helper.make_node("Mul", [value, f"blocks.{number}.s"], [f"s{number}"], f"/blocks.{number}/Mul"),
            helper.make_node(
                "MatMul", [f"s{number}", f"blocks.{number}.w"], [f"m{number}"], f"/blocks.{number}/MatMul"
            ),
            helper.make_node("Add", [value, f"m{number}"], [f"a{number}"], f"/blocks.{number}/Add"),
        ]
        value = f"a{number}"
    weights |= {"end": np.array(1.12**-0.5, np.float32), "head.w": (8, 3)}
    nodes += [
        helper.make_node("Mul", [value, "end"], ["e"], "/head/Mul"),
        helper.make_node("MatMul", ["e", "head.w"], ["y"], "/head/MatMul"),
    ]
    source = model(nodes, {"x": ["n", 8]}, weights)
    told = "/head/Mul scales by 0.944911, with which the scalars of blocks go on"
    for depth, right in ((2, (1.08) ** -0.5), (5, (1.2) ** -0.5)):
        (line,) = [w for w in resize(source, depth=depth, dry_run=True).plan.warnings if told in w]
        assert f"{right:.6g} would be right" in line
    assert not any(told in w for w in resize(source, width=16, dry_run=True).plan.warnings)
