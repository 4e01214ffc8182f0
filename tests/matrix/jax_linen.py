"""Flax linen models, small and with random weights."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from zoo.sizes import Size, per_stage, uniform

from matrix.jax_entry import jax_entry, randomised

__all__ = ["ENTRIES", "applied", "made"]

PLAIN = uniform(depth=3, width=20, shallower=2, narrower=10, deeper=5, wider=30)  # heads of 5
STAGES = per_stage((2, 3), (12, 24), shallower=(2, 2), deeper=(3, 4), narrow=0.5, wide=1.5)
VOCABULARY, POSITIONS, CLASSES = 41, 9, 7
HEAD = 5


def applied(module: nn.Module, size: Size, inputs: dict[str, tuple]):
    """A builder's result: the module with random weights, closed over."""
    example = [np.zeros(_static(given), _dtype(given)) for given in inputs.values()]
    weights = randomised(module.init(jax.random.key(0), *example), size)
    return lambda *args: module.apply(weights, *args), inputs


def _static(given: tuple) -> tuple[int, ...]:
    shape = given[0] if isinstance(given[0], tuple) else given
    return tuple(2 if isinstance(n, str) else n for n in shape)


def _dtype(given: tuple) -> type:
    return given[1] if isinstance(given[0], tuple) else np.float32


class Mlp(nn.Module):
    depth: int
    width: int

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(self.width, name="stem")(x))
        for _ in range(self.depth):
            x = x + nn.Dense(self.width)(nn.gelu(nn.Dense(2 * self.width)(nn.LayerNorm()(x)), approximate=False))
        return nn.Dense(CLASSES, name="head")(x)


class PlainMlp(nn.Module):
    depth: int
    width: int

    @nn.compact
    def __call__(self, x):
        x = nn.tanh(nn.Dense(self.width)(x))
        for _ in range(self.depth):
            x = nn.tanh(nn.Dense(self.width)(x))
        return nn.Dense(CLASSES)(x)


class Block(nn.Module):
    """A transformer block, pre-norm, with flax's own attention."""

    width: int
    causal: bool = False

    @nn.compact
    def __call__(self, x):
        y = nn.LayerNorm()(x)
        mask = nn.make_causal_mask(jnp.ones(x.shape[:2])) if self.causal else None
        x = x + nn.MultiHeadDotProductAttention(num_heads=self.width // HEAD)(y, y, mask=mask)
        y = nn.Dense(4 * self.width)(nn.LayerNorm()(x))
        return x + nn.Dense(self.width)(nn.gelu(y))


class PostNormBlock(nn.Module):
    """A transformer block, post-norm, with attention written by hand and one matrix for q, k and v."""

    width: int

    @nn.compact
    def __call__(self, x):
        b, s, w = x.shape
        q, k, v = jnp.split(nn.Dense(3 * w)(x), 3, axis=-1)
        q, k, v = (a.reshape(b, s, w // HEAD, HEAD) for a in (q, k, v))
        weights = nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", q, k) / jnp.sqrt(HEAD))
        y = jnp.einsum("bhqk,bkhd->bqhd", weights, v).reshape(b, s, w)
        x = nn.LayerNorm()(x + nn.Dense(w)(y))
        return nn.LayerNorm()(x + nn.Dense(w)(nn.relu(nn.Dense(4 * w)(x))))


class Encoder(nn.Module):
    depth: int
    width: int
    block: type[nn.Module] = Block

    @nn.compact
    def __call__(self, ids):
        x = nn.Embed(VOCABULARY, self.width)(ids)
        x = x + self.param("positions", nn.initializers.normal(), (1, POSITIONS, self.width))
        for _ in range(self.depth):
            x = self.block(self.width)(x)
        return nn.LayerNorm()(x)


class Decoder(nn.Module):
    """GPT-like: the head is the transposed embedding."""

    depth: int
    width: int

    @nn.compact
    def __call__(self, ids):
        embedding = nn.Embed(VOCABULARY, self.width)
        x = embedding(ids) + nn.Embed(POSITIONS, self.width)(jnp.arange(POSITIONS)[None])
        for _ in range(self.depth):
            x = Block(self.width, causal=True)(x)
        return embedding.attend(nn.LayerNorm()(x))


class VisionTransformer(nn.Module):
    depth: int
    width: int

    @nn.compact
    def __call__(self, image):
        x = nn.Conv(self.width, (4, 4), strides=(4, 4), name="patches")(image)
        x = x.reshape(x.shape[0], -1, self.width)
        token = self.param("token", nn.initializers.normal(), (1, 1, self.width))
        x = jnp.concatenate([jnp.broadcast_to(token, (x.shape[0], 1, self.width)), x], axis=1)
        x = x + self.param("positions", nn.initializers.normal(), (1, x.shape[1], self.width))
        for _ in range(self.depth):
            x = Block(self.width)(x)
        return nn.Dense(CLASSES)(nn.LayerNorm()(x)[:, 0])


class Mixer(nn.Module):
    depth: int
    width: int

    @nn.compact
    def __call__(self, image):
        x = nn.Conv(self.width, (4, 4), strides=(4, 4))(image)
        x = x.reshape(x.shape[0], -1, self.width)
        for _ in range(self.depth):
            y = jnp.swapaxes(nn.LayerNorm()(x), 1, 2)
            y = nn.Dense(x.shape[1])(nn.gelu(nn.Dense(2 * self.width)(y)))
            x = x + jnp.swapaxes(y, 1, 2)
            x = x + nn.Dense(self.width)(nn.gelu(nn.Dense(4 * self.width)(nn.LayerNorm()(x))))
        return nn.Dense(CLASSES)(nn.LayerNorm()(x).mean(axis=1))


class ResNet(nn.Module):
    depths: tuple[int, ...]
    widths: tuple[int, ...]

    @nn.compact
    def __call__(self, x):
        def norm(x):
            return nn.BatchNorm(use_running_average=True)(x)

        x = nn.relu(norm(nn.Conv(self.widths[0], (3, 3), use_bias=False)(x)))
        for stage, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True)):
            for block in range(depth):
                strides = (2, 2) if stage and not block else (1, 1)
                y = nn.relu(norm(nn.Conv(width, (3, 3), strides=strides, use_bias=False)(x)))
                y = norm(nn.Conv(width, (3, 3), use_bias=False)(y))
                if x.shape != y.shape:
                    x = norm(nn.Conv(width, (1, 1), strides=strides, use_bias=False)(x))
                x = nn.relu(x + y)
        return nn.Dense(CLASSES)(x.mean(axis=(1, 2)))


class Vgg(nn.Module):
    """Convolutions and pooling, flattened at the end."""

    depth: int
    width: int

    @nn.compact
    def __call__(self, x):
        x = nn.avg_pool(nn.relu(nn.Conv(self.width, (3, 3))(x)), window_shape=(2, 2), strides=(2, 2))
        for _ in range(self.depth):
            x = nn.relu(nn.Conv(self.width, (3, 3))(x))
        x = nn.max_pool(x, window_shape=(2, 2), strides=(2, 2)).reshape(x.shape[0], -1)
        return nn.Dense(CLASSES)(nn.relu(nn.Dense(3 * self.width)(x)))


class ConvNeXt(nn.Module):
    depths: tuple[int, ...]
    widths: tuple[int, ...]

    @nn.compact
    def __call__(self, x):
        x = nn.LayerNorm()(nn.Conv(self.widths[0], (4, 4), strides=(4, 4))(x))
        for stage, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True)):
            if stage:
                x = nn.Conv(width, (2, 2), strides=(2, 2))(nn.LayerNorm()(x))
            for block in range(depth):
                y = nn.Conv(width, (5, 5), feature_group_count=width)(x)
                y = nn.Dense(width)(nn.gelu(nn.Dense(4 * width)(nn.LayerNorm()(y))))
                x = x + y * self.param(f"scale{stage}_{block}", nn.initializers.ones, (width,))
        return nn.Dense(CLASSES)(nn.LayerNorm()(x.mean(axis=(1, 2))))


