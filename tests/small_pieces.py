"""Pieces of networks as exporters write them: each maps a tensor to one of the same shape and can be stacked."""

from __future__ import annotations

import numpy as np
from small_graphs import Net

__all__ = ["CONVOLUTIONAL", "ORDERS", "SEQUENTIAL", "attend", "fused_qkv"]

ORDERS = ("3hd", "h3d", "hd3")


def _linear(net: Net, x: str, rows: int, columns: int) -> str:
    """A dense layer, written in one of four ways."""
    form = net.rng.choice(["matmul", "bias", "transposed", "einsum"])
    if form == "einsum":
        return net.add("Einsum", x, net.weight(rows, columns), equation="bti,io->bto")
    if form == "transposed":
        return net.add("MatMul", x, net.add("Transpose", net.weight(columns, rows), perm=[1, 0]))
    y = net.add("MatMul", x, net.weight(rows, columns))
    return net.add("Add", net.weight(columns), y) if form == "bias" else y


def _split_axis(net: Net, x: str, batch: int, length: int, factors: list[int]) -> str:
    """[B, T, product] as [B, T, *factors], with the target written down or partly computed."""
    form = net.rng.choice(["literal", "zeros", "minus one", "computed", "minus batch"])
    if form == "literal":
        target = net.ints(batch, length, *factors)
    elif form == "zeros":
        target = net.ints(0, 0, *factors)
    elif form == "minus one":
        place = net.rng.randrange(len(factors))
        target = net.ints(0, 0, *(-1 if i == place else n for i, n in enumerate(factors)))
    elif form == "minus batch":
        target = net.ints(-1, length, *factors)
    else:
        sizes = net.add("Shape", x)
        front = [net.add("Gather", sizes, net.ints(i)) for i in range(2)]
        target = net.add("Concat", *front, net.ints(*factors), axis=0)
    return net.add("Reshape", x, target)


def _merge(net: Net, x: str, batch: int, length: int, width: int) -> str:
    """[B, T, h, d] as [B, T, h*d]."""
    form = net.rng.choice(["literal", "minus one", "computed"])
    if form == "computed":
        sizes = net.add("Shape", x)
        b, t, h, d = (net.add("Gather", sizes, net.ints(i)) for i in range(4))
        return net.add("Reshape", x, net.add("Concat", b, t, net.add("Mul", h, d), axis=0))
    return net.add("Reshape", x, net.ints(0, length, -1) if form == "minus one" else net.ints(batch, -1, width))


def attend(net: Net, q: str, k: str, v: str, d: int) -> str:
    """Attention over [B, h, T, d] tensors, back to [B, T, h, d]."""
    scores = net.add("MatMul", q, net.add("Transpose", k, perm=[0, 1, 3, 2]))
    scores = net.add("Mul", scores, net.const(d**-0.5, np.float32))
    mixed = net.add("MatMul", net.add("Softmax", scores, axis=-1), v)
    return net.add("Transpose", mixed, perm=[0, 2, 1, 3])


def fused_qkv(net: Net, qkv: str, shape: list[int], heads: int, order: str, way: str) -> list[str]:
    """q, k and v as [B, h, T, d] from one [B, T, 3hd] tensor whose factors stand in the given order."""
    b, t, width = shape
    d = width // (3 * heads)
    sizes = {"3": 3, "h": heads, "d": d}
    place = 2 + order.index("3")
    whole = _split_axis(net, qkv, b, t, [sizes[letter] for letter in order])
    if way == "gather":
        parts = [net.add("Gather", whole, net.const(i, np.int64), axis=place) for i in range(3)]
    elif way == "split":
        cut = net.add("Split", whole, axis=place, num_outputs=3, outputs=3)
        parts = [net.add("Squeeze", part, net.ints(place)) for part in cut]
    else:
        cut = [net.add("Slice", whole, net.ints(i), net.ints(i + 1), net.ints(place)) for i in range(3)]
        parts = [net.add("Squeeze", part, net.ints(place)) for part in cut]
    return [net.add("Transpose", part, perm=[0, 2, 1, 3]) for part in parts]


