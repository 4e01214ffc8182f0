"""For every operator that has a rule, random small graphs with it. The table is complete, or a test fails."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import onnx
from small_graphs import Net

Case = Callable[[Net], object]
CASES: dict[str, list[Case]] = {}
OPSETS = {"Scatter": 10, "Upsample": 9, "Swish": 24, "Attention": 23, "RMSNormalization": 23, "RotaryEmbedding": 23}


def key(domain: str, op_type: str) -> str:
    """How the table names an operator."""
    return op_type if domain == "ai.onnx" else f"{domain}.{op_type}"


def random_models(op_type: str, seeds: Iterable[int]) -> Iterator[tuple[int, onnx.ModelProto]]:
    """Random models with an operator, one of each of its cases for each seed."""
    for seed in seeds:
        for number, build in enumerate(CASES[op_type]):
            net = Net(random.Random(f"{op_type} {number} {seed}"), OPSETS.get(op_type, 20))
            build(net)
            if net.nodes:
                yield seed, net.model()


def case(*op_types: str, domain: str = "ai.onnx") -> Callable[[Callable], Callable]:
    """Register a builder `(net)` for one operator, or `(net, op_type)` for several."""

    def register(build: Callable) -> Callable:
        for op_type in op_types:
            plain = build if len(op_types) == 1 else lambda net, op=op_type: build(net, op)
            CASES.setdefault(key(domain, op_type), []).append(plain)
        return build

    return register


# -- element by element ---------------------------------------------------------------------------------------


@case(
    *("Abs Acos Acosh Asin Asinh Atan Atanh Ceil Celu Cos Cosh Elu Erf Exp Floor Gelu HardSigmoid HardSwish".split()),
    *("Identity IsInf IsNaN LeakyRelu Log LogSoftmax Mish Neg Reciprocal Relu Round Selu Shrink Sigmoid Sign".split()),
    *("Sin Sinh Softmax Hardmax Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu Bernoulli Dropout".split()),
    "MeanVarianceNormalization",
)
def float_unary(net: Net, op: str) -> None:
    low = 4 if op == "MeanVarianceNormalization" else 1
    net.add(op, net.data(net.shape(low)), outputs=2 if op == "Dropout" and net.maybe() else 1)


@case("Cos", "Sin")
def wave_of_a_layer(net: Net, op: str) -> None:
    """Weights that a sine reads at once are taken for computed frequencies; those of a layer before it are not."""
    n, k, m = net.size(), net.size(), net.size()
    net.add(op, net.add("MatMul", net.data([n, k]), net.weight(k, m)))


@case("Not", "BitwiseNot")
def whole_unary(net: Net, op: str) -> None:
    net.add(op, net.whole(net.shape(), bool if op == "Not" else np.int32))


@case("Clip")
def clip(net: Net) -> None:
    low = net.const(0.0, np.float32)
    net.add("Clip", net.data(net.shape()), *([low] if net.maybe() else ["", low]))


@case("Trilu")
def trilu(net: Net) -> None:
    net.add(
        "Trilu", net.data(net.shape(2)), *([net.const(1, np.int64)] if net.maybe() else []), upper=net.rng.randint(0, 1)
    )


@case("CumSum")
def cumsum(net: Net) -> None:
    shape = net.shape()
    net.add("CumSum", net.data(shape), net.const(net.rng.randrange(-len(shape), len(shape)), np.int64))


@case("Cast", "CastLike")
def cast(net: Net, op: str) -> None:
    x = net.data(net.shape())
    if op == "CastLike":
        net.add(op, x, net.const(1, np.int64))
    else:
        net.add(op, x, to=net.rng.choice([1, 6, 7, 9, 11]))
        sizes = net.add("Cast", net.add("Shape", x), to=1)
        net.add("Cast", net.add("Mul", sizes, net.const(0.7, np.float32)), to=7)


def _broadcast_shapes(net: Net, count: int) -> list[list[int]]:
    full = net.shape()
    shapes = [full]
    for _ in range(count - 1):
        shape = [1 if net.rng.random() < 0.3 else n for n in full]
        shapes.append(shape[net.rng.randint(0, len(shape)) :])
    net.rng.shuffle(shapes)
    return shapes


@case("Add", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Mod", "Mul", "Pow", "Sub", "Max")
@case("Mean", "Min", "Sum")
def float_binary(net: Net, op: str) -> None:
    many = op in ("Max", "Min", "Mean", "Sum")
    shapes = _broadcast_shapes(net, net.rng.randint(1, 3) if many else 2)
    net.add(op, *map(net.data, shapes), fmod=1 if op == "Mod" else None)


@case("And", "Or", "Xor", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitShift")
def whole_binary(net: Net, op: str) -> None:
    dtype = np.uint64 if op == "BitShift" else np.int32 if op.startswith("Bit") else bool
    a, b = (net.whole(shape, dtype) for shape in _broadcast_shapes(net, 2))
    net.add(op, a, b, direction="LEFT" if op == "BitShift" else None)


@case("PRelu")
def prelu(net: Net) -> None:
    n, c, h = net.size(), net.size(), net.size()
    net.add("PRelu", net.data([n, c, h]), net.weight(*net.rng.choice([(c, 1), (1,), (n, c, h), (h,)])))


@case("Add", "Sub", "Mul", "Div", "Mod", "Min", "Max", "Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual")
def size_arithmetic(net: Net, op: str) -> None:
    sizes = net.add("Shape", net.data(net.shape(3, 3)))
    other = net.ints(*(net.rng.choice([-7, -2, 1, 2, 3]) for _ in range(net.rng.choice([1, 3]))))
    net.add(op, *net.rng.sample([sizes, other], 2))


@case("Add", "Div", "Mul", "Mod")
def float_size_arithmetic(net: Net, op: str) -> None:
    half = net.const(net.rng.choice([0.5, 1.5, 2.5]), np.float32)
    a = net.add(net.rng.choice(["Floor", "Ceil"]), net.add("Mul", _float_sizes(net), half))
    b = net.add(net.rng.choice(["Floor", "Ceil", "Sqrt", "Abs"]), net.const(2.5, np.float32))
    net.add(op, a, b, fmod=1 if op == "Mod" else None)


def _float_sizes(net: Net) -> str:
    return net.add("Cast", net.add("Shape", net.data(net.shape())), to=1)


@case("Sqrt", "Reciprocal", "Neg", "Abs", "Floor", "Ceil", "Pow")
def float_size_unary(net: Net, op: str) -> None:
    net.add(op, _float_sizes(net), *([net.const(0.5, np.float32)] if op == "Pow" else []))


@case("Not", "And", "Or", "Xor")
def size_logic(net: Net, op: str) -> None:
    sizes = net.add("Shape", net.data(net.shape()))
    flags = [net.add("Less", sizes, net.ints(net.size())) for _ in range(1 if op == "Not" else 2)]
    net.add(op, *flags)


@case("Where")
def where(net: Net) -> None:
    condition, a, b = _broadcast_shapes(net, 3)
    net.add("Where", net.input(condition, bool), net.data(a), net.data(b))
    shape = net.shape(2, 2)
    wanted = net.ints(*(net.rng.choice([-1, n]) for n in shape))
    x = net.data([1, shape[1]])
    fill = net.const([1, 1], np.int64)
    net.add("Expand", x, net.add("Where", net.add("Equal", wanted, net.ints(-1)), fill, wanted))


# -- contractions ---------------------------------------------------------------------------------------------


@case("MatMul", "MatMulInteger")
def matmul(net: Net, op: str) -> None:
    m, k, n = net.size(), net.size(), net.size()
    batch = net.shape(0, 2)
    form = net.rng.choice(["full", "left vector", "right vector", "vectors", "one batched"])
    a, b = {
        "full": ([*batch, m, k], [*(1 if net.maybe() else s for s in batch), k, n]),
        "left vector": ([k], [*batch, k, n]),
        "right vector": ([*batch, m, k], [k]),
        "vectors": ([k], [k]),
        "one batched": ([*batch, m, k], [k, n]),
    }[form]
    if op == "MatMulInteger":
        net.add(op, net.input([*batch, m, k], np.uint8), net.const(np.ones((k, n)), np.uint8))
    else:
        net.add(op, net.data(a), net.weight(*b) if net.maybe() else net.data(b))


@case("Gemm")
def gemm(net: Net) -> None:
    m, k, n = net.size(), net.size(), net.size()
    ta, tb = net.rng.randint(0, 1), net.rng.randint(0, 1)
    c = net.rng.choice([None, (n,), (1, n), (m, 1), (m, n), (1,)])
    a, b = net.data([k, m] if ta else [m, k]), net.weight(*((n, k) if tb else (k, n)))
    alpha, beta = (net.rng.choice([None, 0.5]) for _ in range(2))
    net.add("Gemm", a, b, *([net.weight(*c)] if c else []), transA=ta, transB=tb, alpha=alpha, beta=beta)


@case("Einsum")
def einsum(net: Net) -> None:
    forms = ["ij,jk->ik", "bhqd,bhkd->bhqk", "bid,hde->bhie", "ij->ji", "bij,bij->bi", "ii->i", "ij,kj", "ij->"]
    equation = net.rng.choice([*forms, "...ij,...jk->...ik", "...ij,jk->...ik", "b...d,de->b...e", "...i,...i->..."])
    sizes: dict[str, int] = {}
    dots = net.shape(0, 2)
    shapes = []
    for term in equation.partition("->")[0].split(","):
        shape: list[int] = []
        for piece in term.replace("...", "."):
            shape += dots if piece == "." else [sizes.setdefault(piece, net.size())]
        shapes.append(shape)
    net.add(
        "Einsum",
        *(net.data(s) if i == 0 or net.maybe() else net.weight(*s) for i, s in enumerate(shapes)),
        equation=equation,
    )


# -- convolutions ---------------------------------------------------------------------------------------------


def _window(net: Net, rank: int, *, pool: bool = False) -> tuple[list[int], dict[str, object]]:
    kernel = [net.size(1, 2, 3) for _ in range(rank)]
    attributes: dict[str, object] = {"kernel_shape": kernel}
    if net.maybe():
        attributes["strides"] = [net.size(1, 2, 3) for _ in range(rank)]
    auto = net.rng.choice(["NOTSET", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"])
    if auto != "NOTSET":
        attributes["auto_pad"] = auto
        kernel[:] = map(max, kernel, attributes.get("strides", kernel))  # onnxruntime knows no negative pads
    elif net.maybe():
        limit = [(k - 1) if pool else 2 for k in kernel]
        attributes["pads"] = [net.rng.randint(0, n) for n in limit * 2]
    if net.maybe() and auto != "SAME_LOWER" and auto != "SAME_UPPER":
        attributes["dilations"] = [net.size(1, 2) for _ in range(rank)]
    return kernel, attributes


@case("Conv")
def conv(net: Net) -> None:
    rank = net.rng.choice([1, 2, 2])
    groups, into, out = net.size(1, 1, 2, 4), net.size(1, 2, 3), net.size(1, 2, 3)
    kernel, attributes = _window(net, rank)
    x = net.data([net.size(1, 2), groups * into, *(net.rng.randint(7, 9) for _ in range(rank))])
    bias = [net.weight(groups * out)] if net.maybe() else []
    net.add("Conv", x, net.weight(groups * out, into, *kernel), *bias, group=groups, **attributes)


@case("ConvTranspose")
def conv_transpose(net: Net) -> None:
    groups, into, out = net.size(1, 1, 2, 4), net.size(1, 2, 3), net.size(1, 2, 3)
    kernel = [net.size(1, 2, 3), net.size(1, 2, 3)]
    attributes: dict[str, object] = {"strides": [2, net.size(1, 2, 3)]} if net.maybe() else {}
    if net.maybe():
        attributes["pads"] = [net.rng.randint(0, k // 2) for k in kernel * 2]
    if net.maybe() and "strides" in attributes:
        attributes["output_padding"] = [1, 0]
    if net.rng.random() < 0.2:
        attributes = {"strides": [2, 2], "auto_pad": "SAME_UPPER"}
        kernel = [max(2, k) for k in kernel]
    x = net.data([net.size(1, 2), groups * into, net.size(4, 5), net.size(4, 5)])
    bias = [net.weight(groups * out)] if net.maybe() else []
    net.add(
        "ConvTranspose",
        x,
        net.weight(groups * into, out, *kernel),
        *bias,
        group=groups,
        kernel_shape=kernel,
        **attributes,
    )


@case("MaxPool", "AveragePool", "LpPool")
def pool(net: Net, op: str) -> None:
    _, attributes = _window(net, 2, pool=True)
    if net.maybe() and "auto_pad" not in attributes:
        attributes["ceil_mode"] = 1
    if op == "LpPool" and "dilations" in attributes:
        del attributes["dilations"]
    x = net.data([net.size(1, 2), net.size(), net.rng.randint(7, 9), net.rng.randint(7, 9)])
    net.add(op, x, outputs=2 if op == "MaxPool" and net.maybe() else 1, **attributes)


@case("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def global_pool(net: Net, op: str) -> None:
    net.add(op, net.data(net.shape(3, 4)))


# -- normalisations -------------------------------------------------------------------------------------------


@case("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")
def layer_norm(net: Net, op: str) -> None:
    shape = net.shape(2, 4)
    axis = net.rng.randint(1, len(shape) - 1)
    if op == "SimplifiedLayerNormalization":
        axis = len(shape) - 1
    bias = [net.weight(*shape[axis:])] if op == "LayerNormalization" and net.maybe() else []
    outputs = 3 if op == "LayerNormalization" and net.maybe() else 1
    given = axis - len(shape) if net.maybe() else axis
    net.add(op, net.data(shape), net.weight(*shape[axis:]), *bias, axis=given, outputs=outputs)


@case("BatchNormalization", "InstanceNormalization")
def channel_norm(net: Net, op: str) -> None:
    shape = net.shape(3, 4)
    count = 4 if op == "BatchNormalization" else 2
    weights = [net.const(net.numbers.uniform(0.5, 1, shape[1]), np.float32) for _ in range(count)]
    net.add(op, net.data(shape), *weights)


@case("GroupNormalization")
def group_norm(net: Net) -> None:
    groups, per_group = net.size(1, 2, 4), net.size(1, 2, 3)
    net.opset = net.size(18, 21)
    c = groups * per_group
    scaled = c if net.opset == 21 else groups
    x = net.data([net.size(1, 2), c, net.size(), net.size()])
    net.add("GroupNormalization", x, net.weight(scaled), net.weight(scaled), num_groups=groups)


@case("LpNormalization", "LRN")
def plain_norm(net: Net, op: str) -> None:
    net.add(op, net.data(net.shape(4, 4)), **({"size": 3} if op == "LRN" else {"axis": net.rng.randint(-2, 1)}))


# -- reductions -----------------------------------------------------------------------------------------------


@case(*(f"Reduce{kind}" for kind in "L1 L2 LogSum LogSumExp Max Mean Min Prod Sum SumSquare".split()))
def reduce(net: Net, op: str) -> None:
    shape = net.shape()
    picked = sorted(net.rng.sample(range(len(shape)), net.rng.randint(0, len(shape))))
    signed = [axis - len(shape) if net.maybe() else axis for axis in picked]
    axes = [net.ints(*signed)] if signed else []
    keep = net.rng.choice([None, 0, 1])
    net.add(op, net.data(shape), *axes, keepdims=keep, noop_with_empty_axes=net.rng.choice([None, 0, 1]))


@case(*(f"Reduce{kind}" for kind in "Max Min Prod Sum".split()))
def reduced_sizes(net: Net, op: str) -> None:
    sizes = net.add("Reshape", net.add("Shape", net.data(net.shape(4, 4))), net.ints(2, 2))
    net.add(op, sizes, *([net.ints(*net.rng.choice([(0,), (1,), (0, 1), (-1,)]))] if net.maybe() else []), keepdims=0)


@case("ArgMax", "ArgMin")
def arg(net: Net, op: str) -> None:
    shape = net.shape()
    net.add(op, net.data(shape), axis=net.rng.randrange(-len(shape), len(shape)), keepdims=net.rng.choice([None, 0, 1]))


@case("TopK")
def top_k(net: Net) -> None:
    shape = net.shape()
    axis = net.rng.randrange(-len(shape), len(shape))
    net.add("TopK", net.data(shape), net.ints(net.rng.randint(1, shape[axis])), axis=axis, outputs=2)


@case("NonZero")
def non_zero(net: Net) -> None:
    """How many places there are is known at run time alone, so they are counted up to a number."""
    places = net.add("NonZero", net.data(net.shape()))
    net.add("ReduceMax", net.add("Cast", places, to=1), net.ints(1), keepdims=net.rng.randint(0, 1))


# -- picking --------------------------------------------------------------------------------------------------


@case("Gather")
def gather(net: Net) -> None:
    shape = net.shape()
    axis = net.rng.randrange(-len(shape), len(shape))
    indices = (
        net.input(net.shape(0, 2), np.int64)
        if net.maybe()
        else net.const(net.rng.choice([1, [0, 1], [[1], [-1]]]), np.int64)
    )
    net.add("Gather", net.data(shape) if net.maybe() else net.weight(*shape), indices, axis=axis)
    net.add("Gather", net.add("Shape", net.data(net.shape(2))), net.const(net.rng.choice([0, -1, [1, 0]]), np.int64))


@case("GatherElements")
def gather_elements(net: Net) -> None:
    shape = net.shape()
    axis = net.rng.randrange(-len(shape), len(shape))
    indices = list(shape)
    indices[axis] = net.size()
    net.add("GatherElements", net.data(shape), net.input(indices, np.int64), axis=axis)


@case("GatherND")
def gather_nd(net: Net) -> None:
    shape = net.shape(2, 4)
    batch = net.rng.randint(0, 1)
    depth = net.rng.randint(1, len(shape) - batch)
    indices = [*shape[:batch], *net.shape(0, 1), depth]
    net.add("GatherND", net.data(shape), net.input(indices, np.int64), batch_dims=batch)


@case("ScatterND")
def scatter_nd(net: Net) -> None:
    shape = net.shape(2, 4)
    depth = net.rng.randint(1, len(shape))
    places = net.shape(1, 1)
    net.add("ScatterND", net.data(shape), net.input([*places, depth], np.int64), net.data([*places, *shape[depth:]]))


@case("ScatterElements", "Scatter")
def scatter_elements(net: Net, op: str) -> None:
    shape = net.shape()
    indices = [net.rng.randint(1, n) for n in shape]
    net.add(op, net.data(shape), net.input(indices, np.int64), net.data(indices), axis=net.rng.randrange(len(shape)))


@case("Slice")
def slice_(net: Net) -> None:
    shape = net.shape(1, 3)
    axis = net.rng.randrange(-len(shape), len(shape))
    n = shape[axis]
    start = net.rng.choice([0, 1, n - 1, -1, -n, -n + 1])
    end = net.rng.choice([n, n - 1, -1, 2**63 - 1, 2**31 - 1, 1000])
    step = net.rng.choice([1, 1, 1, 2])
    if net.rng.random() < 0.2:
        start, end, step = net.rng.choice([-1, n - 1, 1000]), -(2**63) + 1, -1
    if not range(*slice(start, end, step).indices(n)):
        start, end = 0, n
    net.add(
        "Slice",
        net.data(shape),
        net.ints(start),
        net.ints(end),
        net.ints(axis),
        *([net.ints(step)] if step != 1 else []),
    )


@case("Slice")
def slice_of_sizes(net: Net) -> None:
    sizes = net.add("Shape", net.data(net.shape(3)))
    start, end = net.rng.choice([(0, -1), (1, 2), (-2, 2**63 - 1), (0, 2)])
    net.add("Slice", sizes, net.ints(start), net.ints(end), net.ints(0))


@case("Slice")
def slice_to_a_size(net: Net) -> None:
    table, length, d = 11, net.rng.randint(2, 6), net.size()
    end = net.add("Gather", net.add("Shape", net.data([length, d])), net.ints(0))
    net.add("Slice", net.weight(table, d), net.ints(0), end, net.ints(0))


@case("OneHot")
def one_hot(net: Net) -> None:
    depth = net.ints(net.size())
    net.add(
        "OneHot",
        net.whole(net.shape(1, 2), np.int64),
        depth,
        net.const([0, 1], np.float32),
        axis=net.rng.choice([-1, 0, 1]),
    )


@case("ReverseSequence")
def reverse_sequence(net: Net) -> None:
    t, b = net.size(), net.size()
    net.add("ReverseSequence", net.data([t, b, net.size()]), net.const([1] * b, np.int64))


# -- regrouping -----------------------------------------------------------------------------------------------


@case("Shape")
def shape(net: Net) -> None:
    bounds = {"start": net.rng.randint(-3, 3), "end": net.rng.choice([None, -1, 2, 5])} if net.maybe() else {}
    net.add("Shape", net.data(net.shape()), **bounds)


@case("Size")
def size(net: Net) -> None:
    net.add("Size", net.data(net.shape()))


@case("Reshape")
def reshape(net: Net) -> None:
    factors = [net.size() for _ in range(net.rng.randint(2, 5))]
    x = net.data(_grouped(net, factors))
    target = _grouped(net, factors)
    if net.maybe():
        target[net.rng.randrange(len(target))] = -1
    net.add("Reshape", x, net.ints(*target))


def _grouped(net: Net, factors: list[int]) -> list[int]:
    """The factors multiplied in consecutive groups."""
    out = [factors[0]]
    for factor in factors[1:]:
        if net.maybe():
            out[-1] *= factor
        else:
            out.append(factor)
    return out


@case("Reshape")
def reshape_by_zero_and_size(net: Net) -> None:
    b, t, h, d = (net.size() for _ in range(4))
    x = net.data([b, t, h * d])
    sizes = net.add("Shape", x)
    batch = net.add("Gather", sizes, net.ints(0))
    target = [net.ints(0, 0, h, -1), net.add("Concat", batch, net.ints(-1, h, d), axis=0)][net.rng.randint(0, 1)]
    split = net.add("Reshape", x, target)
    swapped = net.add("Transpose", split, perm=[0, 2, 1, 3])
    back = net.add("Reshape", net.add("Transpose", swapped, perm=[0, 2, 1, 3]), sizes)
    net.add("MatMul", back, net.weight(h * d, net.size()))


@case("Flatten")
def flatten(net: Net) -> None:
    shape = net.shape()
    net.add("Flatten", net.data(shape), axis=net.rng.randint(-len(shape), len(shape)))


@case("Transpose")
def transpose(net: Net) -> None:
    shape = net.shape()
    order = net.rng.sample(range(len(shape)), len(shape))
    net.add("Transpose", net.data(shape), perm=order if net.maybe() else None)


@case("Unsqueeze")
def unsqueeze(net: Net) -> None:
    shape = net.shape(1, 3)
    count = net.rng.randint(1, 2)
    rank = len(shape) + count
    axes = [a - rank if net.maybe() else a for a in net.rng.sample(range(rank), count)]
    net.add("Unsqueeze", net.data(shape), net.ints(*axes))
    net.add("Unsqueeze", net.add("Size", net.data(shape)), net.ints(0))


@case("Squeeze")
def squeeze(net: Net) -> None:
    shape = [1, net.size(), 1, net.size()]
    net.add("Squeeze", net.data(shape), *net.rng.choice([[], [net.ints(0)], [net.ints(-2)], [net.ints(0, 2)]]))


@case("Concat")
def concat(net: Net) -> None:
    shape = net.shape()
    axis = net.rng.randrange(-len(shape), len(shape))
    parts = []
    for _ in range(net.rng.randint(1, 3)):
        part = list(shape)
        part[axis] = net.size()
        parts.append(net.data(part))
    net.add("Concat", *parts, axis=axis)
    net.add("Concat", net.add("Shape", parts[0]), net.ints(1, 2), axis=0)


@case("Split")
def split(net: Net) -> None:
    shape = net.shape()
    axis = net.rng.randrange(-len(shape), len(shape))
    parts = [net.size(1, 2, 3, 4) for _ in range(net.rng.randint(2, 3))]
    equal = net.maybe()
    shape[axis] = len(parts) * 2 if equal else sum(parts)
    given = [] if equal else [net.ints(*parts)]
    net.add("Split", net.data(shape), *given, axis=axis, outputs=len(parts), num_outputs=len(parts) if equal else None)


@case("Expand")
def expand(net: Net) -> None:
    full = net.shape()
    inner = [1 if net.maybe() else n for n in full][net.rng.randint(0, len(full)) :]
    target = [1 if i and net.rng.random() < 0.3 else n for i, n in enumerate(full)]
    net.add("Expand", net.data(inner), net.ints(*target))
    other = net.data(full)
    net.add("Expand", net.data(inner), net.add("Shape", other))


@case("Tile")
def tile(net: Net) -> None:
    shape = net.shape()
    net.add("Tile", net.data(shape), net.ints(*(net.size(1, 2, 3) for _ in shape)))


@case("Pad")
def pad(net: Net) -> None:
    shape = net.shape(1, 3)
    if net.maybe():
        net.add("Pad", net.data(shape), net.ints(*(net.rng.choice([0, 0, 1, 2]) for _ in shape * 2)))
    else:
        axis = net.rng.randrange(-len(shape), len(shape))
        net.add("Pad", net.data(shape), net.ints(net.rng.choice([-1, 1]), 2), "", net.ints(axis))


@case("ConstantOfShape")
def constant_of_shape(net: Net) -> None:
    net.add("ConstantOfShape", net.add("Shape", net.data(net.shape())))
    net.add("Add", net.add("ConstantOfShape", net.ints(*(shape := net.shape()))), net.data(shape))


@case("Range")
def range_(net: Net) -> None:
    n = net.add("Gather", net.add("Shape", net.data(net.shape())), net.const(0, np.int64))
    start, delta = net.rng.choice([(0, 1), (1, 1), (0, 2), (-3, 2)])
    first = net.const(start, np.int64)
    net.add("Range", first, n, net.const(delta, np.int64))
    net.add("Range", n, first, net.const(-1, np.int64))
    net.add("Range", net.const(0.0, np.float32), net.const(2.5, np.float32), net.const(0.5, np.float32))


@case("DepthToSpace", "SpaceToDepth")
def pixels(net: Net, op: str) -> None:
    side, c, h, w = net.size(2, 3), net.size(), net.size(), net.size()
    if op == "SpaceToDepth":
        net.add(op, net.data([1, c, h * side, w * side]), blocksize=side)
    else:
        net.add(op, net.data([1, c * side * side, h, w]), blocksize=side, mode=net.rng.choice(["DCR", "CRD"]))


@case("Resize", "Upsample")
def resize(net: Net, op: str) -> None:
    n, c, h, w = (net.size() for _ in range(4))
    x = net.data([n, c, h, w])
    if op == "Upsample":
        net.add(op, x, net.const([1, 1, 2, 2], np.float32))
        return
    scales = net.const([1, 1, 2, net.rng.choice([1.5, 2, 0.5])], np.float32)
    if net.maybe():
        net.add(op, x, "", scales)
    else:
        net.add(op, x, "", "", net.ints(n, c, 2 * h, w + 1))


@case("GridSample")
def grid_sample(net: Net) -> None:
    n = net.size()
    net.add("GridSample", net.data([n, net.size(), net.size(), net.size()]), net.data([n, net.size(), net.size(), 2]))


@case("EyeLike")
def eye_like(net: Net) -> None:
    net.add("EyeLike", net.data(net.shape(2, 2)))


# -- whole attention, recurrence ------------------------------------------------------------------------------


@case("Attention")
def attention(net: Net) -> None:
    b, kv, group, d, v = (net.size(1, 2, 3) for _ in range(5))
    h, d, s, t = kv * group, 2 * d, net.size(), net.size()
    flat = net.maybe()
    q = net.data([b, s, h * d] if flat else [b, h, s, d])
    k = net.data([b, t, kv * d] if flat else [b, kv, t, d])
    value = net.data([b, t, kv * v] if flat else [b, kv, t, v])
    heads = {"q_num_heads": h, "kv_num_heads": kv} if flat else {}
    form = net.rng.choice(["plain", "mask", "past"])
    more = {"plain": [], "mask": [net.data([s, t])], "past": []}[form]
    if form == "past":
        p = net.size(1, 2)
        more = ["", net.data([b, kv, p, d]), net.data([b, kv, p, v])]
    net.add(
        "Attention",
        q,
        k,
        value,
        *more,
        outputs=3 if form == "past" else 1,
        scale=net.rng.choice([None, d**-0.5]),
        **heads,
    )


@case("RotaryEmbedding")
def rotary(net: Net) -> None:
    b, h, s, half = net.size(1, 2), net.size(1, 2, 3), net.size(), net.size(2, 4)
    d = 2 * half
    flat = net.maybe()
    turned = net.rng.choice([0, half]) if half % 2 == 0 else 0
    x = net.data([b, s, h * d] if flat else [b, h, s, d])
    angles = (turned or d) // 2
    if net.maybe():
        caches = [net.weight(b, s, angles), net.weight(b, s, angles)]
    else:
        caches = [net.weight(9, angles), net.weight(9, angles), net.input([b, s], np.int64)]
    heads = h if flat or turned else None
    net.add(
        "RotaryEmbedding",
        x,
        *caches,
        num_heads=heads,
        rotary_embedding_dim=turned or None,
        interleaved=net.rng.randint(0, 1),
    )


@case("LSTM", "GRU", "RNN")
def recurrent(net: Net, op: str) -> None:
    t, b, i, h = (net.size() for _ in range(4))
    gates, d = {"LSTM": 4, "GRU": 3, "RNN": 1}[op], net.size(1, 2)
    more = [net.weight(d, 2 * gates * h)] if net.maybe() else [""]
    if net.maybe():
        more += ["", net.data([d, b, h]), *([net.weight(d, b, h)] if op == "LSTM" else [])]
        if op == "LSTM" and net.maybe():
            more.append(net.weight(d, 3 * h))
    weights = [net.weight(d, gates * h, i), net.weight(d, gates * h, h)]
    direction = "bidirectional" if d == 2 else "forward"
    outputs = net.size(1, 2, 3 if op == "LSTM" else 2)
    net.add(op, net.data([t, b, i]), *weights, *more, outputs=outputs, hidden_size=h, direction=direction)


# -- bodies ---------------------------------------------------------------------------------------------------


def _layer(net: Net, x: str, w: str, b: str) -> str:
    """x + relu(x w + b), for a square w."""
    return net.add("Add", x, net.add("Relu", net.add("Add", net.add("MatMul", x, w), b)))


@case("If")
def if_(net: Net) -> None:
    d, f = net.size(), net.size()
    x = net.data([net.size(), d])
    branches = []
    for name in ("yes", "no"):
        inner = net.inner(name)
        holder = inner if net.maybe() else net
        y = inner.add("MatMul", inner.add("MatMul", x, holder.weight(d, f)), inner.weight(f, d))
        branches.append(inner.body(inner.add("Add", y, holder.weight(d))))
    net.add("If", net.input([], bool), then_branch=branches[0], else_branch=branches[1])


@case("Loop")
def loop(net: Net) -> None:
    """Stacks of weights: read from outside, held by the body, or carried through unchanged."""
    count, d, rows = net.size(), net.size(), net.size()
    x = net.data([rows, d])
    inner = net.inner("body")
    i, going = inner.input([], np.int64), inner.input([], bool)
    y = inner.input(None)
    form = net.rng.choice(["outer", "inner", "carried"])
    holder = inner if form == "inner" else net
    stacks = [holder.weight(count, d, d), holder.weight(count, d)]
    read = [inner.input(None) for _ in stacks] if form == "carried" else stacks
    if net.maybe():
        w, b = (inner.add("Gather", stack, i) for stack in read)
    else:
        at = inner.add("Unsqueeze", i, inner.ints(0))
        ends = inner.add("Add", at, inner.ints(1))
        w, b = (
            inner.add("Squeeze", inner.add("Slice", stack, at, ends, inner.ints(0)), inner.ints(0)) for stack in read
        )
    y = _layer(inner, y, w, b)
    back = [inner.add("Identity", name) for name in read] if form == "carried" else []
    scans = [inner.add("ReduceMean", y, keepdims=0)] if net.maybe() else []
    body = inner.body(inner.add("Identity", going), y, *back, *scans)
    outputs = 1 + len(back) + len(scans)
    carried = stacks if form == "carried" else []
    net.add("Loop", net.const(count, np.int64), net.const(True, bool), x, *carried, outputs=outputs, body=body)


@case("Loop")
def loop_over_an_input(net: Net) -> None:
    """A recurrent net, step by step."""
    steps, rows, d = net.size(), net.size(), net.size()
    x, state = net.data([steps, rows, d]), net.data([rows, d])
    inner = net.inner("step")
    i, going, y = inner.input([], np.int64), inner.input([], bool), inner.input(None)
    y = inner.add("Tanh", inner.add("Add", inner.add("Gather", x, i), inner.add("MatMul", y, net.weight(d, d))))
    body = inner.body(inner.add("Identity", going), y, inner.add("Identity", y))
    count = net.add("Gather", net.add("Shape", x), net.const(0, np.int64))
    net.add("Loop", count, "", state, outputs=2, body=body)


@case("Scan")
def scan(net: Net) -> None:
    count, d, rows = net.size(), net.size(), net.size()
    at = net.rng.choice([0, 1, -1])
    shape = [d, d]
    shape.insert(at % 3, count)
    inner = net.inner("body")
    y, w, b = (inner.input(None) for _ in range(3))
    y = _layer(inner, y, w, b)
    body = inner.body(y, inner.add("Identity", y))
    net.add(
        "Scan",
        net.data([rows, d]),
        net.weight(*shape),
        net.weight(count, d),
        outputs=2,
        body=body,
        num_scan_inputs=2,
        scan_input_axes=[at, 0],
        scan_output_axes=[net.rng.choice([0, 1, -1])],
        scan_input_directions=[net.rng.randint(0, 1)] * 2,
    )
