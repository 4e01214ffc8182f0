"""Ways to write a module that are common elsewhere than in the large libraries; against native exports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from zoo.export import write
from zoo.oracle import compare
from zoo.randomise import randomise

import front_onnx

pytestmark = pytest.mark.export

Make = Callable[[int, int], nn.Module]


class Stack(nn.Module):
    """Blocks of one kind between two linear layers."""

    def __init__(self, block: Callable[[int], nn.Module], width: int, depth: int) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(5, width), nn.Linear(width, 3)
        self.blocks = nn.ModuleList(block(width) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def _export(make: Make, path: Path, width: int, depth: int, seed: int, x: Tensor, axes: dict[int, str]) -> Path:
    torch.manual_seed(0)
    module = make(width, depth)
    randomise(module, seed, scalars=True)
    write(module.eval(), {"x": x}, path, exporter="torchscript", opset=None, outputs=("y",), axes=axes)
    return path


def _differences(
    make: Make,
    folder: Path,
    x: Tensor,
    axes: dict[int, str],
    *,
    width: int = 16,
    target: int = 24,
    asked: dict | None = None,
) -> tuple[list[str], list[str]]:
    """(differences from the native export at the target's size, warnings), 2 blocks becoming 3."""
    source = _export(make, folder / "source.onnx", width, 2, 0, x, axes)
    native, twin = (_export(make, folder / f"{seed}.onnx", target, 3, seed, x, axes) for seed in (1, 2))
    result = front_onnx.resize(source, output=folder / "out.onnx", **(asked or {"depth": 3, "width": target}))
    return compare(str(result.output), native, twin=twin), result.plan.warnings


# -- gated attention (Hua et al. 2022): queries and keys are one small projection, scaled twice by an Einsum ---


class GatedUnit(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.wide, self.small, self.norm = 2 * width, 8, nn.LayerNorm(width)
        self.into, self.out = nn.Linear(width, 4 * width + 8), nn.Linear(2 * width, width)
        self.gamma, self.beta = nn.Parameter(torch.zeros(2, 8)), nn.Parameter(torch.zeros(2, 8))

    def forward(self, x: Tensor) -> Tensor:
        gate, value, base = F.silu(self.into(self.norm(x))).split([self.wide, self.wide, self.small], -1)
        query, key = (torch.einsum("...r,hr->...hr", base, self.gamma) + self.beta).unbind(-2)
        scores = torch.relu(query @ key.transpose(-1, -2) / self.small**0.5) ** 2
        return x + self.out(gate * (scores @ value))


def test_a_product_that_sums_over_nothing_is_no_contraction(tmp_path: Path) -> None:
    make = lambda width, depth: Stack(GatedUnit, width, depth)  # noqa: E731
    assert _differences(make, tmp_path, torch.randn(2, 6, 5), {0: "batch", 1: "time"}) == ([], [])


# -- attention whose scale is computed from the shape of the queries: (width // heads) ** -0.25 on both operands ---


class ShapedScale(nn.Module):
    def __init__(self, width: int, per_head: int = 4) -> None:
        super().__init__()
        self.heads, self.norm = width // per_head, nn.LayerNorm(width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        query, key, value = self.query(y), self.key(y), self.value(y)
        scale = (query.shape[-1] // self.heads) ** -0.25
        query, key, value = (t.view(*t.shape[:2], self.heads, -1).transpose(1, 2) for t in (query, key, value))
        scores = (query * scale) @ (key * scale).transpose(-1, -2)
        return x + self.out((scores.softmax(-1) @ value).transpose(1, 2).flatten(2))


@pytest.mark.parametrize("width", [16, 32])  # as many heads as entries of a head, or not
def test_heads_that_a_scale_divides_the_width_by(tmp_path: Path, width: int) -> None:
    make = lambda width, depth: Stack(ShapedScale, width, depth)  # noqa: E731
    found = _differences(make, tmp_path, torch.randn(2, 6, 5), {0: "batch", 1: "time"}, width=width, target=40)
    assert found == ([], [])


# -- a first guess that a second network refines: what the model gives, it reads once more ---


class Refined(nn.Module):
    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.stem, self.guess = nn.Linear(5, width), nn.Linear(width, 10)
        self.blocks = nn.ModuleList(nn.Conv1d(width, width, 3, padding=1) for _ in range(depth))
        self.first, self.last = nn.Conv1d(10, width, 3, padding=1), nn.Conv1d(width, 10, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).transpose(1, 2)
        for block in self.blocks:
            x = x + torch.relu(block(x))
        guess = self.guess(x.transpose(1, 2)).transpose(1, 2)
        return guess + self.last(torch.tanh(self.first(guess)))


@pytest.mark.parametrize("asked", [{"depth": 3, "width": 24}, {"depth": 3, "width_mult": 1.5}])
def test_an_output_that_is_read_once_more_keeps_its_size(tmp_path: Path, asked: dict) -> None:
    assert _differences(Refined, tmp_path, torch.randn(2, 6, 5), {0: "batch"}, asked=asked) == ([], [])


# -- attention whose heads are mixed by a 1 x 1 convolution, before and behind the softmax (Shazeer et al. 2020) ---


class Talking(nn.Module):
    """Queries of several heads, keys and values of one."""

    def __init__(self, width: int, per_head: int = 4) -> None:
        super().__init__()
        self.heads, self.norm = width // per_head, nn.LayerNorm(width)
        self.query, self.both, self.out = nn.Linear(width, width), nn.Linear(width, 8), nn.Linear(width, width)
        self.before, self.behind = (nn.Conv2d(self.heads, self.heads, 1, bias=False) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        query = self.query(y).view(*y.shape[:2], self.heads, -1).transpose(1, 2)
        key, value = self.both(y).chunk(2, -1)
        scores = self.before(torch.einsum("bhid,bjd->bhij", query, key) / 2.0)
        found = torch.einsum("bhij,bjd->bhid", self.behind(scores.softmax(-1)), value)
        return x + self.out(found.transpose(1, 2).flatten(2))


def test_heads_that_are_mixed_are_heads(tmp_path: Path) -> None:
    make = lambda width, depth: Stack(Talking, width, depth)  # noqa: E731
    assert _differences(make, tmp_path, torch.randn(2, 6, 5), {0: "batch"}, target=40) == ([], [])


# -- filters that are standardised, scaled by the size of what they sum over (Qiao et al. 2019, Brock et al. 2021) ---


class Standardised(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.filters, self.gain = (
            nn.Parameter(torch.zeros(width, width, 3, 3)),
            nn.Parameter(torch.zeros(width, 1, 1, 1)),
        )
        self.summed = 9 * width

    def forward(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(self.filters, dim=(1, 2, 3), keepdim=True)
        scale = torch.rsqrt(torch.clamp(variance * self.summed, min=1e-4)) * self.gain
        return x + F.conv2d(torch.relu(x), (self.filters - mean) * scale, padding=1)


class Images(Stack):
    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x.transpose(1, 3)).transpose(1, 3)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((2, 3)))


def test_what_filters_sum_over_is_the_size_that_scales_them(tmp_path: Path) -> None:
    make = lambda width, depth: Images(Standardised, width, depth)  # noqa: E731
    differences, warnings = _differences(make, tmp_path, torch.randn(2, 5, 8, 8), {0: "batch"}, width=8)
    assert differences == []
    assert any("scales by 72" in warning and "216" in warning for warning in warnings)


# -- a model without a chain, whose width is sines beside cosines ---


class Waves(nn.Module):
    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.waves = nn.Linear(2, width // 2, bias=False)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(4))
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        angles = self.waves(x)
        x = torch.cat([angles.sin(), angles.cos()], -1)
        one, two, three, four = self.layers
        x = x + torch.relu(one(x)) * torch.tanh(two(x))
        return self.head(x * four(three(x).sigmoid()))


def test_the_width_of_sines_beside_cosines_is_that_of_both(tmp_path: Path) -> None:
    assert _differences(Waves, tmp_path, torch.randn(2, 2), {0: "batch"}, asked={"width": 24}) == ([], [])


# -- a mean and a deviation of which only the mean is read, cut where the exporter computes the half ---


class Mean(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.into, self.out = nn.Linear(width, 2 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        mean, _ = self.into(torch.relu(x)).chunk(2, -1)
        return x + self.out(mean)


def test_a_chunk_beside_one_that_nothing_reads_follows(tmp_path: Path) -> None:
    make = lambda width, depth: Stack(Mean, width, depth)  # noqa: E731
    assert _differences(make, tmp_path, torch.randn(2, 5), {0: "batch"}) == ([], [])


class Within(nn.Module):
    """Blocks whose outputs are all read at the end: only the layers in the first one are a row."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(5, width), nn.Linear(3 * width, 3)
        self.up = nn.ModuleList(
            nn.Sequential(nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)) for _ in range(3)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        made = []
        for block in self.up:
            x = x + block(x)
            made.append(x)
        return self.head(torch.cat([made[2], made[0], made[1]], -1))


def test_modules_like_the_one_in_which_a_chain_lies_are_told(tmp_path: Path) -> None:
    path = _export(Within, tmp_path / "source.onnx", 8, 3, 0, torch.randn(2, 5), {0: "batch"})
    chains = front_onnx.inspect(path).chains
    for chain in (chain for chain in chains if chain.name.startswith("up.")):
        told = front_onnx.resize(path, depth={chain.name: 4}).plan.warnings
        assert any("parts of one module" in warning for warning in told)
    assert all(chain.name != "up" or chain.depth == 3 for chain in chains)


# -- names ---


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.two(torch.relu(self.one(x))))


class Parallel(nn.Module):
    """Stages of branches of blocks, each branch narrower than the one before it, all of them summed."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*(Residual(width) for _ in range(2))) for _ in range(2))
        self.mix = nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.mix(torch.cat([branch(x) for branch in self.branches], -1)))


def test_numbers_in_the_names_of_chains_stay(tmp_path: Path) -> None:
    make = lambda width, depth: Stack(Parallel, width, depth)  # noqa: E731
    path = _export(make, tmp_path / "source.onnx", 8, 1, 0, torch.randn(2, 5), {0: "batch"})
    names = [chain.name for chain in front_onnx.inspect(path).chains]
    assert names == ["blocks.0.branches.0", "blocks.0.branches.1"]


class Recurrent(nn.Module):
    """Recurrent layers with a sum around all but the first, which takes as many features."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(5, width), nn.Linear(width, 3)
        self.layers = nn.ModuleList(nn.LSTM(width, width, batch_first=True) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        x, _ = self.layers[0](self.stem(x))
        for layer in self.layers[1:]:
            x = x + layer(x)[0]
        return self.head(x)


def test_a_layer_that_is_not_counted_is_told_though_its_weights_have_no_names(tmp_path: Path) -> None:
    path = _export(Recurrent, tmp_path / "source.onnx", 8, 4, 0, torch.randn(2, 6, 5), {})
    result = front_onnx.resize(path, depth=5)
    told = any("layers.0: of another kind" in warning for warning in result.plan.warnings)
    assert told or result.plan.depths == [(4, 5)]
