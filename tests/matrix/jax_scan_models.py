"""Layers stacked in one tensor and run by `lax.scan` or `lax.fori_loop`: plain jax, flax and equinox, by jax2onnx."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import onnx
from flax import nnx
from jax2onnx import to_onnx
from zoo.sizes import Size, uniform, widths

from matrix.entry import Entry

INPUTS, CLASSES, LENGTH, HEAD = 5, 4, 6, 4
SIZES = uniform(depth=3, width=8, shallower=2, narrower=4, deeper=5, wider=16)
HEADS = uniform(depth=3, width=16, shallower=2, narrower=8, deeper=5, wider=24)
WIDTHS = widths(8, 4, 16)
GROUPS = Size((3,), (8,)), {"narrower": Size((3,), (4,)), "wider": Size((3,), (16,))}
TWO = Size((3, 3), (8,)), {"shallower": Size((2, 4), (8,)), "narrower": Size((3, 3), (4,)), "grow": Size((5, 3), (16,))}

Weights = dict[str, np.ndarray]
Layer = Callable[[jax.Array, Weights], jax.Array]
Net = Callable[[jax.Array], object]


def _weights(size: Size, shapes: dict[str, Sequence[int]]) -> Weights:
    """Distinct random weights; matrices keep activations near one."""
    rng = np.random.default_rng(sum(size.depth) + 31 * sum(size.width))
    made = {}
    for name, shape in shapes.items():
        spread = 0.1 if name.startswith("b") else shape[-2] ** -0.5 if len(shape) > 1 else 1
        made[name] = (rng.standard_normal(shape) * spread).astype(np.float32)
    return made


def _ends(size: Size) -> Weights:
    (width,) = size.width
    return _weights(size, {"stem": (INPUTS, width), "head": (width, CLASSES)})


def _mlp(size: Size) -> Weights:
    (n,), (d,) = size.depth, size.width
    return _weights(size, {"w1": (n, d, 3 * d), "b1": (n, 3 * d), "w2": (n, 3 * d, d), "b2": (n, d)})


def _mlp_layer(x: jax.Array, w: Weights) -> jax.Array:
    return x + jax.nn.relu(x @ w["w1"] + w["b1"]) @ w["w2"] + w["b2"]


def _transformer(size: Size) -> Weights:
    (n,), (d,) = size.depth, size.width
    square = {name: (n, d, d) for name in ("q", "k", "v", "o")}
    vectors = {name: (n, d) for name in ("g1", "b1", "g2", "b2")}
    return _weights(size, {**square, **vectors, "w1": (n, d, 2 * d), "b3": (n, 2 * d), "w2": (n, 2 * d, d)})


def _norm(x: jax.Array, gain: np.ndarray, bias: np.ndarray) -> jax.Array:
    x = x - x.mean(-1, keepdims=True)
    return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-5) * gain + bias


def _transformer_layer(x: jax.Array, w: Weights) -> jax.Array:
    batch, length, width = x.shape
    y = _norm(x, w["g1"], w["b1"])
    q, k, v = ((y @ w[n]).reshape(batch, length, width // HEAD, HEAD).transpose(0, 2, 1, 3) for n in "qkv")
    scores = jax.nn.softmax(q @ k.swapaxes(-1, -2) / np.sqrt(HEAD), -1) @ v
    x = x + scores.transpose(0, 2, 1, 3).reshape(batch, length, width) @ w["o"]
    return x + jax.nn.gelu(_norm(x, w["g2"], w["b2"]) @ w["w1"] + w["b3"]) @ w["w2"]


def _scanned(weights: Callable[[Size], Weights], layer: Layer) -> Callable[[Size], Net]:
    def make(size: Size) -> Net:
        ends, stacked = _ends(size), weights(size)

        def net(x: jax.Array) -> jax.Array:
            x, _ = jax.lax.scan(lambda c, w: (layer(c, w), None), x @ ends["stem"], stacked)
            return x @ ends["head"]

        return net

    return make


def _looped(weights: Callable[[Size], Weights], layer: Layer) -> Callable[[Size], Net]:
    def make(size: Size) -> Net:
        ends, stacked = _ends(size), weights(size)

        def body(i: jax.Array, x: jax.Array) -> jax.Array:
            return layer(x, {name: jnp.asarray(w)[i] for name, w in stacked.items()})

        return lambda x: jax.lax.fori_loop(0, size.depth[0], body, x @ ends["stem"]) @ ends["head"]

    return make


def _states(size: Size) -> Net:
    """What every layer makes leaves the graph as well, but for its width."""
    ends, stacked = _ends(size), _mlp(size)

    def step(x: jax.Array, w: Weights) -> tuple[jax.Array, jax.Array]:
        x = _mlp_layer(x, w)
        return x, x.mean(-1)

    def net(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        x, means = jax.lax.scan(step, x @ ends["stem"], stacked)
        return x @ ends["head"], means

    return net


def _shared(size: Size) -> Net:
    """One layer, run again and again."""
    ends, weights = _ends(size), {name: w[0] for name, w in _mlp(size).items()}
    return lambda x: (
        jax.lax.fori_loop(0, size.depth[0], lambda _, y: _mlp_layer(y, weights), x @ ends["stem"]) @ ends["head"]
    )


def _two_stacks(size: Size) -> Net:
    """Two scans, each with weights of its own."""
    ends, first, second = _ends(size), *(_mlp(Size((depth,), size.width)) for depth in size.depth)
    second = {name: w[:, ::-1] * 0.5 for name, w in second.items()}

    def net(x: jax.Array) -> jax.Array:
        x = x @ ends["stem"]
        for stacked in (first, second):
            x, _ = jax.lax.scan(lambda c, w: (_mlp_layer(c, w), None), x, stacked)
        return x @ ends["head"]

    return net


def _groups(size: Size) -> Net:
    """Stacks of stacks: each of `depth` groups runs two layers."""
    ends, stacked = _ends(size), {name: np.stack([w, w[::-1] * 0.7], 1) for name, w in _mlp(size).items()}

    def layer(x: jax.Array, w: Weights) -> tuple[jax.Array, None]:
        return _mlp_layer(x, w), None

    def net(x: jax.Array) -> jax.Array:
        x, _ = jax.lax.scan(lambda c, group: jax.lax.scan(layer, c, group), x @ ends["stem"], stacked)
        return x @ ends["head"]

    return net


def _recurrent(size: Size) -> Net:
    """A recurrent net over time, written as a scan: its length is the input's."""
    (width,) = size.width
    ends, inner = _ends(size), _weights(size, {"w": (width, width), "b": (width,)})

    def step(state: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        state = jnp.tanh(state @ inner["w"] + x + inner["b"])
        return state, state

    def net(x: jax.Array) -> jax.Array:
        _, states = jax.lax.scan(step, jnp.zeros((3, width)), (x @ ends["stem"]).swapaxes(0, 1))
        return states.swapaxes(0, 1) @ ends["head"]

    return net


def _rotary(size: Size) -> Net:
    """Decoder layers with rotary positions, a causal mask and embedded tokens."""
    ends, stacked = _ends(size), _transformer(size)
    table = _weights(size, {"table": (11, *size.width)})["table"]
    angles = np.arange(LENGTH)[:, None] * 10000.0 ** (-np.arange(HEAD // 2) / (HEAD // 2))
    cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    mask = np.tril(np.ones((LENGTH, LENGTH), bool))

    def turn(x: jax.Array) -> jax.Array:
        a, b = x[..., : HEAD // 2], x[..., HEAD // 2 :]
        return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], -1)

    def layer(x: jax.Array, w: Weights) -> tuple[jax.Array, None]:
        batch, length, width = x.shape
        y = _norm(x, w["g1"], w["b1"])
        q, k, v = ((y @ w[n]).reshape(batch, length, width // HEAD, HEAD).transpose(0, 2, 1, 3) for n in "qkv")
        scores = turn(q) @ turn(k).swapaxes(-1, -2) / np.sqrt(HEAD)
        y = jax.nn.softmax(jnp.where(mask, scores, -1e9), -1) @ v
        x = x + y.transpose(0, 2, 1, 3).reshape(batch, length, width) @ w["o"]
        return x + jax.nn.silu(_norm(x, w["g2"], w["b2"]) @ w["w1"] + w["b3"]) @ w["w2"], None

    def net(ids: jax.Array) -> jax.Array:
        x, _ = jax.lax.scan(layer, jnp.asarray(table)[ids], stacked)
        return x @ ends["head"]

    return net


def _cond(size: Size) -> Net:
    """One of two layers, as the input says."""
    ends, stacked = _ends(size), _mlp(Size((2,), size.width))
    first, second = ({name: w[i] for name, w in stacked.items()} for i in range(2))

    def net(x: jax.Array) -> jax.Array:
        x = x @ ends["stem"]
        x = jax.lax.cond(x.sum() > 0, lambda y: _mlp_layer(y, first), lambda y: _mlp_layer(y, second), x)
        return x @ ends["head"]

    return net


class _FlaxBlock(nnx.Module):
    def __init__(self, width: int, rngs: nnx.Rngs):
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.up = nnx.Linear(width, 3 * width, rngs=rngs)
        self.down = nnx.Linear(3 * width, width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return x + self.down(nnx.gelu(self.up(self.norm(x))))


def _flax(size: Size) -> Net:
    (depth,), (width,) = size.depth, size.width
    ends = _ends(size)
    make = nnx.vmap(lambda rngs: _FlaxBlock(width, rngs), in_axes=0, out_axes=0)
    blocks = make(nnx.Rngs(0).fork(split=depth))
    graph, state = nnx.split(blocks)
    state = _random(state, size)

    def net(x: jax.Array) -> jax.Array:
        x, _ = jax.lax.scan(lambda c, s: (nnx.merge(graph, s)(c), None), x @ ends["stem"], state)
        return x @ ends["head"]

    return net


class _EquinoxBlock(eqx.Module):
    up: eqx.nn.Linear
    down: eqx.nn.Linear

    def __init__(self, width: int, key: jax.Array):
        first, second = jax.random.split(key)
        self.up = eqx.nn.Linear(width, 3 * width, key=first)
        self.down = eqx.nn.Linear(3 * width, width, key=second)

    def __call__(self, x: jax.Array) -> jax.Array:
        return x + self.down(jax.nn.relu(self.up(x)))


def _equinox(size: Size) -> Net:
    (depth,), (width,) = size.depth, size.width
    ends = _ends(size)
    blocks = eqx.filter_vmap(lambda key: _EquinoxBlock(width, key))(jax.random.split(jax.random.PRNGKey(0), depth))
    arrays, rest = eqx.partition(blocks, eqx.is_array)
    arrays = _random(arrays, size)

    def one(x: jax.Array) -> jax.Array:
        x, _ = jax.lax.scan(lambda c, a: (eqx.combine(a, rest)(c), None), x @ ends["stem"], arrays)
        return x @ ends["head"]

    return jax.vmap(one)


def _random(tree: object, size: Size) -> object:
    """The same tree with distinct random weights."""
    rng = np.random.default_rng(sum(size.depth) + 31 * sum(size.width))
    return jax.tree.map(lambda w: jnp.asarray(rng.standard_normal(w.shape) * 0.3, w.dtype), tree)


def _entry(
    name: str, make: Callable[[Size], Net], shape: Sequence[int | str], sizes=SIZES, *, dtype=np.float32, **options
) -> Entry:
    def export(size: Size, path: Path) -> None:
        logging.disable(logging.WARNING)
        inputs = [jax.ShapeDtypeStruct(shape, dtype)] if dtype != np.float32 else [tuple(shape)]
        onnx.save(to_onnx(make(size), inputs=inputs, model_name="net"), path)

    return Entry(name, "stacked", "jax2onnx", export, *sizes, **options)


ENTRIES = [
    _entry("scan-mlp", _scanned(_mlp, _mlp_layer), ("B", INPUTS)),
    _entry("scan-mlp-static", _scanned(_mlp, _mlp_layer), (3, INPUTS)),
    _entry("scan-transformer", _scanned(_transformer, _transformer_layer), ("B", LENGTH, INPUTS), HEADS),
    _entry("scan-transformer-static", _scanned(_transformer, _transformer_layer), (2, LENGTH, INPUTS), HEADS),
    _entry("fori-mlp", _looped(_mlp, _mlp_layer), ("B", INPUTS)),
    _entry("fori-transformer", _looped(_transformer, _transformer_layer), ("B", LENGTH, INPUTS), HEADS),
    _entry("scan-states", _states, ("B", INPUTS)),
    _entry("fori-shared", _shared, ("B", INPUTS)),
    _entry("scan-flax-nnx", _flax, ("B", INPUTS)),
    _entry("scan-equinox", _equinox, ("B", INPUTS)),
    _entry("scan-groups", _groups, ("B", INPUTS), GROUPS),
    _entry("scan-recurrent", _recurrent, (3, LENGTH, INPUTS), WIDTHS, by_ratio=True),
    _entry("scan-rotary", _rotary, ("B", LENGTH), HEADS, dtype=np.int32),
    _entry("cond", _cond, ("B", INPUTS), WIDTHS, by_ratio=True),
    _entry("scan-two-stacks", _two_stacks, ("B", INPUTS), TWO),
]
