"""Sizes inside a block: which follow the width, and which are a number of things; against native exports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from zoo.export import write
from zoo.oracle import compare
from zoo.randomise import randomise

import front_onnx

pytestmark = pytest.mark.export

Forward = Callable[["Block", Tensor], Tensor]


class Block(nn.Module):
    """x + forward(x): what a block computes of its normalised input, with the weights that it is given by name."""

    def __init__(self, width: int, forward: Forward, **held: tuple[int, ...] | nn.Module) -> None:
        super().__init__()
        self.width, self.inner, self.norm = width, forward, nn.LayerNorm(width)
        for name, shape in held.items():
            setattr(self, name, shape if isinstance(shape, nn.Module) else nn.Parameter(torch.zeros(shape)))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(self, self.norm(x))


def _export(block: Callable[[int], Block], path: Path, width: int, depth: int, seed: int) -> Path:
    torch.manual_seed(0)
    blocks = (block(width) for _ in range(depth))
    module = nn.Sequential(nn.Linear(7, width), *blocks, nn.Linear(width, 5))
    randomise(module, seed)
    x = torch.randn(2, 6, 7, generator=torch.Generator().manual_seed(1))
    write(module.eval(), {"input": x}, path, exporter="torchscript", opset=None, outputs=("y",), axes={0: "batch"})
    return path


def _resized(
    block: Callable[[int], Block], folder: Path, width: int = 24, target: int = 40, *, tied: bool = True
) -> tuple[list[str], list[str]]:
    """(differences from the native export at the target's width, warnings), 3 blocks becoming 4."""
    source = _export(block, folder / "source.onnx", width, 3, 0)
    native, twin = (_export(block, folder / f"{seed}.onnx", target, 4, seed) for seed in (1, 2))
    result = front_onnx.resize(source, depth=4, width=target, output=folder / "out.onnx")
    return compare(str(result.output), native, twin=twin, tied=tied), result.plan.warnings


# -- entries that data attend over ------------------------------------------------------------------------------------


def _prototypes(m: Block, x: Tensor) -> Tensor:
    return (x @ m.held.T).softmax(-1) @ m.held


def _memory(m: Block, x: Tensor) -> Tensor:
    return ((x @ m.keys.T) * 0.3).softmax(-1) @ m.values


def _distances(m: Block, x: Tensor) -> Tensor:
    far = (x * x).sum(-1, keepdim=True) - 2 * x @ m.held.T
    return (-far).softmax(-1) @ m.held


def _written_out(m: Block, x: Tensor) -> Tensor:
    shares = (x @ m.keys.T).exp()
    return (shares / (shares.sum(-1, keepdim=True) + 1e-6)) @ m.values


def _external(m: Block, x: Tensor) -> Tensor:
    shares = m.score(x).softmax(1)
    return m.take(shares / (1e-9 + shares.sum(2, keepdim=True)))


def _induced(m: Block, x: Tensor) -> Tensor:
    asked = (m.queries @ x.transpose(1, 2)).softmax(-1) @ x
    return m.out((x @ asked.transpose(1, 2)).softmax(-1) @ asked)


SLOTS: dict[str, Callable[[int], Block]] = {
    "prototypes": lambda n: Block(n, _prototypes, held=(6, n)),
    "memory": lambda n: Block(n, _memory, keys=(6, n), values=(6, n)),
    "distances": lambda n: Block(n, _distances, held=(6, n)),
    "written out": lambda n: Block(n, _written_out, keys=(6, n), values=(6, n)),
    "external": lambda n: Block(n, _external, score=nn.Linear(n, 9, bias=False), take=nn.Linear(9, n, bias=False)),
    "induced": lambda n: Block(n, _induced, queries=(1, 5, n), out=nn.Linear(n, n)),
}


@pytest.mark.parametrize("kind", SLOTS)
def test_the_number_of_entries_that_data_attend_over_stays(tmp_path: Path, kind: str) -> None:
    both = kind in ("prototypes", "distances")  # the exporter stores them a second time, turned
    assert _resized(SLOTS[kind], tmp_path, tied=not both)[0] == []


def test_the_number_of_entries_can_be_set_by_name(tmp_path: Path) -> None:
    source = _export(SLOTS["memory"], tmp_path / "source.onnx", 24, 3, 0)
    name = next(dim.name for dim in front_onnx.inspect(source).dims if dim.size == 6)
    result = front_onnx.resize(source, width=40, dims={name: 11}, output=tmp_path / "out.onnx")
    wide = _export(lambda n: Block(n, _memory, keys=(11, n), values=(11, n)), tmp_path / "native.onnx", 40, 3, 1)
    assert compare(str(result.output), wide) == []


# -- hidden widths that look like it ----------------------------------------------------------------------------------


def _bent(m: Block, x: Tensor) -> Tensor:
    return m.down(torch.relu(m.up(x)))


def _gated(m: Block, x: Tensor) -> Tensor:
    """A softmax over the hidden width says how much of each element passes."""
    return m.down(m.gate(x).softmax(-1) * m.up(x))


def _divided(m: Block, x: Tensor) -> Tensor:
    y = torch.relu(m.up(x))
    return m.down(y / (y.norm(dim=-1, keepdim=True) + 1e-6))


def _ranked(m: Block, x: Tensor) -> Tensor:
    return torch.einsum("bsi,ir,rj->bsj", x, m.first, m.second)


def _ranked_apart(m: Block, x: Tensor) -> Tensor:
    return torch.einsum("bsi,ri,jr->bsj", x, m.first, m.second)


def _multiplied(m: Block, x: Tensor) -> Tensor:
    return x @ (m.first @ m.second * 0.7)


HIDDEN: dict[str, Callable[[int], Block]] = {
    "relu": lambda n: Block(n, _bent, up=nn.Linear(n, 2 * n), down=nn.Linear(2 * n, n)),
    "gated by shares": lambda n: Block(
        n, _gated, up=nn.Linear(n, 2 * n), gate=nn.Linear(n, 2 * n), down=nn.Linear(2 * n, n)
    ),
    "divided by its norm": lambda n: Block(n, _divided, up=nn.Linear(n, 2 * n), down=nn.Linear(2 * n, n)),
    "rank in one node": lambda n: Block(n, _ranked, first=(n, n // 4), second=(n // 4, n)),
    "rank in one node, turned": lambda n: Block(n, _ranked_apart, first=(n // 4, n), second=(n, n // 4)),
    "rank of a product": lambda n: Block(n, _multiplied, first=(n, n // 4), second=(n // 4, n)),
}


@pytest.mark.parametrize("kind", HIDDEN)
def test_a_hidden_width_follows(tmp_path: Path, kind: str) -> None:
    assert _resized(HIDDEN[kind], tmp_path)[0] == []


# -- numbers of things along a width ----------------------------------------------------------------------------------


def _best(m: Block, x: Tensor, count: int) -> Tensor:
    y = m.up(x)
    return m.down(torch.relu(y - y.topk(count, -1)[0][..., -1:]))


def _sorted(m: Block, x: Tensor) -> Tensor:
    y = m.up(x)
    return m.down(y.sort(-1)[0])


def _winners(m: Block, x: Tensor) -> Tensor:
    y = torch.relu(m.up(x))
    values, places = y.topk(4, -1)
    return m.down(torch.zeros_like(y).scatter(-1, places, values))


def _ffn(forward: Forward) -> Callable[[int], Block]:
    return lambda n: Block(n, forward, up=nn.Linear(n, 2 * n), down=nn.Linear(2 * n, n))


def test_the_number_of_best_elements_stays_and_is_told(tmp_path: Path) -> None:
    differences, warnings = _resized(_ffn(lambda m, x: _best(m, x, 6)), tmp_path)
    assert differences == []
    (told,) = warnings
    assert "(and 2 more) takes the 6 best of ffn 48, which becomes 80: 6 stays, and would be 10" in told


def test_a_width_that_is_sorted_follows(tmp_path: Path) -> None:
    assert _resized(_ffn(_sorted), tmp_path) == ([], [])


def test_a_hidden_width_that_stays_is_told(tmp_path: Path) -> None:
    source = _export(_ffn(_winners), tmp_path / "source.onnx", 24, 3, 0)
    told = [line for line in front_onnx.resize(source, width=40, dry_run=True).plan.warnings if "stays" in line]
    assert told and "48" in told[0] and "80" in told[0]


def _cut(m: Block, x: Tensor) -> Tensor:
    return m.out(torch.cat([x[..., :9].sin(), x[..., 9:]], -1))


def _rolled(m: Block, x: Tensor) -> Tensor:
    return m.out(torch.roll(x, 5, -1))


def _split(m: Block, x: Tensor) -> Tensor:
    first, second = x.split([9, m.width - 9], -1)
    return m.out(torch.cat([second, first.tanh()], -1))


def _head(m: Block, x: Tensor) -> Tensor:
    return m.first(x[..., :9])


@pytest.mark.parametrize(("forward", "place"), [(_cut, 9), (_rolled, 5), (_split, 9)])
def test_a_cut_at_a_written_place_is_told(tmp_path: Path, forward: Forward, place: int) -> None:
    source = _export(lambda n: Block(n, forward, out=nn.Linear(n, n)), tmp_path / "source.onnx", 24, 3, 0)
    told = [line for line in front_onnx.resize(source, width=48, dry_run=True).plan.warnings if " cuts " in line]
    assert told and any(str(place) in line and str(2 * place) in line for line in told)


def test_a_part_of_the_width_that_a_weight_reads_is_told(tmp_path: Path) -> None:
    source = _export(lambda n: Block(n, _head, first=nn.Linear(9, n)), tmp_path / "source.onnx", 24, 3, 0)
    told = [line for line in front_onnx.resize(source, width=48, dry_run=True).plan.warnings if " cuts " in line]
    assert len(told) == 1 and "at 9" in told[0] and "18" in told[0]


def _halves(m: Block, x: Tensor) -> Tensor:
    y = m.up(x)
    return m.down(torch.relu(y[..., : m.width]) * y[..., m.width :])


def _chunks(m: Block, x: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return m.out(torch.cat([m.part(second).relu(), first], -1))


def _one_key_head(m: Block, x: Tensor) -> Tensor:
    y = m.up(x)
    q, k, v = y[..., : m.width], y[..., m.width : -8], y[..., -8:]
    q = q.unflatten(-1, (-1, 8)).transpose(1, 2)
    scores = (q @ k.unsqueeze(1).transpose(-1, -2) * 8**-0.5).softmax(-1)
    return m.down((scores @ v.unsqueeze(1)).transpose(1, 2).flatten(2))


PARTS: dict[str, Callable[[int], Block]] = {
    "halves of a gate": lambda n: Block(n, _halves, up=nn.Linear(n, 2 * n), down=nn.Linear(n, n)),
    "chunks": lambda n: Block(n, _chunks, part=nn.Linear(n // 2, n // 2), out=nn.Linear(n, n)),
    "queries, keys, values": lambda n: Block(n, _one_key_head, up=nn.Linear(n, n + 16), down=nn.Linear(n, n)),
}


@pytest.mark.parametrize("kind", PARTS)
def test_parts_that_are_sizes_are_not_told(tmp_path: Path, kind: str) -> None:
    assert _resized(PARTS[kind], tmp_path) == ([], [])


# -- heads whose halves are rotated, beside a cache -------------------------------------------------------------------


class Cached(nn.Module):
    """Attention over what a cache holds and what is new; queries and keys are rotated by halves cut at numbers."""

    def __init__(self, width: int, heads: int, size: int, depth: int) -> None:
        super().__init__()
        self.heads, self.size, self.embed = heads, size, nn.Linear(7, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.made = nn.ModuleList(nn.Linear(width, 3 * heads * size) for _ in range(depth))
        self.outs = nn.ModuleList(nn.Linear(heads * size, width) for _ in range(depth))
        self.head = nn.Linear(width, 5)
        angles = torch.arange(6.0)[:, None] / 10000 ** (torch.arange(0, size, 2) / size)
        self.register_buffer("cos", torch.cat([angles, angles], -1).cos())
        self.register_buffer("sin", torch.cat([angles, angles], -1).sin())

    def _turned(self, x: Tensor) -> Tensor:
        half = self.size // 2
        return x * self.cos + torch.cat([-x[..., half:], x[..., :half]], -1) * self.sin

    def forward(self, x: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        x, present = self.embed(x), []
        for i, (norm, made, out) in enumerate(zip(self.norms, self.made, self.outs, strict=True)):
            q, k, v = made(norm(x)).view(2, 6, 3, self.heads, self.size).permute(2, 0, 3, 1, 4)
            q, k = self._turned(q), torch.cat([past[2 * i], self._turned(k)], 2)
            v = torch.cat([past[2 * i + 1], v], 2)
            scores = (q @ k.transpose(-1, -2) * self.size**-0.5).softmax(-1)
            x = x + out((scores @ v).transpose(1, 2).reshape(2, 6, self.heads * self.size))
            present += [k, v]
        return self.head(x), *present


def _cached(path: Path, width: int, heads: int, size: int, depth: int, seed: int) -> Path:
    torch.manual_seed(0)
    module = Cached(width, heads, size, depth)
    randomise(module, seed)
    shapes = {"x": (2, 6, 7)} | {f"past.{i}.{kind}": (2, heads, 4, size) for i in range(depth) for kind in "kv"}
    outputs = ("y", *(f"present.{i}.{kind}" for i in range(depth) for kind in "kv"))
    names, inputs = list(shapes), tuple(torch.randn(shape) for shape in shapes.values())
    torch.onnx.export(
        module.eval(), inputs, path, input_names=names, output_names=outputs, opset_version=17, dynamo=False
    )
    return path


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("heads", "size", "depth"), [(4, 16, 3), (2, 16, 4), (8, 4, 2)])
def test_halves_that_are_cut_at_numbers_follow_a_head_beside_a_cache(
    tmp_path: Path, heads: int, size: int, depth: int
) -> None:
    source = _cached(tmp_path / "source.onnx", 32, 4, 8, 3, 0)
    result = front_onnx.resize(source, heads=heads, head_dim=size, depth=depth, output=tmp_path / "out.onnx")
    native = _cached(tmp_path / "native.onnx", 32, heads, size, depth, 1)
    assert compare(str(result.output), native) == []
    assert not result.plan.warnings
