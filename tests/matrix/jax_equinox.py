"""Equinox models, small and with random weights: written for one example, mapped over a batch."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax2onnx import onnx_function
from zoo.sizes import Size, uniform

from matrix.jax_entry import jax_entry, randomised

__all__ = ["ENTRIES"]

PLAIN = uniform(depth=3, width=20, shallower=2, narrower=10, deeper=5, wider=30)  # heads of 5
VOCABULARY, POSITIONS, CLASSES = 41, 9, 7
HEAD = 5
KEY = jax.random.key(0)


class Mlp(eqx.Module):
    layers: eqx.nn.MLP

    def __init__(self, depth: int, width: int) -> None:
        self.layers = eqx.nn.MLP(11, CLASSES, width, depth + 1, activation=jax.nn.relu, key=KEY)

    def __call__(self, x):
        return self.layers(x)


class Block(eqx.Module):
    """A transformer block, pre-norm, on [tokens, width]."""

    attention: eqx.nn.MultiheadAttention
    norm1: eqx.nn.LayerNorm
    norm2: eqx.nn.LayerNorm
    up: eqx.nn.Linear
    down: eqx.nn.Linear

    def __init__(self, width: int) -> None:
        biases = {f"use_{name}_bias": True for name in ("query", "key", "value", "output")}
        self.attention = eqx.nn.MultiheadAttention(width // HEAD, width, **biases, key=KEY)
        self.norm1, self.norm2 = eqx.nn.LayerNorm(width), eqx.nn.LayerNorm(width)
        self.up = eqx.nn.Linear(width, 4 * width, key=KEY)
        self.down = eqx.nn.Linear(4 * width, width, key=KEY)

    def __call__(self, x):
        y = jax.vmap(self.norm1)(x)
        x = x + self.attention(y, y, y)
        y = jax.vmap(self.norm2)(x)
        return x + jax.vmap(self.down)(jax.nn.gelu(jax.vmap(self.up)(y)))


@onnx_function
class FunctionBlock(Block):
    pass


class Encoder(eqx.Module):
    tokens: eqx.nn.Embedding
    positions: jax.Array
    blocks: list
    norm: eqx.nn.LayerNorm

    def __init__(self, depth: int, width: int) -> None:
        self.tokens = eqx.nn.Embedding(VOCABULARY, width, key=KEY)
        self.positions = jnp.zeros((POSITIONS, width))
        self.blocks = [Block(width) for _ in range(depth)]
        self.norm = eqx.nn.LayerNorm(width)

    def __call__(self, ids):
        x = jax.vmap(self.tokens)(ids) + self.positions
        for block in self.blocks:
            x = block(x)
        return jax.vmap(self.norm)(x)


class VisionTransformer(eqx.Module):
    patches: eqx.nn.Conv2d
    token: jax.Array
    positions: jax.Array
    blocks: list
    norm: eqx.nn.LayerNorm
    head: eqx.nn.Linear

    def __init__(self, depth: int, width: int, block: type[eqx.Module] = Block) -> None:
        self.patches = eqx.nn.Conv2d(3, width, 4, stride=4, key=KEY)
        self.token, self.positions = jnp.zeros((1, width)), jnp.zeros((17, width))
        self.blocks = [block(width) for _ in range(depth)]
        self.norm = eqx.nn.LayerNorm(width)
        self.head = eqx.nn.Linear(width, CLASSES, key=KEY)

    def __call__(self, image):
        x = self.patches(image)
        x = x.reshape(x.shape[0], -1).T
        x = jnp.concatenate([self.token, x]) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x[0]))


class Cnn(eqx.Module):
    """Residual convolutions of one width, channels first."""

    stem: eqx.nn.Conv2d
    convs: list
    head: eqx.nn.Linear

    def __init__(self, depth: int, width: int) -> None:
        self.stem = eqx.nn.Conv2d(3, width, 3, padding=1, key=KEY)
        self.convs = [eqx.nn.Conv2d(width, width, 3, padding=1, key=KEY) for _ in range(depth)]
        self.head = eqx.nn.Linear(width, CLASSES, key=KEY)

    def __call__(self, x):
        x = self.stem(x)
        for conv in self.convs:
            x = x + jax.nn.relu(conv(x))
        return self.head(x.mean(axis=(1, 2)))


def _made(module: type[eqx.Module], inputs: dict[str, tuple], mapped: bool = True, **fixed):
    """A builder: a model for one example, its weights drawn anew, mapped over the batch unless told otherwise."""

    def make(size: Size):
        arrays, rest = eqx.partition(module(size.depth[0], size.width[0], **fixed), eqx.is_inexact_array)
        model = eqx.combine(randomised(arrays, size), rest)
        return jax.vmap(model) if mapped else model, inputs

    return make


IDS = {"ids": ((2, POSITIONS), np.int32)}
IMAGE, ONE = {"image": (2, 3, 16, 16)}, {"image": (3, 16, 16)}
FUNCTIONS = {"block": FunctionBlock, "mapped": False}

ENTRIES = [
    jax_entry("MLP (equinox)", "mlp", _made(Mlp, {"x": ("batch", 11)}), PLAIN),
    jax_entry("Transformer (equinox)", "encoder", _made(Encoder, IDS), PLAIN),
    jax_entry("ViT (equinox)", "vision transformer", _made(VisionTransformer, IMAGE), PLAIN),
    jax_entry("ViT (equinox), functions", "vision transformer", _made(VisionTransformer, ONE, **FUNCTIONS), PLAIN),
    jax_entry("CNN (equinox)", "cnn", _made(Cnn, IMAGE), PLAIN),
]