def self_attention(net: Net, x: str, shape: list[int]) -> str:
    b, t, width = shape
    heads, d = net.size(2, 3), net.size(4, 6)
    inner = heads * d
    qkv = _linear(net, x, width, 3 * inner)
    way = net.rng.choice(["gather", "split", "slice", "thirds", "cuts"])
    if way == "thirds":
        thirds = net.add("Split", qkv, net.ints(inner, inner, inner), axis=-1, outputs=3)
    elif way == "cuts":
        bounds = [(0, inner), (inner, 2 * inner), (2 * inner, net.rng.choice([3 * inner, 2**63 - 1]))]
        thirds = [net.add("Slice", qkv, net.ints(a), net.ints(z), net.ints(2)) for a, z in bounds]
    if way in ("thirds", "cuts"):
        split = [_split_axis(net, part, b, t, [heads, d]) for part in thirds]
        parts = [net.add("Transpose", part, perm=[0, 2, 1, 3]) for part in split]
    else:
        parts = fused_qkv(net, qkv, [b, t, 3 * inner], heads, net.rng.choice(ORDERS), way)
    mixed = _merge(net, attend(net, *parts, d), b, t, inner)
    return net.add("Add", x, _linear(net, mixed, inner, width))


def grouped_queries(net: Net, x: str, shape: list[int]) -> str:
    """Fewer keys and values than queries, repeated by Expand; sometimes all in one weight."""
    b, t, width = shape
    kv, group, d = 2, net.size(2, 3), 4
    heads = kv * group
    if net.maybe():
        whole = _linear(net, x, width, (heads + 2 * kv) * d)
        flat = net.add("Split", whole, net.ints(heads * d, kv * d, kv * d), axis=2, outputs=3)
    else:
        flat = [_linear(net, x, width, n * d) for n in (heads, kv, kv)]
    q, k, v = (_split_axis(net, y, b, t, [n, d]) for y, n in zip(flat, (heads, kv, kv), strict=True))
    q, k, v = (net.add("Transpose", y, perm=[0, 2, 1, 3]) for y in (q, k, v))

    def repeated(y: str) -> str:
        if net.maybe():
            sizes = net.add("Shape", y)
            pieces = [net.add("Gather", sizes, net.ints(i)) for i in range(4)]
            target = net.add("Concat", *pieces[:2], net.ints(group), *pieces[2:], axis=0)
        else:
            target = net.ints(b, kv, group, t, d)
        wide = net.add("Expand", net.add("Unsqueeze", y, net.ints(2)), target)
        return net.add("Reshape", wide, net.ints(b, heads, t, d))

    mixed = _merge(net, attend(net, q, repeated(k), repeated(v), d), b, t, heads * d)
    return net.add("Add", x, _linear(net, mixed, heads * d, width))


def gated_mlp(net: Net, x: str, shape: list[int]) -> str:
    width, inner = shape[-1], net.size(6, 8)
    both = _linear(net, x, width, 2 * inner)
    if net.maybe():
        gate, up = net.add("Split", both, axis=-1, num_outputs=2, outputs=2)
    else:
        gate = net.add("Slice", both, net.ints(0), net.ints(inner), net.ints(-1))
        up = net.add("Slice", both, net.ints(inner), net.ints(2 * inner), net.ints(-1))
    return net.add("Add", x, _linear(net, net.add("Mul", net.add("Sigmoid", gate), up), inner, width))


def norm(net: Net, x: str, shape: list[int]) -> str:
    width = shape[-1]
    if net.maybe():
        return net.add("LayerNormalization", x, net.weight(width), net.weight(width), axis=-1)
    spread = net.add("Sub", x, net.add("ReduceMean", x, net.ints(-1)))
    square = net.add("ReduceMean", net.add("Mul", spread, spread), net.ints(-1))
    return net.add("Mul", net.add("Div", spread, net.add("Sqrt", square)), net.weight(width))


def positions(net: Net, x: str, shape: list[int]) -> str:
    """A learned table read at 0, 1, 2 ..., and a mask of ones, both of computed shapes."""
    length = net.add("Squeeze", net.add("Gather", net.add("Shape", x), net.ints(1)), net.ints(0))
    places = net.add("Range", net.const(0, np.int64), length, net.const(1, np.int64))
    x = net.add("Add", x, net.add("Gather", net.weight(20, shape[-1]), places))
    ones = net.add("ConstantOfShape", net.add("Shape", x))
    return net.add("Add", x, ones)


def concatenation(net: Net, x: str, shape: list[int]) -> str:
    """Two halves of different origin, one behind the other."""
    width = shape[-1]
    extra = net.size(2, 3)
    y = net.add("Concat", _linear(net, x, width, width), _linear(net, x, width, extra), axis=2)
    if net.maybe():
        y = net.add("Pad", y, net.ints(0, 0, 0, 0, 0, 2))
        extra += 2
    return _linear(net, y, width + extra, width)


