"""Traps that vision models set: sizes that stay, cuts at sizes of other axes, weights stored twice."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torch.nn as nn
from onnx import TensorProto, helper, numpy_helper
from tiers import by_exporter
from zoo.export import write
from zoo.oracle import compare
from zoo.randomise import randomise

import front_onnx


class GroupNormed(nn.Module):
    """A residual convolution behind a norm of four groups, whatever the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.conv = nn.GroupNorm(4, width), nn.Conv2d(width, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv(torch.relu(self.norm(x)))


class Biased(nn.Module):
    """Position biases that a small network makes of coordinates: its sizes are no width's business."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("places", torch.linspace(-1, 1, 32).reshape(16, 2))
        self.bias = nn.Sequential(nn.Linear(2, 6), nn.ReLU(), nn.Linear(6, width))
        self.mix = nn.Conv2d(width, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bias = self.bias(self.places).T.reshape(1, -1, 4, 4)
        return x + torch.relu(self.mix(x + bias))


class Registered(nn.Module):
    """Attention of one head over the pixels and four learned tokens: there are four at every width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.zeros(1, 4, width))
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = torch.cat((self.tokens.expand(x.shape[0], -1, -1), x.flatten(2).transpose(1, 2)), 1)
        mixed = torch.softmax(self.q(tokens) @ self.k(tokens).transpose(1, 2), -1) @ self.v(tokens)
        return x + mixed[:, 4:].transpose(1, 2).reshape(x.shape)


class Parted(nn.Module):
    """A quarter of the channels is filtered and joined with the rest, so that the residual width is a sum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        part = width // 4
        self.parts = [width - part, part]
        self.filter = nn.Conv2d(part, part, 3, padding=1, groups=part)
        self.mix = nn.Conv2d(width, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = torch.split(x, self.parts, 1)
        return x + torch.relu(self.mix(torch.cat((a, self.filter(b)), 1)))


class Cut(nn.Module):
    """One projection cut at the size of another tensor's axis, with two gates behind the halves (focal modulation)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.project, self.out = nn.Conv2d(width, 2 * width + 2, 1), nn.Conv2d(width, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        width = x.shape[1]
        a, b, gates = torch.split(self.project(x), [width, width, 2], 1)
        return x + self.out(a * gates[:, :1] + torch.relu(b) * gates[:, 1:])


class Attention(nn.Module):
    """Heads of four over the pixels, scaled by the root of the whole width (CvT)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads, self.scale = width // 4, width**-0.5
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        q, k, v = (f(tokens).reshape(-1, 16, self.heads, 4).transpose(1, 2) for f in (self.q, self.k, self.v))
        mixed = torch.softmax(q @ k.transpose(2, 3) * self.scale, -1) @ v
        return x + self.out(mixed.transpose(1, 2).flatten(2)).transpose(1, 2).reshape(x.shape)


def _model(block: Callable[[int], nn.Module], width: int, depth: int) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, width, 1), *(block(width) for _ in range(depth)), nn.Conv2d(width, 5, 1)]
    module = nn.Sequential(*layers)
    randomise(module, seed=width)
    return module.eval()


def _export(module: nn.Module, path: Path, exporter: str) -> Path:
    inputs = {"input": torch.randn((2, 3, 4, 4), generator=torch.Generator().manual_seed(1))}
    write(module, inputs, path, exporter=exporter, opset=None, outputs=("out",), axes={0: "batch"})
    return path


@pytest.mark.export
@pytest.mark.parametrize(
    ("block", "exporter"), by_exporter([GroupNormed, Biased, Registered, Parted, Cut, Attention], dynamo=[Biased])
)
def test_a_small_block_at_another_size(tmp_path: Path, block: Callable[[int], nn.Module], exporter: str) -> None:
    source = _export(_model(block, 16, 3), tmp_path / "source.onnx", exporter)
    native = _export(_model(block, 24, 4), tmp_path / "native.onnx", exporter)
    result = front_onnx.resize(source, depth=4, width=24, output=tmp_path / "out.onnx")
    assert result.output is not None and compare(result.output, native) == []


def _graph(nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], inputs: int, outputs: int) -> onnx.ModelProto:
    x, y = (
        helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", size])
        for n, size in (("x", inputs), ("y", outputs))
    )
    tensors = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "g", [x], [y], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_weight_stored_twice_stays_one() -> None:
    """A copy with its axes in another order, only averaged here, follows the weight and stays its transpose."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((8, 12))
    model = _graph(
        [
            helper.make_node("MatMul", ["x", "first"], ["a"]),
            helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("ReduceMean", ["copy"], ["mean"], axes=[1], keepdims=0),
            helper.make_node("MatMul", ["b", "weight"], ["c"]),
            helper.make_node("Sub", ["c", "mean"], ["d"]),
            helper.make_node("MatMul", ["d", "last"], ["y"]),
        ],
        {
            "first": rng.standard_normal((3, 8)),
            "weight": weight,
            "copy": weight.T,
            "last": rng.standard_normal((12, 2)),
        },
        3,
        2,
    )
    resized = front_onnx.resize(model, width_mult=0.5).model
    found = {t.name: numpy_helper.to_array(t) for t in resized.graph.initializer}
    assert found["weight"].shape == (4, 6) and found["copy"].shape == (6, 4)


def test_a_width_that_is_two_sizes_does_not_move_twice() -> None:
    """8 = 2 x 4, both mixed by weights: half the width is 1 x 4 or 2 x 2, and the user says which."""
    rng = np.random.default_rng(0)
    model = _graph(
        [
            helper.make_node("MatMul", ["x", "first"], ["a"]),
            helper.make_node("Reshape", ["a", "apart"], ["b"]),
            helper.make_node("MatMul", ["rows", "b"], ["c"]),
            helper.make_node("MatMul", ["c", "columns"], ["d"]),
            helper.make_node("Reshape", ["d", "together"], ["e"]),
            helper.make_node("MatMul", ["e", "last"], ["y"]),
        ],
        {
            "first": rng.standard_normal((3, 8)),
            "rows": rng.standard_normal((2, 2)),
            "columns": rng.standard_normal((4, 4)),
            "last": rng.standard_normal((8, 2)),
        },
        3,
        2,
    )
    for name, shape in (("apart", [-1, 2, 4]), ("together", [-1, 8])):
        model.graph.initializer.append(numpy_helper.from_array(np.array(shape), name))
    with pytest.raises(front_onnx.FrontError, match="follow the width twice"):
        front_onnx.resize(model, width_mult=0.5, exact=True)
    told = front_onnx.resize(model, width_mult=0.5).plan.warnings
    assert "first 2 x first_2 4 follows the width twice, 8 to 2: --set first=2 or --set first_2=4 keeps a side" in told
    kept = {dim.name: 2 for dim in front_onnx.inspect(model).dims if dim.kind == "inner" and dim.size == 2}
    resized = front_onnx.resize(model, width_mult=0.5, dims=kept).model
    shapes = {t.name: list(t.dims) for t in resized.graph.initializer}
    assert shapes["first"] == [3, 4] and shapes["columns"] == [2, 2]
