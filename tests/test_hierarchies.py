"""Models of several stages and paths: features that meet in a head, first blocks that differ, shuffled channels."""

from pathlib import Path

import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F
import transformers
from tiers import by_exporter, few
from zoo.export import write
from zoo.opsets import EXPORTERS
from zoo.oracle import compare
from zoo.randomise import randomise

import front_onnx

pytestmark = pytest.mark.export


def _export(module: nn.Module, path: Path, exporter: str, *shapes: tuple[int, ...]) -> Path:
    randomise(module, seed=sum(p.numel() for p in module.parameters()))
    generator = torch.Generator().manual_seed(1)
    names = ("x", "z")[: len(shapes)]
    inputs = {name: torch.randn(shape, generator=generator) for name, shape in zip(names, shapes, strict=True)}
    write(module.eval(), inputs, path, exporter=exporter, opset=None, outputs=("out",), axes={0: "batch"})
    return path


def _check(source: Path, native: Path, **options: object) -> None:
    result = front_onnx.resize(source, output=source.with_name("resized.onnx"), **options)
    assert result.output is not None and compare(result.output, native) == []


class Residual(nn.Module):
    """x + what a convolution makes of it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.relu(self.conv(x))


class Pyramid(nn.Module):
    """Three stages whose features meet in the head, as those of hierarchical encoders for dense prediction do."""

    def __init__(self, depths: tuple[int, ...], widths: tuple[int, ...]) -> None:
        super().__init__()
        ends = zip((3, *widths), widths, strict=False)
        self.down = nn.ModuleList([nn.Conv2d(a, b, 2, stride=2) for a, b in ends])
        stages = zip(depths, widths, strict=True)
        self.stages = nn.ModuleList([nn.Sequential(*(Residual(w) for _ in range(d))) for d, w in stages])
        self.side = nn.ModuleList([nn.Conv2d(w, widths[0], 1) for w in widths])
        self.head = nn.Conv2d(3 * widths[0], 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = []
        for down, stage, side in zip(self.down, self.stages, self.side, strict=True):
            x = stage(down(x))
            features.append(F.interpolate(side(x), scale_factor=2.0 ** len(features), mode="nearest"))
        return self.head(torch.cat(features, 1))


@pytest.mark.parametrize("exporter", few(EXPORTERS, 1))
def test_stages_whose_features_meet_in_the_head(tmp_path: Path, exporter: str) -> None:
    source = _export(Pyramid((2, 3, 2), (8, 12, 16)), tmp_path / "source.onnx", exporter, (2, 3, 16, 16))
    native = _export(Pyramid((2, 5, 3), (12, 18, 24)), tmp_path / "native.onnx", exporter, (2, 3, 16, 16))
    _check(source, native, depth="2,5,3", width_mult=1.5)


class Skipping(nn.Module):
    """Blocks that give two things: what the next block reads, and what the head sums up."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 1)
        self.blocks = nn.ModuleList([nn.Conv2d(8, 16, 3, padding=1) for _ in range(layers)])
        self.head = nn.Conv2d(8, 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, total = self.stem(x), torch.zeros(())
        for block in self.blocks:
            residual, skip = torch.relu(block(x)).chunk(2, 1)
            x, total = x + residual, total + skip
        return self.head(total)


@pytest.mark.parametrize("exporter", few(EXPORTERS, 1))
def test_blocks_that_the_head_reads_too_hand_on_two_tensors(tmp_path: Path, exporter: str) -> None:
    source = _export(Skipping(4), tmp_path / "source.onnx", exporter, (2, 3, 6, 6))
    for layers in (2, 6):
        native = _export(Skipping(layers), tmp_path / "native.onnx", exporter, (2, 3, 6, 6))
        resized = front_onnx.resize(source, depth=layers, output=tmp_path / "resized.onnx")
        assert resized.plan.depths == [(4, layers)]
        assert compare(tmp_path / "resized.onnx", native, tied=False) == []


class Shuffled(nn.Module):
    """Half of the channels is filtered, then both halves are dealt out in turn."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.branch = nn.Sequential(nn.Conv2d(half, half, 1), nn.ReLU(), nn.Conv2d(half, half, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = x.chunk(2, 1)
        return _deal(torch.cat((a, self.branch(b)), 1))


class Halving(nn.Module):
    """The first block of a stage: both halves of the channels are made of all of the input."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        half = width // 2
        self.one = nn.Sequential(nn.Conv2d(before, half, 2, stride=2), nn.ReLU())
        self.other = nn.Sequential(nn.Conv2d(before, half, 1), nn.ReLU(), nn.Conv2d(half, half, 2, stride=2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _deal(torch.cat((self.one(x), self.other(x)), 1))


def _deal(x: torch.Tensor, groups: int = 2) -> torch.Tensor:
    batch, channels, high, wide = x.shape
    return x.reshape(batch, groups, channels // groups, high, wide).transpose(1, 2).reshape(batch, -1, high, wide)


class ShuffleStages(nn.Module):
    """Two stages of shuffled channels."""

    def __init__(self, depths: tuple[int, int], width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 1)
        widths = [width * 2**i for i in range(3)]
        stages = zip(depths, widths, widths[1:], strict=False)
        self.stages = nn.ModuleList(
            [nn.Sequential(Halving(a, b), *(Shuffled(b) for _ in range(d - 1))) for d, a, b in stages]
        )
        self.head = nn.Conv2d(widths[-1], 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return self.head(x)


@pytest.mark.parametrize(
    ("depths", "width", "exporter"),
    by_exporter([((5, 2), 10), ((3, 4), 6), ((3, 2), 8)], torchscript=2, dynamo=1),
)
def test_shuffled_channels(tmp_path: Path, depths: tuple[int, int], width: int, exporter: str) -> None:
    source = _export(ShuffleStages((3, 3), 8), tmp_path / "source.onnx", exporter, (2, 3, 8, 8))
    native = _export(ShuffleStages(depths, width), tmp_path / "native.onnx", exporter, (2, 3, 8, 8))
    depth = {"depth": ",".join(map(str, depths))}
    _check(source, native, **depth, **({"width_mult": width / 8} if width != 8 else {}))


class Grouped(nn.Module):
    """Four groups, dealt out between two convolutions; a stage's first block joins what it filters to its input."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        out = width - before if before != width else width
        self.one, self.other = nn.Conv2d(before, width, 1, groups=4), nn.Conv2d(width, out, 1, groups=4)
        self.own = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.joins = before != width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.other(self.own(_deal(torch.relu(self.one(x)), 4)))
        return torch.relu(torch.cat((y, x), 1) if self.joins else x + y)


class GroupedStages(nn.Module):
    """Groups that reach over the end of what was joined (8 + 16 in fours of 6), and groups that do not (24 + 24)."""

    def __init__(self, depths: tuple[int, int], width: int) -> None:
        super().__init__()
        self.stem, widths = nn.Conv2d(3, width, 1), (width, 3 * width, 6 * width)
        stages = zip(depths, widths, widths[1:], strict=False)
        self.stages = nn.Sequential(
            *(nn.Sequential(*(Grouped(b if i else a, b) for i in range(d))) for d, a, b in stages)
        )
        self.head = nn.Conv2d(widths[-1], 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.stages(self.stem(x)))


@pytest.mark.parametrize(
    ("depths", "width", "exporter"), by_exporter([((4, 2), 12), ((2, 5), 4), ((3, 3), 16)], torchscript=2, dynamo=0)
)
def test_groups_over_joined_channels(tmp_path: Path, depths: tuple[int, int], width: int, exporter: str) -> None:
    source = _export(GroupedStages((3, 3), 8), tmp_path / "source.onnx", exporter, (2, 3, 6, 6))
    native = _export(GroupedStages(depths, width), tmp_path / "native.onnx", exporter, (2, 3, 6, 6))
    _check(source, native, depth=",".join(map(str, depths)), width_mult=width / 8)


class Standardised(nn.Module):
    """Convolutions whose weights are normalised before use; the first block has a projection beside its shortcut."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(before)
        self.convs = nn.ModuleList([nn.Conv2d(a, width, 1, bias=False) for a in (before, width)])
        self.project = nn.Conv2d(before, width, 1, bias=False) if before != width else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.norm(x))
        short = x if self.project is None else _conv(y, self.project.weight)
        return short + _conv(torch.relu(_conv(y, self.convs[0].weight)), self.convs[1].weight)


def _conv(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    flat = weight.reshape(1, len(weight), -1)
    return F.conv2d(x, F.batch_norm(flat, None, None, training=True, momentum=0.0).reshape_as(weight))


class StandardisedStages(nn.Module):
    """Two stages, each with a first block that widens."""

    def __init__(self, depths: tuple[int, int], width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width // 2, 1)
        ends = zip(depths, (width // 2, width), (width, 2 * width), strict=True)
        self.stages = nn.ModuleList(
            [nn.Sequential(*(Standardised(b if i else a, b) for i in range(d))) for d, a, b in ends]
        )
        self.head = nn.Conv2d(2 * width, 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return self.head(x)


def test_first_blocks_whose_weights_are_computed_are_counted(tmp_path: Path) -> None:
    source = _export(StandardisedStages((3, 3), 8), tmp_path / "source.onnx", "torchscript", (2, 3, 6, 6))
    native = _export(StandardisedStages((4, 2), 12), tmp_path / "native.onnx", "torchscript", (2, 3, 6, 6))
    _check(source, native, depth="4,2", width_mult=1.5)


class Joined(nn.Module):
    """What is convolved is joined with its input, or in the first block of a stage just convolved once more."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.one, self.other = nn.Conv2d(before, width, 1), nn.Conv2d(width, width, 3, padding=1)
        self.widen = nn.Conv2d(before, width, 1) if before != width else None
        self.act = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.one(x))
        return self.act(self.other(y + x) + x if self.widen is None else self.other(y) * self.widen(x))


def test_a_first_block_of_other_operators_is_counted_by_its_module(tmp_path: Path) -> None:
    def model(depths: tuple[int, int], width: int) -> nn.Module:
        ends = zip(depths, (width // 2, width), (width, 2 * width), strict=True)
        stages = [nn.Sequential(*(Joined(b if i else a, b) for i in range(d))) for d, a, b in ends]
        return Single(nn.Sequential(nn.Conv2d(3, width // 2, 1), *stages, nn.Conv2d(2 * width, 5, 1)))

    source = _export(model((3, 3), 8), tmp_path / "source.onnx", "torchscript", (2, 3, 6, 6))
    assert [chain.depth for chain in front_onnx.inspect(source).chains] == [3, 3]
    native = _export(model((4, 2), 12), tmp_path / "native.onnx", "torchscript", (2, 3, 6, 6))
    _check(source, native, depth="4,2", width_mult=1.5)


class Mixing(nn.Module):
    """A residual half of a layer, or without its shortcut what leads to another width."""

    def __init__(self, before: int, width: int, kernel: int) -> None:
        super().__init__()
        self.one, self.other = nn.Conv2d(before, width, kernel, padding=kernel // 2), nn.Conv2d(width, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.other(torch.relu(self.one(x)))
        return x + y if x.shape[1] == y.shape[1] else y


def test_the_end_of_a_stage_is_no_first_block_of_the_next(tmp_path: Path) -> None:
    """Layers of two halves, and behind each stage, in its own module, a layer that leads to the next one."""

    def model(depths: tuple[int, int], width: int) -> nn.Module:
        stages = []
        for depth, before, after in zip(depths, (width, 2 * width), (2 * width, 3 * width), strict=True):
            halves = [Mixing(before, before, kernel) for _ in range(depth) for kernel in (3, 1)]
            stages.append(nn.Sequential(*halves, Mixing(before, after, 3), Mixing(after, after, 1)))
        return Single(nn.Sequential(nn.Conv2d(3, width, 1), nn.Sequential(*stages), nn.Conv2d(3 * width, 5, 1)))

    source = _export(model((2, 3), 8), tmp_path / "source.onnx", "torchscript", (2, 3, 6, 6))
    assert [chain.depth for chain in front_onnx.inspect(source).chains] == [2, 3]
    native = _export(model((4, 2), 12), tmp_path / "native.onnx", "torchscript", (2, 3, 6, 6))
    _check(source, native, depth="4,2", width_mult=1.5)  # though each half is a module with a number


class Scanned(nn.Module):
    """What a selective scan does at one step: a state of four, whatever the width, that no weight sums over."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.rates = nn.Parameter(torch.zeros(width, 4))
        self.project, self.out = nn.Linear(width, 8), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, c = self.project(x).chunk(2, -1)
        state = torch.exp(self.rates) * x[..., None] * b[..., None, :]
        return x + torch.tanh(self.out((state @ c[..., None])[..., 0]))  # each block cubes what it gets


class Normalised(nn.Module):
    """Attention of unit queries and keys in windows: dynamo stretches their lengths to windows x batch."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // 4
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        windows = x.reshape(batch * 2, length // 2, width)
        q, k, v = self.qkv(windows).reshape(batch * 2, length // 2, 3, self.heads, 4).permute(2, 0, 3, 1, 4)
        mixed = torch.softmax(F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(2, 3), -1) @ v
        return x + self.out(mixed.transpose(1, 2).reshape(batch, length, width))


@pytest.mark.parametrize(("block", "exporter"), by_exporter([Scanned, Normalised], dynamo=[Normalised]))
def test_a_sequence_block_at_another_size(tmp_path: Path, block: type[nn.Module], exporter: str) -> None:
    def model(depth: int, width: int) -> nn.Module:
        return nn.Sequential(nn.Linear(3, width), *(block(width) for _ in range(depth)), nn.Linear(width, 5))

    def named(depth: int, width: int, name: str) -> Path:
        module = Single(model(depth, width))
        return _export(module, tmp_path / name, exporter, (2, 6, 3))

    _check(named(3, 16, "source.onnx"), named(4, 24, "native.onnx"), depth=4, width=24)


class Single(nn.Module):
    """A model whose input is called x."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


class Towers(nn.Module):
    """Two towers of one width that share no weight."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.a, self.b = (nn.Sequential(nn.Conv2d(c, width, 1), *(Residual(width) for _ in range(3))) for c in (3, 4))
        self.head = nn.Conv2d(2 * width, 5, 1)

    def forward(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        return self.head(torch.cat((self.a(x), self.b(z)), 1))


def test_one_number_for_towers_of_one_width(tmp_path: Path) -> None:
    shapes = ((2, 3, 6, 6), (2, 4, 6, 6))
    source = _export(Towers(8), tmp_path / "source.onnx", "torchscript", *shapes)
    native = _export(Towers(12), tmp_path / "native.onnx", "torchscript", *shapes)
    _check(source, native, width=12)
    _check(source, native, width="12,12")


def _mobilevit(depths: tuple[int, int, int]) -> nn.Module:
    """MobileViT, whose layers are given in its code: what is beyond some depths is cut off."""
    config = transformers.MobileViTConfig(
        num_attention_heads=4,
        hidden_sizes=[16, 32, 48],
        neck_hidden_sizes=[8, 16, 32, 32, 48, 64, 96],
        image_size=64,
        mlp_ratio=2.0,
        num_labels=5,
    )
    torch.manual_seed(0)
    model = transformers.MobileViTForImageClassification(config)
    for stage, depth in zip(model.mobilevit.encoder.layer[2:], depths, strict=True):
        stage.transformer.layer = stage.transformer.layer[:depth]
    return _First(model)


class _First(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x).logits


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_transformers_within_stages_of_convolutions(tmp_path: Path, exporter: str) -> None:
    source, native = (
        _export(_mobilevit(depths), tmp_path / f"{name}.onnx", exporter, (2, 3, 64, 64))
        for name, depths in (("source", (2, 4, 3)), ("native", (1, 3, 2)))
    )
    asked = {
        chain.name: depth
        for chain in front_onnx.inspect(source).chains
        for stage, depth in ((2, 1), (3, 3), (4, 2))
        if chain.name.endswith(f".{stage}.transformer.layer")
    }
    _check(source, native, depth=asked)


class Kinds(nn.Module):
    """Two kinds of layers in turn, nothing alike in them but the modules that they are made of."""

    def __init__(self, width: int, mixer: nn.Module) -> None:
        super().__init__()
        self.norm, self.mixer = nn.LayerNorm(width), mixer
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.mixer(self.norm(x))
        return x + self.down(torch.relu(self.up(x)))


class Along(nn.Module):
    """A filter along the sequence, of each channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv, self.out = nn.Conv1d(width, width, 3, padding=1, groups=width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.conv(x.transpose(1, 2)).transpose(1, 2))


@pytest.mark.parametrize("together", [False, True])
def test_layers_are_counted_by_the_modules_that_have_numbers(tmp_path: Path, together: bool) -> None:
    def model(depth: int, width: int) -> nn.Module:
        mixers = (Along, lambda width: nn.Sequential(nn.Linear(width, width), nn.Tanh()))
        layers = [Kinds(width, mixers[i % 2](width)) for i in range(depth)]
        if together:  # blocks of two kinds are one layer
            layers = [nn.Sequential(*layers[i : i + 2]) for i in range(0, depth, 2)]
        return Single(nn.Sequential(nn.Linear(5, width), nn.Sequential(*layers), nn.Linear(width, 3)))

    source = _export(model(6, 8), tmp_path / "source.onnx", "torchscript", (2, 7, 5))
    native = _export(model(4, 12), tmp_path / "native.onnx", "torchscript", (2, 7, 5))
    assert [chain.depth for chain in front_onnx.inspect(source).chains] == [3 if together else 6]
    _check(source, native, depth=2 if together else 4, width=12)


class Scales(nn.Module):
    """Pieces of the channels, each filtered with what was made of the piece before: scales, and no blocks."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(width // 4, width // 4, 3, padding=1) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pieces, made = x.chunk(4, 1), []
        for i, conv in enumerate(self.convs):
            made.append(torch.relu(conv(pieces[i] + made[-1] if i else pieces[i])))
        return x + torch.cat([*made, pieces[3]], 1)


@pytest.mark.parametrize("depth", [2, 5])
def test_scales_within_a_block_are_no_blocks(tmp_path: Path, depth: int) -> None:
    def model(depth: int) -> nn.Module:
        return Single(nn.Sequential(nn.Conv2d(3, 8, 1), *(Scales(8) for _ in range(depth)), nn.Conv2d(8, 5, 1)))

    source = _export(model(3), tmp_path / "source.onnx", "torchscript", (2, 3, 6, 6))
    assert [chain.depth for chain in front_onnx.inspect(source).chains] == [3]
    _check(source, _export(model(depth), tmp_path / "native.onnx", "torchscript", (2, 3, 6, 6)), depth=depth)


class Pooled(nn.Module):
    """Stages of blocks over channels; between them, each channel is filtered twice and becomes two."""

    def __init__(self, depths: tuple[int, int], width: int) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, width, 1), nn.Conv2d(2 * width, 5, 1)
        self.first, self.second = (
            nn.Sequential(*(Residual(w) for _ in range(d))) for d, w in zip(depths, (width, 2 * width), strict=True)
        )
        self.pool = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, groups=width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.second(self.pool(self.first(self.stem(x)))))


@pytest.mark.parametrize(("depths", "width"), [((3, 2), 8), ((2, 4), 4), ((2, 3), 12)])
def test_channels_that_have_several_filters_each(tmp_path: Path, depths: tuple[int, int], width: int) -> None:
    source = _export(Pooled((2, 3), 8), tmp_path / "source.onnx", "torchscript", (2, 3, 8, 8))
    native = _export(Pooled(depths, width), tmp_path / "native.onnx", "torchscript", (2, 3, 8, 8))
    _check(source, native, depth=",".join(map(str, depths)), width_mult=width / 8)


class Strided(nn.Module):
    """Filters in a row over pieces; the first block of a stage adds nothing to a piece and pools the last."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.one, self.three = nn.Conv2d(before, width, 1), nn.Conv2d(width, width, 1)
        self.convs = nn.ModuleList(nn.Conv2d(width // 4, width // 4, 3, padding=1) for _ in range(3))
        self.skip = nn.Conv2d(before, width, 1) if before != width else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pieces, made = torch.relu(self.one(x)).chunk(4, 1), []
        for i, conv in enumerate(self.convs):
            made.append(torch.relu(conv(pieces[i] + made[-1] if i and self.skip is None else pieces[i])))
        last = F.avg_pool2d(pieces[3], 3, 1, 1) if self.skip is not None else pieces[3]
        x = self.skip(x) if self.skip is not None else x
        return torch.relu(x + self.three(torch.cat([*made, last], 1)))


@pytest.mark.parametrize("depths", [(2, 3, 2), (3, 2, 4)])
def test_a_stage_of_two_blocks_behind_one_of_two_is_counted(tmp_path: Path, depths: tuple[int, ...]) -> None:
    def model(depths: tuple[int, ...]) -> nn.Module:
        stages = [
            nn.Sequential(*(Strided(b if i else a, b) for i in range(d)))
            for d, a, b in zip(depths, (4, 8, 16), (8, 16, 32), strict=True)
        ]
        return Single(nn.Sequential(nn.Conv2d(3, 4, 1), *stages, nn.Conv2d(32, 5, 1)))

    source = _export(model((2, 2, 3)), tmp_path / "source.onnx", "torchscript", (2, 3, 6, 6))
    assert [chain.depth for chain in front_onnx.inspect(source).chains] == [2, 2, 3]
    native = _export(model(depths), tmp_path / "native.onnx", "torchscript", (2, 3, 6, 6))
    _check(source, native, depth=",".join(map(str, depths)))


class Positions(nn.Module):
    """Blocks with a filter over places behind the first of them, in a module of its own."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.blocks, self.place = nn.ModuleList(Mlp(8) for _ in range(depth)), nn.Conv2d(8, 8, 3, padding=1, groups=8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for number, block in enumerate(self.blocks):
            x = block(x)
            x = x + self.place(x) if number == 0 else x
        return x


class Mlp(nn.Module):
    """x + what two products make of its channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up, self.down = nn.Conv2d(width, 2 * width, 1), nn.Conv2d(2 * width, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(torch.relu(self.up(x)))


class Stacked(nn.Module):
    """Three convolutions; in a stage's first block the first of them leads to the width, in the others all keep it."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.stack = nn.Sequential(
            *(nn.Sequential(nn.Conv2d(b, width, 3, padding=1), nn.ReLU()) for b in (before, width, width))
        )
        self.skip = nn.Conv2d(before, width, 1) if before != width else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.stack(x) + (x if self.skip is None else self.skip(x))


@pytest.mark.parametrize("depth", [2, 6])
@pytest.mark.parametrize("kind", ["places", "stacks"])
def test_a_first_block_apart_from_the_others_is_counted(tmp_path: Path, kind: str, depth: int) -> None:
    def model(depth: int) -> nn.Module:
        blocks = nn.Sequential(*(Stacked(b, 8) for b in (4, *[8] * (depth - 1))))
        body = Positions(depth) if kind == "places" else blocks
        return Single(nn.Sequential(nn.Conv2d(3, 8 if kind == "places" else 4, 1), body, nn.Conv2d(8, 5, 1)))

    source = _export(model(4), tmp_path / "source.onnx", "torchscript", (2, 3, 6, 6))
    assert [chain.depth for chain in front_onnx.inspect(source).chains] == [4]
    _check(source, _export(model(depth), tmp_path / "native.onnx", "torchscript", (2, 3, 6, 6)), depth=depth)
