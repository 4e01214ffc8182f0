"""Blocks that hand on several tensors: equal to the native export of another depth and width."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from tiers import few
from torch import nn
from zoo.oracle import compare

import front_onnx

pytestmark = pytest.mark.export


class Attention(nn.Module):
    """Attention of heads of four."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def scores(self, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        one, other = (t.reshape(t.shape[0], t.shape[1], -1, 4).transpose(1, 2) for t in (query, key))
        return one @ other.transpose(-1, -2) * 0.5

    def mixed(self, scores: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        value = value.reshape(value.shape[0], value.shape[1], -1, 4).transpose(1, 2)
        made = (scores.softmax(-1) @ value).transpose(1, 2)
        return self.out(made.reshape(made.shape[0], made.shape[1], -1))

    def forward(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return self.mixed(self.scores(self.query(query), self.key(key)), self.value(value))


def mlp(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))


class Reversible(nn.Module):
    """Each of two streams is changed by the other; both begin as one tensor."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.attend, self.feed = nn.LayerNorm(width), Attention(width), mlp(width)

    def forward(self, x: torch.Tensor, y: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen = self.norm(y)
        x = x + self.attend(seen, seen, seen)
        return x, y + self.feed(x)


class TwoWay(nn.Module):
    """Points attend to a picture and the picture to points, with positions that all blocks read."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.own, self.there, self.back = (Attention(width) for _ in range(3))
        self.norms, self.feed = nn.ModuleList(nn.LayerNorm(width) for _ in range(4)), mlp(width)

    def forward(self, x: torch.Tensor, y: torch.Tensor, places: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.norms[0](x + self.own(x, x, x))
        x = self.norms[1](x + self.there(x, y + places, y))
        x = self.norms[2](x + self.feed(x))
        return x, self.norms[3](y + self.back(y + places, x, x))


class Both(nn.Module):
    """Two streams that attend to each other, of what they were before the block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.other, self.feed, self.feeds = Attention(width), Attention(width), mlp(width), mlp(width)

    def forward(self, x: torch.Tensor, y: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        u, v = x + self.one(x, y, y), y + self.other(y, x, x)
        return u + self.feed(u), v + self.feeds(v)


class Scores(nn.Module):
    """Blocks that hand on the scores of their attention."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attend, self.norm, self.feed = Attention(width), nn.LayerNorm(width), mlp(width)

    def forward(self, x: torch.Tensor, y: torch.Tensor | None, _: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scores = self.attend.scores(self.attend.query(x), self.attend.key(x))
        scores = scores if y is None else scores + y
        x = self.norm(x + self.attend.mixed(scores, self.attend.value(x)))
        return x + self.feed(x), scores


class Refining(nn.Module):
    """A layer of a detection decoder: queries beside the boxes that each layer refines."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.own, self.there, self.norm, self.feed = Attention(width), Attention(width), nn.LayerNorm(width), mlp(width)
        self.places, self.box = nn.Linear(4, width), nn.Linear(width, 4)

    def forward(self, x: torch.Tensor, y: torch.Tensor, memory: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen = x + self.places(y)
        x = x + self.own(seen, seen, x)
        x = x + self.there(x + self.places(y), memory, memory)
        x = x + self.feed(self.norm(x))
        return x, (self.box(x) + y).sigmoid()


class Memory(nn.Module):
    """A block that reads what the one before it read as well."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.feed = mlp(width)

    def forward(self, x: torch.Tensor, y: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return y + self.feed(x), x


class Net(nn.Module):
    """Blocks between linear layers."""

    def __init__(self, block: Callable[[int], nn.Module], begin: str, end: str, layers: int, width: int) -> None:
        super().__init__()
        self.begin, self.end = begin, end
        self.first, self.second, self.third = (nn.Linear(6, width) for _ in range(3))
        self.boxes = nn.Linear(6, 4)
        self.blocks = nn.ModuleList(block(width) for _ in range(layers))
        self.head, self.other = nn.Linear(width, 3), nn.Linear(width, 2)

    def forward(self, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x, aside = self.first(a), self.third(c)
        begins = {"same": lambda: x, "none": lambda: None, "boxes": lambda: self.boxes(b).sigmoid()}
        y = begins.get(self.begin, lambda: self.second(b))()
        for block in self.blocks:
            x, y = block(x, y, aside)
        ends = {"one": lambda: (self.head(x),), "raw": lambda: (x, y), "boxes": lambda: (self.head(x), y)}
        return ends.get(self.end, lambda: (self.head(x), self.other(y)))()


NETS = {
    "reversible": (Reversible, "same", "both"),
    "two-way": (TwoWay, "two", "both"),
    "to-each-other": (Both, "two", "both"),
    "streams-as-outputs": (Both, "two", "raw"),
    "one-is-read": (Both, "two", "one"),
    "handed-scores": (Scores, "none", "one"),
    "refined-boxes": (Refining, "boxes", "boxes"),
    "two-steps-back": (Memory, "two", "both"),
}


def export(name: str, layers: int, width: int, path: Path, exporter: str) -> onnx.ModelProto:
    torch.manual_seed(0)
    net = Net(*NETS[name], layers, width).eval()
    for weight in net.parameters():
        nn.init.normal_(weight, std=0.2)
    inputs = tuple(torch.randn(2, 5, 6) for _ in range(3))
    outputs = [f"y{i}" for i in range(len(net(*inputs)))]
    dynamo = exporter == "dynamo"
    options = {"external_data": False, "verbose": False} if dynamo else {"opset_version": 17}
    torch.onnx.export(net, inputs, path, input_names=["a", "b", "c"], output_names=outputs, dynamo=dynamo, **options)
    return onnx.load(path)


CASES = [(name, exporter) for name in NETS for exporter in ("torchscript", "dynamo")]
KEPT = [case for case in CASES if case[1] == "torchscript" or case[0] == "two-way"]


@pytest.mark.parametrize(
    ("name", "exporter"), few(CASES, lambda case: case[1] == "torchscript" or case[0] == "two-way")
)
def test_depth_and_width_equal_the_native_export(tmp_path: Path, name: str, exporter: str) -> None:
    source = export(name, 3, 8, tmp_path / "source.onnx", exporter)
    (chain,) = front_onnx.inspect(source).chains
    assert chain.depth == 3
    for layers, width in ((5, 8), (2, 8), (4, 12)):
        native = export(name, layers, width, tmp_path / "native.onnx", exporter)
        result = front_onnx.resize(source, depth=layers, width=width, output=tmp_path / "resized.onnx")
        assert result.validation is not None and result.validation.passed
        assert compare(tmp_path / "resized.onnx", native, tied=False) == []


@pytest.mark.parametrize("name", ["reversible", "two-way", "refined-boxes"])
def test_new_blocks_are_handed_all_tensors(tmp_path: Path, name: str) -> None:
    """A chain that grew by a block and lost it again is wired as the source is."""
    source = export(name, 3, 8, tmp_path / "source.onnx", "torchscript")
    grown = front_onnx.resize(source, depth=4).model
    (chain,) = front_onnx.inspect(grown).chains
    assert chain.depth == 4
    again = front_onnx.resize(grown, depth=3).model
    assert compare(again, source, tied=False) == []


# --- what repeats and is no block ---------------------------------------------------------------------------------


class Added(nn.Module):
    """A U-Net whose skips are added: half of it repeats."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(8, 3)
        self.down, self.up = (nn.ModuleList(mlp(8) for _ in range(layers)) for _ in range(2))

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        x, skips = self.first(a) + self.second(b), []
        for block in self.down:
            x = x + block(x)
            skips.append(x)
        for block in self.up:
            x = x + block(x) + skips.pop()
        return self.head(x)


class Rotating(nn.Module):
    """Three streams in turn: a stem that is read late stands where a block does."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Linear(6, 8) for _ in range(3))
        self.blocks, self.head = nn.ModuleList(mlp(8) for _ in range(layers)), nn.Linear(8, 3)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        x, y, z = self.first(a), self.second(b), self.third(b)
        for block in self.blocks:
            x, y, z = y, z, x + block(z)
        return self.head(z)


class InTime(nn.Module):
    """Stacked cells over three steps: each weight is read three times."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(6, 8), nn.Linear(8, 3)
        self.cells = nn.ModuleList(nn.Linear(16, 8) for _ in range(layers))

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        x, states = self.first(a + 0 * b), [torch.zeros(2, 8)] * len(self.cells)
        for step in range(3):
            value, new = x[:, step], []
            for cell, state in zip(self.cells, states, strict=True):
                value = cell(torch.cat([value, state], -1)).tanh()
                new.append(value)
            states = new
        return self.head(states[-1])


class LastAlone(nn.Module):
    """Two streams, of which the last block changes one: half blocks repeat."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(8, 3)
        self.left = nn.ModuleList(mlp(8) for _ in range(layers))
        self.right = nn.ModuleList(mlp(8) for _ in range(layers - 1))

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        x, y = self.first(a), self.second(b)
        for place, block in enumerate(self.left):
            x = x + block(y)
            if place < len(self.right):
                y = y + self.right[place](x)
        return self.head(x)


@pytest.mark.parametrize(("layers", "wanted"), [(3, 5), (4, 2)])
@pytest.mark.parametrize("net", [Added, Rotating, InTime, LastAlone])
def test_what_repeats_and_is_no_block_is_refused_or_right(
    tmp_path: Path, net: type[nn.Module], layers: int, wanted: int
) -> None:
    def export_of(count: int, path: Path) -> Path:
        torch.manual_seed(0)
        inputs = (torch.randn(2, 5, 6), torch.randn(2, 5, 6))
        torch.onnx.export(net(count).eval(), inputs, str(path), dynamo=False, opset_version=17)
        return path

    source = export_of(layers, tmp_path / "source.onnx")
    try:
        front_onnx.resize(source, depth=wanted, output=tmp_path / "resized.onnx")
    except front_onnx.FrontError:
        return
    assert compare(tmp_path / "resized.onnx", export_of(wanted, tmp_path / "native.onnx"), tied=False) == []


def test_a_mean_over_blocks_is_told(tmp_path: Path) -> None:
    class Mean(Added):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            x = self.first(a) + self.second(b)
            total = x * 0
            for block in self.down:
                x = x + block(x)
                total = total + x
            return self.head(total / len(self.down))

    inputs = (torch.randn(2, 5, 6), torch.randn(2, 5, 6))
    torch.onnx.export(Mean(4).eval(), inputs, str(tmp_path / "m.onnx"), dynamo=False, opset_version=17)
    plan = front_onnx.resize(tmp_path / "m.onnx", depth=2, dry_run=True).plan
    assert any("scales by 4" in line and "and 2 would be right" in line for line in plan.warnings), plan.warnings
