"""Scalars: those that a size or a depth hides in, and those that are weights."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from tiers import by_exporter, few
from zoo.export import write
from zoo.opsets import EXPORTERS
from zoo.oracle import compare
from zoo.randomise import randomise

import front_onnx
from front_onnx.constants.sequences import continued, depth_power

Scale = Callable[[int, int, int], float]  # of the block's number, the depth and the width


class _Block(torch.nn.Module):
    def __init__(self, width: int, factor: float, learned: bool) -> None:
        super().__init__()
        self.factor, self.up, self.down = factor, torch.nn.Linear(width, 3 * width), torch.nn.Linear(3 * width, width)
        self.gain = torch.nn.Parameter(torch.ones(1)) if learned else 1.0
        self.shift = torch.nn.Parameter(torch.ones(())) if learned else 1.0
        self.norm = torch.nn.LayerNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = torch.relu(self.up(self.norm(x))) ** 2 * self.gain + self.shift
        return x * self.factor + self.down(inner)


class _Model(torch.nn.Module):
    def __init__(self, depth: int, width: int, scale: Scale, learned: bool, tied: bool | None) -> None:
        super().__init__()
        self.words, self.root = torch.nn.Embedding(31, width), width**-0.5
        self.blocks = torch.nn.ModuleList(_Block(width, scale(i, depth, width), learned) for i in range(depth))
        self.head = torch.nn.Linear(width, 31, bias=False)
        self.tied = tied
        if tied:
            self.head.weight = self.words.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.words(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(x) if self.tied is None else self.head(x * self.root)


def _export(path: Path, exporter: str, depth: int, width: int, seed: int, **how) -> Path:
    torch.manual_seed(0)
    module = _Model(depth, width, how.get("scale", lambda i, n, w: 1.5), how.get("learned", False), how.get("tied"))
    randomise(module, seed, scalars=True)
    ids = torch.randint(0, 31, (2, 7), generator=torch.Generator().manual_seed(1))
    write(module.eval(), {"ids": ids}, path, exporter=exporter, opset=None, outputs=("y",), axes={0: "batch"})
    return path


def _differences(folder: Path, exporter: str, depth: int, width: int, **how) -> list[str]:
    """Between the source of 4 blocks of width 24, resized, and the native export."""
    source = _export(folder / "source.onnx", exporter, 4, 24, 0, **how)
    native, twin = (_export(folder / f"{s}.onnx", exporter, depth, width, s, **how) for s in (0, 1))
    result = front_onnx.resize(source, depth=depth, width=width, output=folder / "out.onnx")
    assert result.output is not None
    return compare(result.output, native, twin=twin)


@pytest.mark.export
@pytest.mark.parametrize(("depth", "width", "exporter"), by_exporter([(6, 24), (3, 12)], dynamo=[(3, 12)]))
def test_learned_scalars_follow_the_depth(tmp_path: Path, depth: int, width: int, exporter: str) -> None:
    assert _differences(tmp_path, exporter, depth, width, learned=True) == []


@pytest.mark.export
def test_learned_scalars_are_resampled_and_not_copied(tmp_path: Path) -> None:
    source = _export(tmp_path / "source.onnx", "torchscript", 4, 24, 0, learned=True)
    result = front_onnx.resize(source, depth=6, output=tmp_path / "out.onnx")

    def shifts(path: Path) -> list[float]:
        held = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
        return [held[name].item() for name in sorted(held) if name.endswith(".shift")]

    assert result.output is not None
    before, after = shifts(source), shifts(result.output)
    assert (len(before), len(set(after))) == (4, 6)
    assert math.isclose(np.mean(after), np.mean(before), rel_tol=1e-5)  # the lowest frequency keeps its value


@pytest.mark.export
@pytest.mark.parametrize(("depth", "exporter"), by_exporter([2, 6], dynamo=0))
@pytest.mark.parametrize(
    "scale",
    [lambda i, n, w: 1 / (i + 2), lambda i, n, w: 0.3 * (i + 1) ** 0.5],
    ids=["1/(i+2)", "0.3 sqrt(i+1)"],
)
def test_sequences_over_the_blocks(tmp_path: Path, exporter: str, scale: Scale, depth: int) -> None:
    assert _differences(tmp_path, exporter, depth, 24, scale=scale) == []


@pytest.mark.export
@pytest.mark.parametrize("power", [0.25, -0.25])
def test_powers_of_the_depth_are_told_and_stay(tmp_path: Path, power: float) -> None:
    """A value alone does not prove that the depth is meant: 24 may be 2 x 12 blocks or a head of 24."""
    source = _export(tmp_path / "source.onnx", "torchscript", 4, 24, 0, scale=lambda i, n, w: (2 * n) ** power)
    result = front_onnx.resize(source, depth=6, output=tmp_path / "out.onnx")
    assert sum(f"{12**power:.6g} at 6" in warning for warning in result.plan.warnings) == 1
    wanted = _export(tmp_path / "native.onnx", "torchscript", 6, 24, 0, scale=lambda i, n, w: 8**power)
    assert compare(result.output, wanted) == []


@pytest.mark.export
@pytest.mark.parametrize("exporter", few(EXPORTERS, 1))
def test_a_tied_head_times_a_root_of_the_width(tmp_path: Path, exporter: str) -> None:
    assert _differences(tmp_path, exporter, 4, 12, tied=True) == []


@pytest.mark.export
@pytest.mark.parametrize("exporter", few(EXPORTERS, 1))
def test_a_root_of_the_width_in_every_block(tmp_path: Path, exporter: str) -> None:
    """It scales embeddings in the first block, so it means the width in all of them."""
    assert _differences(tmp_path, exporter, 4, 12, scale=lambda i, n, w: w**-0.5) == []


@pytest.mark.export
def test_a_root_of_the_width_anywhere_else_is_told(tmp_path: Path) -> None:
    source = _export(tmp_path / "source.onnx", "torchscript", 4, 24, 0, tied=False)
    warnings = front_onnx.resize(source, width=12, dry_run=True).plan.warnings
    assert sum("scales by 0.204124" in warning for warning in warnings) == 1


def test_sequences_go_on() -> None:
    go_on = continued([1.0, 1 / 2, 1 / 3], 1)
    assert go_on is not None and math.isclose(go_on(7), 1 / 8)
    in_pairs = continued([0.5, 0.5 / 3, 0.1], 2)  # blocks 1, 3, 5 of layers counted one by one
    assert in_pairs is not None and math.isclose(in_pairs(3), 0.5 / 7)
    assert continued([1.0, 0.52, 0.31], 1) is None
    assert continued([0.9, 1.1], 1) is None
    assert continued([-1.0, 0.5, math.inf], 1) is None


def test_powers_of_the_depth() -> None:
    assert math.isclose(depth_power(float(np.float32(24**0.25)), 12, 6) or 0, 12**0.25, rel_tol=1e-6)
    assert depth_power(2.0, 8, 6) is None  # (2 * 8)^(1/4), and simply 2
    assert depth_power(0.7071, 12, 6) is None
