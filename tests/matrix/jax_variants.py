"""Other ways JAX models are written: weights with axes for heads, cross-attention, poolers, gates."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from zoo.sizes import Size, widths

from matrix import jax_linen
from matrix.jax_entry import jax_entry
from matrix.jax_linen import CLASSES, HEAD, POSITIONS, VOCABULARY, Block

__all__ = ["ENTRIES"]

PLAIN = jax_linen.PLAIN


class EinsumBlock(nn.Module):
    """As in Gemma: weights of [heads, width, head size], one key and value head, a gated feed-forward."""

    width: int

    @nn.compact
    def __call__(self, x):
        heads, normal = self.width // HEAD, nn.initializers.normal()
        y = nn.RMSNorm()(x)
        q = jnp.einsum("btd,ndh->btnh", y, self.param("q", normal, (heads, self.width, HEAD)))
        k, v = jnp.einsum("bsd,cdh->cbsh", y, self.param("kv", normal, (2, self.width, HEAD)))
        scores = jnp.einsum("btnh,bsh->bnts", q, k) * HEAD**-0.5
        causal = jnp.tril(jnp.ones((x.shape[1], x.shape[1]), bool))
        weights = nn.softmax(jnp.where(causal, scores, -1e30))
        y = jnp.einsum("bnts,bsh->btnh", weights, v)
        x = x + jnp.einsum("btnh,nhd->btd", y, self.param("out", normal, (heads, HEAD, self.width)))
        y = nn.RMSNorm()(x)
        gate, up = jnp.einsum("btd,gdf->gbtf", y, self.param("gate", normal, (2, self.width, 3 * self.width)))
        return x + jnp.einsum(
            "btf,fd->btd", nn.gelu(gate) * up, self.param("down", normal, (3 * self.width, self.width))
        )


class Gemma(nn.Module):
    depth: int
    width: int

    @nn.compact
    def __call__(self, ids):
        embedding = nn.Embed(VOCABULARY, self.width)
        x = embedding(ids) * jnp.sqrt(self.width)
        for _ in range(self.depth):
            x = EinsumBlock(self.width)(x)
        return embedding.attend(nn.RMSNorm()(x))


class Bert(nn.Module):
    """Post-norm, with a padding mask and a pooler."""

    depth: int
    width: int

    @nn.compact
    def __call__(self, ids, mask):
        embedded = nn.Embed(VOCABULARY, self.width)(ids)
        x = nn.LayerNorm()(embedded + nn.Embed(POSITIONS, self.width)(jnp.arange(POSITIONS)))
        pairs = nn.make_attention_mask(mask > 0, mask > 0)
        for _ in range(self.depth):
            y = nn.MultiHeadDotProductAttention(num_heads=self.width // HEAD)(x, x, mask=pairs)
            x = nn.LayerNorm()(x + y)
            y = nn.Dense(self.width)(nn.gelu(nn.Dense(4 * self.width)(x), approximate=False))
            x = nn.LayerNorm()(x + y)
        return nn.Dense(CLASSES)(nn.tanh(nn.Dense(self.width)(x[:, 0])))


class CrossBlock(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x, memory):
        y = nn.LayerNorm()(x)
        mask = nn.make_causal_mask(jnp.ones(x.shape[:2]))
        x = x + nn.MultiHeadDotProductAttention(num_heads=self.width // HEAD)(y, y, mask=mask)
        y = nn.LayerNorm()(x)
        x = x + nn.MultiHeadDotProductAttention(num_heads=self.width // HEAD)(y, memory)
        return x + nn.Dense(self.width)(nn.relu(nn.Dense(4 * self.width)(nn.LayerNorm()(x))))


class Seq2Seq(nn.Module):
    depth: int
    width: int

    @nn.compact
    def __call__(self, ids, decoder_ids):
        embedding = nn.Embed(VOCABULARY, self.width)
        x, y = embedding(ids), embedding(decoder_ids)
        for _ in range(self.depth):
            x = Block(self.width)(x)
        x = nn.LayerNorm()(x)
        for _ in range(self.depth):
            y = CrossBlock(self.width)(y, x)
        return nn.Dense(VOCABULARY)(nn.LayerNorm()(y))


class MobileBlock(nn.Module):
    """As in EfficientNet: expand, a depthwise convolution, squeeze and excite, project."""

    width: int

    @nn.compact
    def __call__(self, x):
        inner = 3 * self.width
        y = nn.swish(nn.GroupNorm(num_groups=2)(nn.Conv(inner, (1, 1))(x)))
        y = nn.swish(nn.GroupNorm(num_groups=2)(nn.Conv(inner, (3, 3), feature_group_count=inner)(y)))
        gate = nn.swish(nn.Conv(self.width // 2, (1, 1))(y.mean(axis=(1, 2), keepdims=True)))
        y = y * nn.sigmoid(nn.Conv(inner, (1, 1))(gate))
        return x + nn.Conv(self.width, (1, 1))(y)


class MobileNet(nn.Module):
    depth: int
    width: int

    @nn.compact
    def __call__(self, x):
        x = nn.swish(nn.Conv(self.width, (3, 3), strides=(2, 2))(x))
        for _ in range(self.depth):
            x = MobileBlock(self.width)(x)
        return nn.Dense(CLASSES)(x.mean(axis=(1, 2)))


class UNet(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x):
        def twice(x, channels):
            return nn.relu(nn.Conv(channels, (3, 3))(nn.relu(nn.Conv(channels, (3, 3))(x))))

        skips, x = [], twice(x, self.width)
        for level in (2, 4):
            skips.append(x)
            x = twice(nn.max_pool(x, window_shape=(2, 2), strides=(2, 2)), level * self.width)
        for level in (2, 1):
            x = nn.ConvTranspose(level * self.width, (2, 2), strides=(2, 2))(x)
            x = twice(jnp.concatenate([skips.pop(), x], axis=-1), level * self.width)
        return nn.Conv(2, (1, 1))(x)


def _unet(size: Size):
    return jax_linen.applied(UNet(size.width[0]), size, jax_linen.IMAGE)


def _twice(sizes: tuple[Size, dict[str, Size]]) -> tuple[Size, dict[str, Size]]:
    """The same sizes for an encoder and a decoder."""
    source, targets = (sizes[0], *sizes[1].values()), tuple(sizes[1])
    doubled = [Size(size.depth * 2, size.width) for size in source]
    return doubled[0], dict(zip(targets, doubled[1:], strict=True))


IDS = jax_linen.IDS
MASKED = {**IDS, "attention_mask": ((2, POSITIONS), np.int32)}
BOTH = {**IDS, "decoder_ids": ((2, 6), np.int32)}

ENTRIES = [
    jax_entry("Gemma, einsum weights (linen)", "decoder", jax_linen.made(Gemma, IDS), PLAIN),
    jax_entry("BERT (linen)", "encoder", jax_linen.made(Bert, MASKED), PLAIN),
    jax_entry("Encoder-decoder (linen)", "encoder-decoder", jax_linen.made(Seq2Seq, BOTH), _twice(PLAIN)),
    jax_entry("MobileNet (linen)", "cnn", jax_linen.made(MobileNet, jax_linen.IMAGE), PLAIN),
    jax_entry("U-Net (linen)", "cnn", _unet, widths(8, 4, 12), by_ratio=True),
]
