"""Small models of kinds that no row of the zoo has, each at one size: what grows is compared with what it grew from.

Group norms, mixtures of experts, recurrent stacks, attention between two sequences, super resolution, plain stacks,
parallel branches, gains of branches, grouped queries with a head size of their own, unit lengths.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F

from .export import write
from .randomise import randomise

__all__ = ["MODELS", "export"]

WIDTH, LENGTH, BATCH, CLASSES = 8, 6, 2, 5
Inputs = dict[str, torch.Tensor]


class GroupNormBlock(nn.Module):
    """Two convolutions beside the stream, each behind a group norm."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(groups, width), nn.GroupNorm(groups, width)
        self.conv1, self.conv2 = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))


class GroupNormNet(nn.Module):
    """A residual network without batch statistics."""

    def __init__(self, groups: int = 2) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTH, 3, padding=1)
        self.blocks = nn.ModuleList([GroupNormBlock(WIDTH, groups) for _ in range(3)])
        self.norm, self.head = nn.GroupNorm(groups, WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(F.silu(self.norm(x)).mean((2, 3)))


class GroupNormUNet(nn.Module):
    """Two levels, a transposed convolution back up, and what was left out joined again."""

    def __init__(self, groups: int = 2) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTH, 3, padding=1)
        self.high = nn.ModuleList([GroupNormBlock(WIDTH, groups) for _ in range(2)])
        self.down = nn.Conv2d(WIDTH, 2 * WIDTH, 2, stride=2)
        self.low = nn.ModuleList([GroupNormBlock(2 * WIDTH, groups) for _ in range(2)])
        self.up = nn.ConvTranspose2d(2 * WIDTH, WIDTH, 2, stride=2)
        self.join = nn.Conv2d(2 * WIDTH, WIDTH, 3, padding=1)
        self.norm, self.head = nn.GroupNorm(groups, WIDTH), nn.Conv2d(WIDTH, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for block in self.high:
            x = block(x)
        y = self.down(x)
        for block in self.low:
            y = block(y)
        return self.head(F.silu(self.norm(self.join(torch.cat([x, self.up(y)], 1)))))


def _routed(scores: torch.Tensor, kept: int) -> torch.Tensor:
    """[..., E]: shares of the experts that are kept, zero for the others."""
    weights, chosen = torch.topk(scores.softmax(-1), kept)
    return torch.zeros_like(scores).scatter(-1, chosen, weights / weights.sum(-1, keepdim=True))


class Experts(nn.Module):
    """Each expert a small network of its own."""

    def __init__(self, experts: int, kept: int) -> None:
        super().__init__()
        self.kept, self.router = kept, nn.Linear(WIDTH, experts, bias=False)
        layers = (nn.Sequential(nn.Linear(WIDTH, 12), nn.GELU(), nn.Linear(12, WIDTH)) for _ in range(experts))
        self.experts = nn.ModuleList(layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shares = _routed(self.router(x), self.kept)
        return sum(shares[..., n : n + 1] * expert(x) for n, expert in enumerate(self.experts))


class StackedExperts(nn.Module):
    """All experts in tensors [E, K, N], gated."""

    def __init__(self, experts: int, kept: int) -> None:
        super().__init__()
        self.kept, self.router = kept, nn.Linear(WIDTH, experts, bias=False)
        self.gate, self.up = (nn.Parameter(torch.empty(experts, WIDTH, 12)) for _ in range(2))
        self.down = nn.Parameter(torch.empty(experts, 12, WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shares = _routed(self.router(x), self.kept).reshape(-1, self.gate.shape[0])
        flat = x.reshape(1, -1, x.shape[-1])
        made = torch.matmul(F.silu(torch.matmul(flat, self.gate)) * torch.matmul(flat, self.up), self.down)
        return (made * shares.T.unsqueeze(-1)).sum(0).reshape(x.shape)


class Attention(nn.Module):
    """Grouped queries, heads of a size that no width says."""

    def __init__(self, heads: int = 4, groups: int = 2, size: int = 3, width: int = WIDTH) -> None:
        super().__init__()
        self.heads, self.groups, self.size = heads, groups, size
        self.q, self.o = nn.Linear(width, heads * size, bias=False), nn.Linear(heads * size, width, bias=False)
        self.k, self.v = nn.Linear(width, groups * size, bias=False), nn.Linear(width, groups * size, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        length, many = x.shape[1], self.heads // self.groups
        q = self.q(x).reshape(-1, length, self.heads, self.size).transpose(1, 2)
        k, v = (
            layer(x).reshape(-1, length, self.groups, self.size).transpose(1, 2).repeat_interleave(many, 1)
            for layer in (self.k, self.v)
        )
        made = torch.softmax(q @ k.transpose(-1, -2) * self.size**-0.5, -1) @ v
        return self.o(made.transpose(1, 2).reshape(-1, length, self.heads * self.size))


class Block(nn.Module):
    """A pre-norm block around a feed-forward layer that is given."""

    def __init__(self, layer: nn.Module, norm: Callable[[], nn.Module], scaled: bool = False) -> None:
        super().__init__()
        self.attention, self.layer, self.norm1, self.norm2 = Attention(), layer, norm(), norm()
        self.gains = nn.ParameterList([nn.Parameter(torch.ones(WIDTH)) for _ in range(2)]) if scaled else (1.0, 1.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = self.gains
        x = x + first * self.attention(self.norm1(x))
        return x + second * self.layer(self.norm2(x))


class Parallel(nn.Module):
    """Attention and feed-forward layer beside one another, behind one norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.attention, self.layer = nn.LayerNorm(WIDTH), Attention(), feed_forward()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(x)
        return x + self.attention(y) + self.layer(y)


class Gated(nn.Module):
    """down(silu(gate x) * up x)."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.up = nn.Linear(WIDTH, 12, bias=False), nn.Linear(WIDTH, 12, bias=False)
        self.down = nn.Linear(12, WIDTH, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Residual(nn.Module):
    """A layer beside the stream, and no norm."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layer(x)


def feed_forward() -> nn.Module:
    """Two layers and a GELU."""
    return nn.Sequential(nn.Linear(WIDTH, 16), nn.GELU(), nn.Linear(16, WIDTH))


class Transformer(nn.Module):
    """Tokens, blocks, a norm, logits or what a function makes of the last state."""

    def __init__(
        self, block: Callable[[], nn.Module], norm: Callable[[], nn.Module] | None, head: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(11, WIDTH)
        self.blocks = nn.ModuleList([block() for _ in range(3)])
        self.norm = nn.Identity() if norm is None else norm()
        self.head = nn.Linear(WIDTH, CLASSES) if head is None else head

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.tokens(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class Unit(nn.Module):
    """The mean over tokens, of length one, and perhaps a layer behind it."""

    def __init__(self, layer: bool = False) -> None:
        super().__init__()
        self.layer = nn.Linear(WIDTH, CLASSES) if layer else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(F.normalize(x.mean(1), dim=-1))


class Recurrent(nn.Module):
    """Cells one above another."""

    def __init__(self, kind: type[nn.RNNBase], **how: object) -> None:
        super().__init__()
        self.tokens = nn.Embedding(11, WIDTH)
        self.cells = kind(WIDTH, WIDTH, num_layers=3, batch_first=True, **how)
        self.head = nn.Linear(WIDTH * (2 if how.get("bidirectional") else 1), CLASSES)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.cells(self.tokens(ids))[0])


class Translator(nn.Module):
    """An encoder, and a decoder that looks at it by products of states."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(11, WIDTH), nn.Embedding(13, WIDTH)
        self.encoder = kind(WIDTH, WIDTH, batch_first=True)
        self.decoder = kind(WIDTH, WIDTH, batch_first=True)
        self.score = nn.Linear(WIDTH, WIDTH, bias=False)
        self.join, self.head = nn.Linear(2 * WIDTH, WIDTH), nn.Linear(WIDTH, 13)

    def forward(self, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        states, last = self.encoder(self.source(ids))
        made, _ = self.decoder(self.target(labels), last)
        seen = torch.softmax(made @ self.score(states).transpose(1, 2), -1) @ states
        return self.head(torch.tanh(self.join(torch.cat([made, seen], -1))))


class Upscaler(nn.Module):
    """Residual convolutions, twice the resolution, and the picture itself added at the end."""

    def __init__(self, shuffled: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTH, 3, padding=1)
        layers = (
            nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.ReLU(), nn.Conv2d(WIDTH, WIDTH, 3, padding=1))
            for _ in range(3)
        )
        self.blocks, self.body = nn.ModuleList(layers), nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        shuffle = nn.Sequential(nn.Conv2d(WIDTH, 4 * WIDTH, 3, padding=1), nn.PixelShuffle(2))
        self.up = shuffle if shuffled else nn.ConvTranspose2d(WIDTH, WIDTH, 4, stride=2, padding=1)
        self.last = nn.Conv2d(WIDTH, 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = first = self.stem(x)
        for block in self.blocks:
            y = y + block(y)
        y = self.last(self.up(first + self.body(y)))
        return y + F.interpolate(x, scale_factor=2.0, mode="nearest")


class PlainStack(nn.Module):
    """Convolutions one behind another, in the manner of VGG."""

    def __init__(self, activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, WIDTH, 3, padding=1), activation()]
        for _ in range(3):
            layers += [nn.Conv2d(WIDTH, WIDTH, 3, padding=1), activation()]
        self.layers, self.head = nn.Sequential(*layers), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layers(x).mean((2, 3)))


def _norm() -> nn.Module:
    return nn.LayerNorm(WIDTH)


class RmsNorm(nn.Module):
    """x / rms(x) * gain, written out as language models have it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "resnet-group-norm": GroupNormNet,
    "unet-group-norm": GroupNormUNet,
    "experts": lambda: Transformer(lambda: Block(Experts(4, 2), _norm), _norm),
    "experts-stacked": lambda: Transformer(lambda: Block(StackedExperts(4, 2), RmsNorm), RmsNorm),
    "lstm": lambda: Recurrent(nn.LSTM),
    "lstm-both-ways": lambda: Recurrent(nn.LSTM, bidirectional=True),
    "gru": lambda: Recurrent(nn.GRU),
    "translator-gru": lambda: Translator(nn.GRU),
    "translator-lstm": lambda: Translator(nn.LSTM),
    "upscaler-shuffled": lambda: Upscaler(True),
    "upscaler-transposed": lambda: Upscaler(False),
    "vgg-relu": lambda: PlainStack(nn.ReLU),
    "vgg-silu": lambda: PlainStack(nn.SiLU),
    "parallel": lambda: Transformer(Parallel, _norm),
    "layer-scale": lambda: Transformer(lambda: Block(feed_forward(), _norm, scaled=True), _norm),
    "gated-grouped": lambda: Transformer(lambda: Block(Gated(), RmsNorm), RmsNorm),
    "unit-length": lambda: Transformer(lambda: Block(feed_forward(), _norm), _norm, Unit()),
    "unit-length-head": lambda: Transformer(lambda: Block(Gated(), RmsNorm), RmsNorm, Unit(layer=True)),
    "unit-length-plain": lambda: Transformer(lambda: Residual(feed_forward()), None, Unit()),
}


def _inputs(name: str) -> Inputs:
    generator = torch.Generator().manual_seed(1)
    if name.startswith(("resnet", "unet", "upscaler", "vgg")):
        return {"x": torch.randn(BATCH, 3, 8, 8, generator=generator)}
    ids = torch.randint(0, 11, (BATCH, LENGTH), generator=generator)
    labels = torch.randint(0, 13, (BATCH, LENGTH - 1), generator=generator)
    return {"ids": ids, "labels": labels} if name.startswith("translator") else {"ids": ids}


def export(name: str, path: Path, exporter: str = "torchscript") -> Path:
    """The file of a model, written by an exporter unless it is there."""
    if not path.exists():
        torch.manual_seed(0)
        module = MODELS[name]()
        randomise(module, seed=sum(map(ord, name)))
        write(module.eval(), _inputs(name), path, exporter=exporter, opset=None, outputs=("out",), axes={0: "batch"})
    return path
