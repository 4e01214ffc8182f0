"""Experts: matrices that data look up in a table are weights, and their inner size follows the width."""

from __future__ import annotations

import random

import numpy as np
import onnx
import pytest
from small_graphs import Net
from zoo.oracle import compare

from front_onnx.api import inspect, resize

EXPERTS, CHOSEN = 4, 2


def mixture(depth: int, width: int, *, turned: bool = False, nd: bool = False) -> onnx.ModelProto:
    """Blocks that route each row to two experts, whose matrices are picked from [experts, in, out] by TopK.

    `turned`: the tables are [experts, out, in], and transposed once they are looked up. `nd`: GatherND looks them up.
    """
    net = Net(random.Random(depth + width))

    def look_up(name: str, chosen: str, rows: int, columns: int) -> str:
        shape = (columns, rows) if turned else (rows, columns)
        op, places = ("GatherND", net.add("Unsqueeze", chosen, net.ints(-1))) if nd else ("Gather", chosen)
        found = net.add(op, net.weight(EXPERTS, *shape, name=name), places)
        return net.add("Transpose", found, perm=[0, 1, 3, 2]) if turned else found

    x = net.add("MatMul", net.input(["batch", 3], name="x"), net.weight(3, width, name="embed"))
    for i in range(depth):
        stem = f"layers.{i}"
        scores = net.add("Softmax", net.add("MatMul", x, net.weight(width, EXPERTS, name=f"{stem}.gate")), axis=-1)
        best, chosen = net.add("TopK", scores, net.ints(CHOSEN), outputs=2)
        rows = net.add("Unsqueeze", x, net.ints(1, 2))
        inner = net.add("Relu", net.add("MatMul", rows, look_up(f"{stem}.up", chosen, width, 2 * width)))
        made = net.add("MatMul", inner, look_up(f"{stem}.down", chosen, 2 * width, width))
        made = net.add("Mul", net.add("Squeeze", made, net.ints(2)), net.add("Unsqueeze", best, net.ints(-1)))
        x = net.add("Add", x, net.add("ReduceSum", made, net.ints(1), keepdims=0))
    net.add("MatMul", x, net.weight(width, 5, name="head"))
    net.nodes[-1].output[0] = "y"
    return net.model("y")


@pytest.mark.parametrize("way", [{}, {"turned": True}, {"nd": True}, {"turned": True, "nd": True}])
@pytest.mark.parametrize("size", [{"width": 4}, {"width": 12}, {"depth": 2}, {"depth": 5, "width": 12}])
def test_experts_follow_depth_and_width(size: dict[str, int], way: dict[str, bool]) -> None:
    made = resize(mixture(3, 8, **way), **size).model
    assert compare(made, mixture(size.get("depth", 3), size.get("width", 8), **way)) == []


def test_the_inner_size_of_experts_has_a_name() -> None:
    sizes = {dim.name: dim.size for dim in inspect(mixture(3, 8)).dims}
    assert sizes["ffn"] == 16
    made = resize(mixture(3, 8), dims={"ffn": 24}).model
    tables = [tuple(tensor.dims) for tensor in made.graph.initializer if tensor.name.startswith("layers.0.")]
    assert (EXPERTS, 8, 24) in tables
    assert (EXPERTS, 24, 8) in tables


def test_each_expert_is_scaled_as_a_matrix_is() -> None:
    """An expert becomes what the same matrix becomes where it is read as a plain weight."""
    source = mixture(3, 8)
    plain = Net(random.Random(1))
    x = plain.add("MatMul", plain.input(["batch", 3], name="x"), plain.weight(3, 8, name="embed"))
    for i in range(3):
        inner = plain.add("Relu", plain.add("MatMul", x, plain.weight(8, 16, name=f"layers.{i}.up")))
        x = plain.add("Add", x, plain.add("MatMul", inner, plain.weight(16, 8, name=f"layers.{i}.down")))
    plain.add("MatMul", x, plain.weight(8, 5, name="head"))
    other = plain.model(plain.nodes[-1].output[0])
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in source.graph.initializer}
    for tensor in other.graph.initializer:
        if tensor.name in held and tensor.name.startswith("layers."):
            tensor.CopyFrom(onnx.numpy_helper.from_array(held[tensor.name][1].copy(), tensor.name))
    experts, matrices = (
        {t.name: onnx.numpy_helper.to_array(t) for t in resize(model, width=12).model.graph.initializer}
        for model in (source, other)
    )
    for name in ("layers.0.up", "layers.2.down"):
        np.testing.assert_allclose(experts[name][1], matrices[name], rtol=1e-5, atol=1e-6)
