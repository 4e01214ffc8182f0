"""Random small graphs with sequences of tensors, optional tensors, and states that go from call to call."""

from __future__ import annotations

from functools import partial

import numpy as np
from rule_cases import OPSETS, case
from small_graphs import Net

OPSETS |= {"LinearAttention": 27, "CausalConvWithState": 27, "TensorScatter": 24}


def _scalar(net: Net, number: int) -> str:
    return net.const(number, np.int64)


def _members(net: Net, *, alike: bool = False, count: int = 0) -> tuple[str, list[list[int]], int]:
    """A sequence, the shapes of its members, and an axis along which they may differ."""
    shape = net.shape(1, 3)
    axis = net.rng.randrange(len(shape))
    shapes = []
    for _ in range(count or net.rng.randint(2, 3)):
        shapes.append(list(shape))
        shapes[-1][axis] = shape[axis] if alike else net.size()
    return net.add("SequenceConstruct", *map(net.data, shapes)), shapes, axis


@case("SequenceConstruct", "ConcatFromSequence")
def joined(net: Net, op: str) -> None:
    sequence, _, axis = _members(net)
    net.add("ConcatFromSequence", sequence, axis=axis)


@case("ConcatFromSequence")
def stacked(net: Net) -> None:
    sequence, shapes, _ = _members(net, alike=True)
    rank = len(shapes[0])
    net.add("ConcatFromSequence", sequence, new_axis=1, axis=net.rng.randint(-rank - 1, rank))


@case("SequenceEmpty", "SequenceInsert")
def inserted(net: Net, op: str) -> None:
    """A sequence that grows; the last to come may stand anywhere."""
    shape = net.shape(1, 3)
    sequence = net.add("SequenceEmpty", dtype=1)
    for _ in range(2):
        sequence = net.add("SequenceInsert", sequence, net.data(shape))
    place = [_scalar(net, net.rng.choice([0, 1, 2, -1, -2]))] if net.maybe() else []
    other = [*shape[:-1], net.size()]
    sequence = net.add("SequenceInsert", sequence, net.data(other), *place)
    net.add("ConcatFromSequence", net.add("Identity", sequence), axis=-1)
    net.add("SequenceAt", sequence, _scalar(net, net.rng.randint(-3, 2)))


@case("SequenceAt")
def member(net: Net) -> None:
    sequence, shapes, _ = _members(net)
    net.add("SequenceAt", sequence, _scalar(net, net.rng.randrange(-len(shapes), len(shapes))))
    like, shapes, _ = _members(net, alike=True)
    picked = net.add("SequenceAt", like, net.input([], np.int64))  # data decide
    net.add("MatMul", picked, net.weight(shapes[0][-1], net.size()))


@case("SequenceErase")
def erased(net: Net) -> None:
    sequence, _, axis = _members(net, count=3)
    places = [[], [_scalar(net, net.rng.randrange(-3, 3))]]
    net.add("ConcatFromSequence", net.add("SequenceErase", sequence, *net.rng.choice(places)), axis=axis)
    like, _, _ = _members(net, alike=True)
    rest = net.add("SequenceErase", like, net.input([], np.int64))
    net.add("ConcatFromSequence", rest, axis=0)


@case("SequenceLength")
def length(net: Net) -> None:
    sequence, _, _ = _members(net)
    count = net.add("SequenceLength", sequence)
    net.add("ConstantOfShape", net.add("Unsqueeze", count, net.ints(0)))
    net.add("Mul", count, _scalar(net, 2))


@case("SplitToSequence")
def split(net: Net) -> None:
    """Given sizes, one size with perhaps a rest, or each entry by itself."""
    form = net.rng.choice(["sizes", "chunks", "entries"])
    shape = net.shape(1, 3)
    axis = net.rng.randrange(-len(shape), len(shape))
    keep = None
    if form == "sizes":
        sizes = [net.size() for _ in range(net.rng.randint(2, 3))]
        shape[axis], given = sum(sizes), [net.ints(*sizes)]
    elif form == "chunks":
        size = net.size(2, 3)
        shape[axis], given = 2 * size + net.rng.choice([0, 1]), [_scalar(net, size)]
    else:
        given, keep = [], net.rng.choice([None, 0, 1])
    sequence = net.add("SplitToSequence", net.data(shape), *given, axis=axis, keepdims=keep)
    if keep == 0:
        net.add("ConcatFromSequence", sequence, new_axis=1, axis=0)
    else:
        net.add("ConcatFromSequence", sequence, axis=axis)
    net.add("SequenceAt", sequence, _scalar(net, net.rng.choice([0, 1, -1])))