def tiled(net: Net, x: str, shape: list[int]) -> str:
    y = net.add("Tile", _linear(net, x, shape[-1], 4), net.ints(1, 1, 2))
    return net.add("Add", x, _linear(net, y, 8, shape[-1]))


def factored(net: Net, x: str, shape: list[int]) -> str:
    """Two dense layers over a width that is cut in two different ways."""
    b, t, width = shape
    y = _split_axis(net, _linear(net, x, width, 24), b, t, [4, 6])
    y = net.add("Reshape", net.add("Relu", y), net.ints(b, t, 24))
    y = net.add("Reshape", _split_axis(net, y, b, t, [2, 12]), net.ints(b, t, -1))
    return net.add("Add", x, _linear(net, y, 24, width))


SEQUENTIAL = (self_attention, grouped_queries, gated_mlp, norm, positions, concatenation, tiled, factored)


# -- images ---------------------------------------------------------------------------------------------------


def _conv(net: Net, x: str, into: int, out: int, kernel: int = 1, group: int = 1) -> str:
    weights = [net.weight(out, into // group, kernel, kernel)] + ([net.weight(out)] if net.maybe() else [])
    return net.add("Conv", x, *weights, group=group, kernel_shape=[kernel] * 2, pads=[kernel // 2] * 4)


def bottleneck(net: Net, x: str, shape: list[int]) -> str:
    c, inner = shape[1], 8
    y = _conv(net, x, c, inner)
    y = _conv(net, y, inner, inner, 3, net.rng.choice([1, 2, inner]))
    counts = [net.const(net.numbers.uniform(0.5, 1, inner), np.float32) for _ in range(4)]
    y = net.add("Relu", net.add("BatchNormalization", y, *counts))
    return net.add("Add", x, _conv(net, y, inner, c))


def depthwise(net: Net, x: str, shape: list[int]) -> str:
    c, times = shape[1], net.size(1, 2)
    y = _conv(net, x, c, c * times, 3, c)
    return net.add("Add", x, _conv(net, y, c * times, c))


def squeezed(net: Net, x: str, shape: list[int]) -> str:
    c = shape[1]
    gate = _conv(net, _conv(net, net.add("GlobalAveragePool", x), c, 2), 2, c)
    return net.add("Mul", x, net.add("Sigmoid", gate))


def dense(net: Net, x: str, shape: list[int]) -> str:
    """New channels behind the old ones, by Concat, or zeros by Pad."""
    c = shape[1]
    if net.maybe():
        y, total = net.add("Concat", x, _conv(net, x, c, 3), axis=1), c + 3
    else:
        y, total = net.add("Pad", _conv(net, x, c, 3), net.ints(0, 1, 0, 0, 0, 2, 0, 0)), 6
    return _conv(net, y, total, c)


def shuffled(net: Net, x: str, shape: list[int]) -> str:
    """Channels in two groups that change places."""
    n, c, h, w = shape
    y = _conv(net, x, c, 2 * c, 1, 2) if c % 2 == 0 else _conv(net, x, c, 2 * c)
    y = net.add("Reshape", y, net.ints(n, 2, c, h, w))
    y = net.add("Reshape", net.add("Transpose", y, perm=[0, 2, 1, 3, 4]), net.ints(n, 2 * c, h, w))
    return _conv(net, y, 2 * c, c)


def halves(net: Net, x: str, shape: list[int]) -> str:
    """Half of the channels passes untouched."""
    half = shape[1] // 2
    if net.maybe():
        a, b = net.add("Split", x, net.ints(half, shape[1] - half), axis=1, outputs=2)
    else:
        a = net.add("Slice", x, net.ints(0), net.ints(half), net.ints(1))
        b = net.add("Slice", x, net.ints(half), net.ints(2**31 - 1), net.ints(1))
    return net.add("Concat", a, _conv(net, b, shape[1] - half, shape[1] - half, 3), axis=1)


def group_norm(net: Net, x: str, shape: list[int]) -> str:
    """A group norm as torch exports it: through an instance norm over [N, groups, -1]."""
    groups = 2
    y = net.add("Reshape", x, net.ints(0, groups, -1))
    gain, bias = net.const(np.ones(groups), np.float32), net.const(np.zeros(groups), np.float32)
    y = net.add("Reshape", net.add("InstanceNormalization", y, gain, bias), net.add("Shape", x))
    return net.add("Mul", y, net.weight(shape[1], 1, 1))


CONVOLUTIONAL = (bottleneck, depthwise, squeezed, dense, shuffled, halves, group_norm)
