"""Recurrent stacks, early exits and strided stems: equal to the native export of the other size, or told."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from torch import nn
from zoo.oracle import compare

import front_onnx

pytestmark = pytest.mark.export


class Stack(nn.Module):
    """Layers of recurrent cells in one module, between two linear layers."""

    def __init__(self, cells: type[nn.RNNBase], layers: int, width: int, **options: bool) -> None:
        super().__init__()
        self.first = nn.Linear(5, width)
        self.cells = cells(width, width, layers, batch_first=True, **options)
        self.last = nn.Linear(width * (2 if options.get("bidirectional") else 1), 3)

    def forward(self, x: torch.Tensor, *states: torch.Tensor) -> torch.Tensor:
        made, _ = self.cells(self.first(x), *(states and (states if len(states) > 1 else states[0],)))
        return self.last(made)


class Exits(nn.Module):
    """Blocks that each have a head of their own, or share one, the last one among them."""

    def __init__(self, layers: int, shared: bool) -> None:
        super().__init__()
        block = lambda: nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8))  # noqa: E731
        self.blocks = nn.ModuleList(block() for _ in range(layers))
        heads = [nn.Linear(8, 3) for _ in range(1 if shared else layers)]
        self.heads = nn.ModuleList(heads * layers if shared else heads)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        made = []
        for block, head in zip(self.blocks, self.heads, strict=True):
            x = x + block(x)
            made.append(head(x))
        return made


class Audio(nn.Module):
    """A stem of equal strided convolutions before blocks."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv1d(1, 8, 3, 2), *(nn.Conv1d(8, 8, 3, 2) for _ in range(3)))
        self.blocks = nn.ModuleList(nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8), nn.GELU()) for _ in range(layers))
        self.last = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x).transpose(1, 2)
        for block in self.blocks:
            x = x + block(x)
        return self.last(x)


def exported(
    module: nn.Module, *inputs: torch.Tensor, path: Path, free: bool = True, outputs: tuple[str, ...] = ("y",)
) -> onnx.ModelProto:
    torch.manual_seed(0)
    for weight in module.parameters():  # no two are equal
        nn.init.normal_(weight, std=0.2)
    names = [f"x{i}" for i in range(len(inputs))]
    axes = {"x0": {0: "batch", 1: "time"}} if free else None
    options = {"input_names": names, "output_names": list(outputs), "dynamic_axes": axes, "opset_version": 17}
    torch.onnx.export(module.eval(), inputs, str(path), dynamo=False, **options)
    return onnx.load(path)


def shapes(model: onnx.ModelProto) -> list[tuple[int, ...]]:
    return sorted(tuple(t.dims) for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT)


@pytest.mark.parametrize("both_ways", [False, True])
@pytest.mark.parametrize("cells", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("free", [False, True])
def test_a_stack_of_cells(cells: type[nn.RNNBase], both_ways: bool, free: bool, tmp_path: Path) -> None:
    """A batch of one makes its first states few zeros, which are no list of sizes."""

    def at(layers: int, width: int) -> onnx.ModelProto:
        module = Stack(cells, layers, width, bidirectional=both_ways)
        return exported(module, torch.zeros(1, 6, 5), path=tmp_path / "net.onnx", free=free)

    source = at(3, 16)
    assert compare(front_onnx.resize(source, width_mult=2).model, at(3, 32)) == []
    if not both_ways:  # else the first layer reads another width, and the rest is as deep
        assert shapes(front_onnx.resize(source, depth=5).model) == shapes(at(5, 16))


@pytest.mark.parametrize("cells", [nn.LSTM, nn.GRU])
def test_states_that_are_inputs_follow_by_name_and_are_told_otherwise(cells: type[nn.RNNBase], tmp_path: Path) -> None:
    def at(width: int) -> onnx.ModelProto:
        states = [torch.zeros(2, 1, width)] * (2 if cells is nn.LSTM else 1)
        return exported(Stack(cells, 2, width), torch.zeros(1, 6, 5), *states, path=tmp_path / "net.onnx", free=False)

    source = at(16)
    kept = front_onnx.resize(source, width_mult=2, dry_run=True).plan.warnings
    assert any("x1.2 16 is the size of a state and stays" in line for line in kept)
    follows = front_onnx.resize(source, width_mult=2, dims={"x1.2": 32})
    assert compare(follows.model, at(32)) == []
    assert not any("of a state" in line for line in follows.plan.warnings)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(("before", "after"), [(4, 6), (4, 2)])
def test_exits_of_all_blocks(shared: bool, before: int, after: int, tmp_path: Path) -> None:
    def at(layers: int) -> onnx.ModelProto:
        names = tuple(f"exit.{i}" for i in range(layers))
        return exported(Exits(layers, shared), torch.zeros(2, 6, 8), path=tmp_path / "net.onnx", outputs=names)

    assert compare(front_onnx.resize(at(before), depth=after).model, at(after)) == []


def test_a_stem_of_strided_convolutions_is_no_chain(tmp_path: Path) -> None:
    def at(layers: int) -> onnx.ModelProto:
        return exported(Audio(layers), torch.zeros(1, 1, 200), path=tmp_path / "net.onnx", free=False)

    source = at(3)
    assert [chain.depth for chain in front_onnx.inspect(source).chains] == [3]
    assert compare(front_onnx.resize(source, depth=5).model, at(5)) == []