@case("SplitToSequence")
def halves_of_a_layer(net: Net) -> None:
    """A gate and what it gates, as scripts take a tensor apart."""
    d, f = net.size(), net.size()
    both = net.add("MatMul", net.data([net.size(), d]), net.weight(d, 2 * f))
    sequence = net.add("SplitToSequence", both, _scalar(net, f), axis=-1)
    gate, up = (net.add("SequenceAt", sequence, _scalar(net, place)) for place in (0, 1))
    net.add("MatMul", net.add("Mul", net.add("Sigmoid", gate), up), net.weight(f, d))


@case("SplitToSequence", "SequenceConstruct")
def sizes_in_a_sequence(net: Net, op: str) -> None:
    """Scripts collect the sizes of a shape in a list."""
    shape = net.shape(2, 3)
    x = net.data(shape)
    sizes = net.add("SplitToSequence", net.add("Shape", x), keepdims=0)
    picked = [net.add("SequenceAt", sizes, _scalar(net, place)) for place in range(len(shape))]
    given = [net.add("Unsqueeze", size, net.ints(0)) for size in picked]
    target = net.add("ConcatFromSequence", net.add("SequenceConstruct", *given), axis=0)
    net.add("Add", x, net.add("ConstantOfShape", target))


@case("Optional", "OptionalGetElement", "OptionalHasElement")
def optional(net: Net, op: str) -> None:
    held = net.add("Optional", net.data(net.shape()))
    net.add("OptionalHasElement", held)
    net.add("Relu", net.add("OptionalGetElement", held))


# -- states ---------------------------------------------------------------------------------------------------


def _linear_attention(net: Net, domain: str) -> None:
    b, t, kv, group, d, v = (net.size(1, 2, 3) for _ in range(6))
    h = kv * group
    rule = net.rng.choice(["linear", "gated", "delta", "gated_delta"])
    past = net.data([b, kv, d, v]) if net.maybe() else ""
    decay = net.data([b, t, net.rng.choice([kv, kv * d])]) if rule.startswith("gated") else ""
    rate = net.data([b, t, net.rng.choice([1, kv])]) if rule.endswith("delta") else ""
    given = [net.data([b, t, h * d]), net.data([b, t, kv * d]), net.data([b, t, kv * v]), past, decay, rate]
    while not given[-1]:
        given.pop()
    scale = net.rng.choice([None, d**-0.5])
    heads = {"q_num_heads": h, "kv_num_heads": kv}
    net.add("LinearAttention", *given, domain=domain, outputs=2, update_rule=rule, scale=scale, **heads)


def _causal_conv(net: Net, domain: str) -> None:
    b, c, length, k = net.size(1, 2), net.size(), net.size(), net.size(2, 3, 4)
    bias = net.weight(c) if net.maybe() else ""
    past = net.data([b, c, k - 1]) if net.maybe() else ""
    given = [net.data([b, c, length]), net.weight(c, 1, k), bias, past]
    while not given[-1]:
        given.pop()
    net.add("CausalConvWithState", *given, domain=domain, outputs=2, activation=net.rng.choice(["none", "silu"]))


for _domain in ("ai.onnx", "com.microsoft"):
    _written = "" if _domain == "ai.onnx" else _domain
    case("LinearAttention", domain=_domain)(partial(_linear_attention, domain=_written))
    case("CausalConvWithState", domain=_domain)(partial(_causal_conv, domain=_written))


@case("TensorScatter")
def tensor_scatter(net: Net) -> None:
    b, h, room, d = net.size(), net.size(), net.size(4, 5, 6), net.size()
    s = net.rng.randint(1, 2)
    last = net.maybe()
    cache, update = ([b, h, d, n] if last else [b, h, n, d] for n in (room, s))
    mode = net.rng.choice(["linear", "circular"])
    places = [net.const([0] * b, np.int64) if mode == "linear" else net.input([b], np.int64)] if net.maybe() else []
    axis = net.rng.choice([-1, 3]) if last else net.rng.choice([None, 2])
    net.add("TensorScatter", net.data(cache), net.data(update), *places, axis=axis, mode=mode)
