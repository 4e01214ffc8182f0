"""Flax nnx models, small and with random weights; some of their modules are exported as ONNX functions."""

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax2onnx import onnx_function
from zoo.sizes import Size, per_stage, uniform

from matrix.jax_entry import jax_entry, randomised

__all__ = ["ENTRIES"]

PLAIN = uniform(depth=3, width=20, shallower=2, narrower=10, deeper=5, wider=30)  # heads of 5
EVEN = uniform(depth=3, width=24, shallower=2, narrower=12, deeper=5, wider=36)  # heads of 6, for rotary halves
STAGES = per_stage((2, 3), (12, 24), shallower=(2, 2), deeper=(3, 4), narrow=0.5, wide=1.5)
VOCABULARY, POSITIONS, CLASSES = 41, 9, 7
HEAD = 5


class FeedForward(nnx.Module):
    def __init__(self, width: int, rngs: nnx.Rngs) -> None:
        self.up = nnx.Linear(width, 4 * width, rngs=rngs)
        self.down = nnx.Linear(4 * width, width, rngs=rngs)

    def __call__(self, x):
        return self.down(nnx.gelu(self.up(x), approximate=False))


class Block(nnx.Module):
    """Pre-norm, with flax's own attention."""

    feed_forward: type[nnx.Module] = FeedForward

    def __init__(self, width: int, rngs: nnx.Rngs) -> None:
        self.norm1, self.norm2 = nnx.LayerNorm(width, rngs=rngs), nnx.LayerNorm(width, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(width // HEAD, width, decode=False, rngs=rngs)
        self.feed = self.feed_forward(width, rngs)

    def __call__(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.feed(self.norm2(x))


class CausalBlock(Block):
    def __call__(self, x):
        mask = nnx.make_causal_mask(jnp.ones((1, x.shape[1])))
        x = x + self.attention(self.norm1(x), mask=mask)
        return x + self.feed(self.norm2(x))


class GroupedBlock(nnx.Module):
    """As in Llama: rotary positions, two queries per key and value head, gated feed-forward, root mean squares."""

    def __init__(self, width: int, rngs: nnx.Rngs) -> None:
        def linear(n: int, m: int) -> nnx.Linear:
            return nnx.Linear(n, m, use_bias=False, rngs=rngs)

        self.norm1, self.norm2 = nnx.RMSNorm(width, rngs=rngs), nnx.RMSNorm(width, rngs=rngs)
        self.q, self.k, self.v = linear(width, width), linear(width, width // 2), linear(width, width // 2)
        self.out = linear(width, width)
        self.gate, self.up, self.down = linear(width, 3 * width), linear(width, 3 * width), linear(3 * width, width)

    def __call__(self, x):
        y = self.norm1(x)
        q, k, v = (_rotated(_heads(a), i < 2) for i, a in enumerate((self.q(y), self.k(y), self.v(y))))
        k, v = jnp.repeat(k, 2, axis=2), jnp.repeat(v, 2, axis=2)
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) * 6**-0.5
        causal = jnp.tril(jnp.ones((x.shape[1], x.shape[1]), bool))
        weights = nnx.softmax(jnp.where(causal, scores, -1e9))
        x = x + self.out(jnp.einsum("bhqk,bkhd->bqhd", weights, v).reshape(x.shape))
        y = self.norm2(x)
        return x + self.down(nnx.silu(self.gate(y)) * self.up(y))


def _heads(x):
    return x.reshape(x.shape[0], x.shape[1], -1, 6)


def _rotated(x, turn: bool):
    if not turn:
        return x
    angles = jnp.arange(x.shape[1])[:, None] * 10000.0 ** (-jnp.arange(3) / 3)
    sin, cos = jnp.sin(angles)[:, None], jnp.cos(angles)[:, None]
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


@onnx_function
class FunctionFeedForward(FeedForward):
    pass


@onnx_function
class FunctionBlock(Block):
    pass


@onnx_function
class NestedBlock(Block):
    """A function that calls a function."""

    feed_forward = FunctionFeedForward


class Encoder(nnx.Module):
    def __init__(self, depth: int, width: int, block: type[nnx.Module] = Block) -> None:
        rngs = nnx.Rngs(0)
        self.tokens = nnx.Embed(VOCABULARY, width, rngs=rngs)
        self.positions = nnx.Param(jnp.zeros((1, POSITIONS, width)))
        self.blocks = nnx.List([block(width, rngs) for _ in range(depth)])
        self.norm = nnx.LayerNorm(width, rngs=rngs)

    def __call__(self, ids):
        x = self.tokens(ids) + self.positions[...]
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class Decoder(nnx.Module):
    """GPT-like, with a head of its own."""

    def __init__(self, depth: int, width: int, block: type[nnx.Module] = CausalBlock) -> None:
        rngs = nnx.Rngs(0)
        self.tokens = nnx.Embed(VOCABULARY, width, rngs=rngs)
        self.positions = nnx.Embed(POSITIONS, width, rngs=rngs)
        self.blocks = nnx.List([block(width, rngs) for _ in range(depth)])
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.head = nnx.Linear(width, VOCABULARY, use_bias=False, rngs=rngs)

    def __call__(self, ids):
        x = self.tokens(ids) + self.positions(jnp.arange(POSITIONS))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class Llama(nnx.Module):
    def __init__(self, depth: int, width: int) -> None:
        rngs = nnx.Rngs(0)
        self.tokens = nnx.Embed(VOCABULARY, width, rngs=rngs)
        self.blocks = nnx.List([GroupedBlock(width, rngs) for _ in range(depth)])
        self.norm = nnx.RMSNorm(width, rngs=rngs)

    def __call__(self, ids):
        x = self.tokens(ids)
        for block in self.blocks:
            x = block(x)
        return self.tokens.attend(self.norm(x))


class VisionTransformer(nnx.Module):
    block: type[nnx.Module] = Block

    def __init__(self, depth: int, width: int) -> None:
        rngs = nnx.Rngs(0)
        self.patches = nnx.Conv(3, width, (4, 4), strides=(4, 4), rngs=rngs)
        self.token = nnx.Param(jnp.zeros((1, 1, width)))
        self.positions = nnx.Param(jnp.zeros((1, 17, width)))
        self.blocks = nnx.List([self.block(width, rngs) for _ in range(depth)])
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.head = nnx.Linear(width, CLASSES, rngs=rngs)

    def __call__(self, image):
        x = self.patches(image)
        x = x.reshape(x.shape[0], 16, x.shape[-1])
        x = jnp.concatenate([jnp.tile(self.token[...], (x.shape[0], 1, 1)), x], axis=1) + self.positions[...]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


class FunctionVisionTransformer(VisionTransformer):
    block = FunctionBlock


class Residual(nnx.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, before: int, width: int, stride: int, rngs: nnx.Rngs) -> None:
        self.conv1 = nnx.Conv(before, width, (3, 3), strides=stride, use_bias=False, rngs=rngs)
        self.conv2 = nnx.Conv(width, width, (3, 3), use_bias=False, rngs=rngs)
        self.norm1, self.norm2 = (nnx.BatchNorm(width, use_running_average=True, rngs=rngs) for _ in range(2))
        plain = before == width and stride == 1
        self.shortcut = None if plain else nnx.Conv(before, width, (1, 1), strides=stride, rngs=rngs)

    def __call__(self, x):
        y = self.norm2(self.conv2(nnx.relu(self.norm1(self.conv1(x)))))
        return nnx.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class ResNet(nnx.Module):
    def __init__(self, depths: tuple[int, ...], widths: tuple[int, ...]) -> None:
        rngs = nnx.Rngs(0)
        self.stem = nnx.Conv(3, widths[0], (3, 3), rngs=rngs)
        blocks, before = [], widths[0]
        for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            for block in range(depth):
                blocks.append(Residual(before, width, 2 if stage and not block else 1, rngs))
                before = width
        self.blocks = nnx.List(blocks)
        self.head = nnx.Linear(before, CLASSES, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.stem(x))
        for block in self.blocks:
            x = block(x)
        return self.head(jnp.mean(x, axis=(1, 2)))


class Cnn(nnx.Module):
    """Convolutions of one width, pooled and flattened."""

    def __init__(self, depth: int, width: int) -> None:
        rngs = nnx.Rngs(0)
        self.stem = nnx.Conv(3, width, (3, 3), rngs=rngs)
        self.convs = nnx.List([nnx.Conv(width, width, (3, 3), rngs=rngs) for _ in range(depth)])
        self.dense = nnx.Linear(4 * 4 * width, 3 * width, rngs=rngs)
        self.head = nnx.Linear(3 * width, CLASSES, rngs=rngs)

    def __call__(self, x):
        x = nnx.avg_pool(nnx.relu(self.stem(x)), window_shape=(2, 2), strides=(2, 2))
        for conv in self.convs:
            x = nnx.relu(conv(x))
        x = nnx.max_pool(x, window_shape=(2, 2), strides=(2, 2))
        return self.head(nnx.relu(self.dense(x.reshape(x.shape[0], -1))))


def _made(module: type[nnx.Module], inputs: dict[str, tuple], **fixed):
    """A builder of a module with one chain, its weights drawn anew."""

    def make(size: Size):
        return _random(module(size.depth[0], size.width[0], **fixed), size), inputs

    return make


def _staged(size: Size):
    return _random(ResNet(size.depth, size.width), size), IMAGE


def _random(module: nnx.Module, size: Size) -> nnx.Module:
    state = nnx.state(module, (nnx.Param, nnx.BatchStat))
    nnx.update(module, randomised(state, size))
    return module


IDS = {"ids": ((2, POSITIONS), np.int32)}
BATCHED_IDS = {"ids": (("batch", POSITIONS), np.int32)}
IMAGE, BATCHED_IMAGE = {"image": (2, 16, 16, 3)}, {"image": ("batch", 16, 16, 3)}

ENTRIES = [
    jax_entry("Transformer (nnx)", "encoder", _made(Encoder, IDS), PLAIN),
    jax_entry("Transformer (nnx), functions", "encoder", _made(Encoder, IDS, block=FunctionBlock), PLAIN),
    jax_entry("Transformer (nnx), nested functions", "encoder", _made(Encoder, BATCHED_IDS, block=NestedBlock), PLAIN),
    jax_entry("GPT (nnx)", "decoder", _made(Decoder, BATCHED_IDS), PLAIN),
    jax_entry("Llama (nnx)", "decoder", _made(Llama, IDS), EVEN),
    jax_entry("ViT (nnx)", "vision transformer", _made(VisionTransformer, IMAGE), PLAIN),
    jax_entry("ViT (nnx), functions", "vision transformer", _made(FunctionVisionTransformer, BATCHED_IMAGE), PLAIN),
    jax_entry("ResNet (nnx)", "cnn", _staged, STAGES, by_ratio=True),
    jax_entry("CNN (nnx)", "cnn", _made(Cnn, BATCHED_IMAGE), PLAIN),
]