def made(module: type[nn.Module], inputs: dict[str, tuple], **fixed):
    """A builder of a module with one chain."""

    def make(size: Size):
        return applied(module(size.depth[0], size.width[0], **fixed), size, inputs)

    return make


def _staged(module: type[nn.Module], inputs: dict[str, tuple]):
    """A builder of a module with stages."""

    def make(size: Size):
        return applied(module(size.depth, size.width), size, inputs)

    return make


IDS = {"ids": ((2, POSITIONS), np.int32)}
BATCHED_IDS = {"ids": (("batch", POSITIONS), np.int32)}
IMAGE, BATCHED_IMAGE = {"image": (2, 16, 16, 3)}, {"image": ("batch", 16, 16, 3)}

ENTRIES = [
    jax_entry("Plain MLP (linen)", "mlp", made(PlainMlp, {"x": (3, 11)}), PLAIN),
    jax_entry("Residual MLP (linen)", "mlp", made(Mlp, {"x": ("batch", 11)}), PLAIN),
    jax_entry("Transformer (linen)", "encoder", made(Encoder, IDS), PLAIN),
    jax_entry("Transformer (linen), dynamic", "encoder", made(Encoder, BATCHED_IDS), PLAIN),
    jax_entry("Post-norm transformer (linen)", "encoder", made(Encoder, IDS, block=PostNormBlock), PLAIN),
    jax_entry("GPT (linen)", "decoder", made(Decoder, IDS), PLAIN),
    jax_entry("ViT (linen)", "vision transformer", made(VisionTransformer, IMAGE), PLAIN),
    jax_entry("ViT (linen), dynamic", "vision transformer", made(VisionTransformer, BATCHED_IMAGE), PLAIN),
    jax_entry("MLP-Mixer (linen)", "mixer", made(Mixer, IMAGE), PLAIN),
    jax_entry("VGG (linen)", "cnn", made(Vgg, IMAGE), PLAIN),
    jax_entry("ResNet (linen)", "cnn", _staged(ResNet, IMAGE), STAGES, by_ratio=True),
    jax_entry("ConvNeXt (linen)", "cnn", _staged(ConvNeXt, BATCHED_IMAGE), STAGES, by_ratio=True),
]
