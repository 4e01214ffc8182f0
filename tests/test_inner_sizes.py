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
