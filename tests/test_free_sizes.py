"""Sizes known only at run time: the numbers that stand for them, and what is found where the first ones do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from front_onnx import inspect, resize, validate
from front_onnx.check.baked import baked_sizes
from front_onnx.check.synthetic import synthetic_inputs
from front_onnx.operators.analysis import Analysis, analyse
from front_onnx.operators.free_sizes import stand_ins
from front_onnx.read.graph import Graph
from front_onnx.read.model_file import read_model

C = 4


class Net:
    """A graph that is written node by node, with inputs of any declared shapes."""

    def __init__(self, **inputs: list[Any]) -> None:
        self.inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in inputs.items()]
        self.nodes: list[onnx.NodeProto] = []
        self.held: list[TensorProto] = []
        self.rng = np.random.default_rng(0)

    def weight(self, *shape: int) -> str:
        return self.held_as(self.rng.standard_normal(shape).astype(np.float32))

    def held_as(self, array: np.ndarray) -> str:
        self.held.append(numpy_helper.from_array(array, f"w{len(self.held)}"))
        return self.held[-1].name

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], f"{op}{len(self.nodes)}", **attributes))
        return name

    def conv(self, x: str, before: int, after: int, side: int = 3, **attributes: Any) -> str:
        pads = attributes.pop("pads", [side // 2] * 4)
        return self.add("Conv", x, self.weight(after, before, side, side), pads=pads, **attributes)

    def model(self, output: str, rank: int = 2) -> onnx.ModelProto:
        info = helper.make_tensor_value_info(output, TensorProto.FLOAT, [None] * rank)
        graph = helper.make_graph(self.nodes, "free", self.inputs, [info], self.held)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def followed(model: onnx.ModelProto) -> Analysis:
    analysis = analyse(Graph(read_model(model)))
    assert [trouble.reason for trouble in analysis.troubles] == []
    return analysis


def wider(model: onnx.ModelProto, **shapes: tuple[int, ...]) -> None:
    """Twice as wide, it gives outputs of the same shapes for inputs of these shapes."""
    made = resize(model, width_mult=2).model
    assert sum(t.dims[0] for t in made.graph.initializer) > sum(t.dims[0] for t in model.graph.initializer)
    feed = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    runs = [ort.InferenceSession(m.SerializeToString()).run(None, feed) for m in (model, made)]
    assert [array.shape for array in runs[0]] == [array.shape for array in runs[1]]


def pyramid(shape: list[Any], halvings: int = 3) -> onnx.ModelProto:
    """Features of all scales, those of each made larger and added to those before."""
    net = Net(x=shape)
    levels = [net.add("Relu", net.conv("x", 3, C))]
    for _ in range(halvings):
        levels.append(net.add("Relu", net.conv(levels[-1], C, C, strides=[2, 2])))
    x = levels.pop()
    scales = net.held_as(np.array([1, 1, 2, 2], np.float32))
    while levels:
        x = net.add("Concat", net.add("Resize", x, "", scales, mode="nearest"), levels.pop(), axis=1)
        x = net.add("Relu", net.conv(x, 2 * C, C))
    return net.model(net.conv(x, C, 2), 4)


@pytest.mark.parametrize(
    "shape", [["b", 3, "h", "w"], ["b", 3, "s", "s"], ["?", 3, "?", "?"], [-1, 3, -1, -1], [0, 3, 0, 0]]
)
def test_sides_that_windows_halve(shape: list[Any]) -> None:
    model = pyramid(shape)
    followed(model)
    checked = resize(model, width_mult=2).validation
    assert checked is not None and checked.passed, checked.failure
    if all(isinstance(size, str) or size == 3 for size in shape) and shape[0] != "?":
        wider(model, x=(2, 3, 16, 16))


def test_two_names_of_one_size() -> None:
    net = Net(a=["batch", 6], b=["batch_size", 6], c=["n", 6])
    x = net.add("Add", net.add("MatMul", "a", net.weight(6, 8)), net.add("MatMul", "b", net.weight(6, 8)))
    x = net.add("Concat", x, net.add("MatMul", "c", net.weight(6, 8)), axis=1)
    model = net.model(net.add("MatMul", net.add("Relu", x), net.weight(16, 3)))
    analysis = followed(model)
    assert (
        len({analysis.symbols.free.root(key) for key in analysis.symbols.numbers}) == 1
        and analysis.symbols.traced == {}
    )
    assert validate(model).passed
    wider(model, a=(5, 6), b=(5, 6), c=(5, 6))


def test_many_sizes_without_names_that_are_one() -> None:
    count = 12
    net = Net(**{f"x{i}": [None, 6] for i in range(count)})
    x = "x0"
    for i in range(1, count):
        x = net.add(
            "Concat", net.add("MatMul", x, net.weight(6, 3)), net.add("MatMul", f"x{i}", net.weight(6, 3)), axis=1
        )
    model = net.model(net.add("MatMul", x, net.weight(6, 2)))
    assert len({followed(model).symbols.free.root(key) for key in followed(model).symbols.numbers}) == 1
    feed = synthetic_inputs(Graph(read_model(model)), {})
    assert len({array.shape for array in feed.values()}) == 1


def test_one_name_of_several_sizes() -> None:
    net = Net(x=["n", "n", 6], y=["n", 6])
    x = net.add("ReduceMean", net.add("MatMul", "x", net.weight(6, 8)), net.held_as(np.array([1])), keepdims=0)
    x = net.add("Add", x, net.add("MatMul", "y", net.weight(6, 8)))
    model = net.model(net.add("MatMul", x, net.weight(8, 3)))
    followed(model)
    wider(model, x=(4, 4, 6), y=(4, 6))


def test_a_traced_size_is_told_where_onnxruntime_confirms_it(tmp_path: Path) -> None:
    net = Net(x=["b", "t", 6])
    x = net.add("Reshape", net.add("MatMul", "x", net.weight(6, 8)), net.held_as(np.array([0, 5 * 8])))
    onnx.save(net.model(net.add("MatMul", net.add("Relu", x), net.weight(40, 3))), tmp_path / "baked.onnx")
    found = inspect(tmp_path / "baked.onnx").analysis
    assert found.symbols.traced == {"t": 5} == baked_sizes(tmp_path / "baked.onnx", found)


def test_a_range_of_sides_is_not_told_as_one(tmp_path: Path) -> None:
    net = Net(x=["b", 3, "h", "w"])
    x = net.add("MaxPool", net.conv("x", 3, C), kernel_shape=[32, 1], strides=[32, 1])
    x = net.add("Transpose", net.add("Squeeze", x, net.held_as(np.array([2]))), perm=[0, 2, 1])
    onnx.save(net.model(net.add("MatMul", net.add("Relu", x), net.weight(C, 3)), 3), tmp_path / "lines.onnx")
    found = inspect(tmp_path / "lines.onnx").analysis
    assert found.troubles == [] and "h" in found.symbols.traced
    assert baked_sizes(tmp_path / "lines.onnx", found) == {}
    wider(onnx.load(tmp_path / "lines.onnx"), x=(2, 3, 40, 9))


def test_stand_ins_are_no_factors_of_numbers_of_the_graph() -> None:
    net = Net(x=["b", 11 * 13])
    net.held_as(np.array([17 * 5, -19], np.int64))
    x = net.add("MatMul", "x", net.weight(11 * 13, 23))
    primes = stand_ins(Graph(read_model(net.model(x))))
    assert [next(primes) for _ in range(3)] == [29, 31, 37]


@pytest.mark.parametrize(("patches", "patch"), [(16, 8), (25, 6), (196, 16)])
def test_sides_are_those_that_a_table_of_positions_fits(patches: int, patch: int) -> None:
    """Height and width are free by name, and a table with a row for each patch takes pictures of one size."""
    net = Net(picture=["batch", "channels", "height", "width"])
    x = net.conv("picture", 3, 8, side=patch, pads=[0] * 4, strides=[patch, patch])
    x = net.add("Reshape", x, net.held_as(np.array([0, 0, -1])))
    x = net.add("Add", net.add("Transpose", x, perm=[0, 2, 1]), net.weight(1, patches, 8))
    side = patch * int(patches**0.5)
    wider(net.model(net.add("MatMul", x, net.weight(8, 2)), 3), picture=(2, 3, side, side))
