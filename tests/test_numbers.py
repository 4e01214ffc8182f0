"""Numbers in the shape arithmetic of small graphs: what they stand for, and what happens if that is two things."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from small_graphs import Net, assert_as_planned, feeds_for, run_all
from zoo.export import write
from zoo.oracle import compare
from zoo.randomise import randomise

from front_onnx.api import inspect, resize


def _two_reshapes(*, chain: int = 0) -> onnx.ModelProto:
    """One literal, 6, is the size of an axis of two weights; `chain` nodes lie between it and the Reshapes."""
    net = Net(random.Random(0))
    x, y = net.input([2, 24], name="x"), net.input([2, 24], name="y")
    x, y = (net.add("MatMul", source, net.weight(24, 24, name=f"{source}.in")) for source in (x, y))
    number = net.ints(6)
    for _ in range(chain):
        number = net.add("Mul", number, net.ints(1))
    batch = net.add("Gather", net.add("Shape", x), net.ints(0))
    target = net.add("Concat", batch, net.ints(4), number, axis=0)
    for source in (x, y):
        parts = net.add("Reshape", source, target)
        net.add("MatMul", parts, net.weight(6, 3, name=f"{parts}.out"))
    return net.model()


def _names(model: onnx.ModelProto) -> list[str]:
    """The dims of size 6 that can be resized, in graph order."""
    return [dim.name for dim in inspect(model).dims if dim.size == 6 and dim.named]


@pytest.mark.parametrize("chain", [0, 2])
@pytest.mark.parametrize("which", [0, 1])
def test_one_literal_with_two_meanings_becomes_two(chain: int, which: int) -> None:
    model = _two_reshapes(chain=chain)
    names = _names(model)
    assert len(names) == 2
    result = resize(model, dims={names[which]: 9})
    made = run_all(result.model, feeds_for(result.model))
    assert_as_planned(result.plan, made)
    sizes = [numpy_helper.to_array(t).shape for t in result.model.graph.initializer if t.name.endswith(".out")]
    assert sizes == [(9, 3), (6, 3)] if which == 0 else [(6, 3), (9, 3)]
    before = [node.op_type for node in model.graph.node]
    after = [node.op_type for node in result.model.graph.node]
    assert sorted(after) == sorted([*before, "Concat", *["Mul"] * chain])  # what is not between them is not doubled


def test_both_meanings_at_once() -> None:
    model = _two_reshapes()
    first, second = _names(model)
    result = resize(model, dims={first: 9, second: 4})
    assert_as_planned(result.plan, run_all(result.model, feeds_for(result.model)))
    alike = resize(model, dims={first: 9, second: 9})
    assert len(alike.model.graph.node) == len(model.graph.node)  # nothing parts, nothing is doubled


def test_nothing_is_doubled_without_need() -> None:
    model = _two_reshapes()
    same = resize(model)
    assert same.model.SerializeToString(deterministic=True) == model.SerializeToString(deterministic=True)


def test_two_inputs_of_one_node_are_two_numbers() -> None:
    """However often a constant is read, each reading may become a constant of its own."""
    net = Net(random.Random(0))
    x = net.add("MatMul", net.input([2, 5], name="x"), net.weight(5, 36, name="w"))
    number = net.ints(6)
    target = net.add("Concat", net.ints(2), number, number, axis=0)
    parts = net.add("Reshape", x, target)
    net.add(
        "MatMul", net.add("Transpose", net.add("MatMul", parts, net.weight(6, 3)), perm=[0, 2, 1]), net.weight(6, 4)
    )
    model = net.model()
    names = _names(model)
    assert len(names) == 2
    result = resize(model, dims={names[0]: 9})
    assert_as_planned(result.plan, run_all(result.model, feeds_for(result.model)))


class _Block(torch.nn.Module):
    """Attention whose sizes are computed at run time: the width is a third of the fused projection's."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads, self.norm = width // 4, torch.nn.LayerNorm(width)
        self.qkv, self.out = torch.nn.Linear(width, 3 * width), torch.nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        qkv = self.qkv(self.norm(x))
        batch, length, fused = qkv.shape
        width = fused // 3
        q, k, v = (
            part.view(batch, length, self.heads, width // self.heads).transpose(1, 2) for part in qkv.split(width, 2)
        )
        mixed = (q @ k.transpose(-1, -2) * 0.5).softmax(-1) @ v
        return x + self.out(mixed.transpose(1, 2).reshape(batch, length, width))


class _Model(torch.nn.Module):
    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.words = torch.nn.Embedding(31, width)
        self.blocks = torch.nn.ModuleList(_Block(width) for _ in range(depth))
        self.head = torch.nn.Linear(width, 5)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.words(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


@pytest.mark.export
def test_a_head_is_a_part_of_a_third(tmp_path: Path) -> None:
    paths = []
    for width, depth in ((16, 2), (24, 3)):
        torch.manual_seed(0)
        module = _Model(width, depth)
        randomise(module, seed=width)
        ids = torch.randint(0, 31, (2, 5), generator=torch.Generator().manual_seed(1))
        paths.append(tmp_path / f"{width}.onnx")
        axes = {0: "batch", 1: "sequence"}
        write(module.eval(), {"ids": ids}, paths[-1], exporter="torchscript", opset=None, outputs=("y",), axes=axes)
    result = resize(paths[0], depth=3, width=24, output=tmp_path / "out.onnx")
    assert result.output is not None and compare(result.output, paths[1]) == []


def shared_keys(width: int, heads: int, size: int) -> onnx.ModelProto:
    """Attention whose heads share keys: `expand(-1, heads, -1, -1)` as torch writes it, the shape twice."""
    net = Net(random.Random(0))
    x = net.add("MatMul", net.input(["batch", 5, 4], name="x"), net.weight(4, width, name="stem"))
    q = net.add("MatMul", x, net.weight(width, heads * size, name="query"))
    q = net.add("Transpose", net.add("Reshape", q, net.ints(0, 0, -1, size)), perm=[0, 2, 1, 3])
    k = net.add("Unsqueeze", net.add("MatMul", x, net.weight(width, size, name="key")), net.ints(1))
    ones = net.add("ConstantOfShape", net.ints(4), value=numpy_helper.from_array(np.array([1])))
    unset = net.add("Equal", net.ints(-1, heads, -1, -1), net.add("Mul", ones, net.const(-1, np.int64)))
    k = net.add("Expand", k, net.add("Where", unset, ones, net.ints(-1, heads, -1, -1)))
    scores = net.add("Softmax", net.add("MatMul", q, net.add("Transpose", k, perm=[0, 1, 3, 2])), axis=-1)
    mixed = net.add("Transpose", net.add("MatMul", scores, q), perm=[0, 2, 1, 3])
    y = net.add("Reshape", mixed, net.ints(0, 0, heads * size))
    net.add("MatMul", y, net.weight(heads * size, 3, name="last"))
    net.nodes[-1].output[0] = "out"
    return net.model("out")


def test_a_shape_that_is_compared_with_minus_one_is_the_shape_that_is_chosen() -> None:
    resized = resize(shared_keys(12, 3, 4), width_mult=2).model
    assert not compare(resized, shared_keys(24, 6, 4), names=True)
