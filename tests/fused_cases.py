"""Random small graphs with the operators that onnxruntime's optimisers write (domain com.microsoft)."""

from __future__ import annotations

from functools import partial

import numpy as np
from rule_cases import case
from small_graphs import Net

DOMAIN = "com.microsoft"
fused = partial(case, domain=DOMAIN)


def _add(net: Net, op: str, *inputs: str, **more: object) -> object:
    return net.add(op, *inputs, domain=DOMAIN, **more)


def _optional(net: Net, *names: str) -> list[str]:
    """Each optional input given or left out, without empty names at the end."""
    picked = [name if net.maybe() else "" for name in names]
    while picked and not picked[-1]:
        picked.pop()
    return picked


@fused("Gelu", "QuickGelu")
def activation(net: Net, op: str) -> None:
    _add(net, op, net.data(net.shape()))


@fused("ScaledSiLU")
def scaled_activation(net: Net) -> None:
    given = {"alpha": 0.5} if net.maybe() else {}
    _add(net, "ScaledSiLU", net.data(net.shape()), *([] if given else [net.const(2, np.float32)]), **given)


@fused("GatedAdd")
def gated_add(net: Net) -> None:
    shape = net.shape(2, 3)
    _add(net, "GatedAdd", net.data(shape), net.data(shape), net.data([*shape[:-1], 1]))


@fused("BiasGelu", "FastGelu")
def biased(net: Net, op: str) -> None:
    shape = net.shape(2)
    bias = [net.weight(shape[-1])] if op == "BiasGelu" or net.maybe() else []
    _add(net, op, net.data(shape), *bias)


@fused("SkipLayerNormalization", "SkipSimplifiedLayerNormalization")
def skip_layer_norm(net: Net, op: str) -> None:
    b, s, d = net.size(), net.size(), net.size()
    skip = net.rng.choice([[b, s, d], [1, s, d], [s, d]]) if op == "SkipLayerNormalization" else [b, s, d]
    both = op == "SkipLayerNormalization"
    more = _optional(net, *[net.weight(d) for _ in range(1 + both)])
    outputs = net.rng.choice([1, 4])
    made = _add(net, op, net.data([b, s, d]), net.data(skip), net.weight(d), *more, outputs=outputs)
    if outputs == 4:
        net.nodes[-1].output[1] = net.nodes[-1].output[2] = ""  # statistics are for training only
        net.add("Add", made[0], made[3])


@fused("EmbedLayerNormalization")
def embed_layer_norm(net: Net) -> None:
    b, s, d = net.size(), net.size(), net.size()
    ids = net.input([b, s], np.int32)
    segments = net.maybe()
    tables = [net.weight(9, d), net.weight(64, d), net.weight(3, d) if segments else ""]
    mask, positions = net.input([b, s], np.int32), net.input([b, s], np.int32)
    outputs = net.rng.choice([2, 3])
    _add(
        net,
        "EmbedLayerNormalization",
        ids,
        net.input([b, s], np.int32) if segments else "",
        *tables,
        net.weight(d),
        net.weight(d),
        *_optional(net, mask, positions),
        outputs=outputs,
    )


@fused("FusedMatMul", "TransposeMatMul")
def fused_matmul(net: Net, op: str) -> None:
    m, k, n = net.size(), net.size(), net.size()
    batch = net.shape(1, 2)
    ta, tb = net.rng.randint(0, 1), net.rng.randint(0, 1)
    moved = net.rng.randint(0, 1) if op == "FusedMatMul" else 0
    b_moved = net.rng.randint(0, 1) if op == "FusedMatMul" else 0
    weighted = net.maybe() and not moved

    def operand(rows: int, columns: int, turn: int, move: int) -> list[int]:
        last = [columns, rows] if turn else [rows, columns]
        return [last[0], *batch, last[1]] if move else [*batch, *last]

    a = operand(m, k, ta, moved)
    b = ([n, k] if tb else [k, n]) if weighted else operand(k, n, tb, b_moved)
    flags = {"transBatchA": moved, "transBatchB": 0 if weighted else b_moved} if op == "FusedMatMul" else {}
    alpha = net.rng.choice([1.0, k**-0.5, 3.0])
    right = net.weight(*b) if weighted else net.data(b)
    _add(net, op, net.data(a), right, transA=ta, transB=tb, alpha=alpha, **flags)


@fused("FusedGemm")
def fused_gemm(net: Net) -> None:
    m, k, n = net.size(), net.size(), net.size()
    ta, tb = net.rng.randint(0, 1), net.rng.randint(0, 1)
    a, b = net.data([k, m] if ta else [m, k]), net.weight(*((n, k) if tb else (k, n)))
    bias = [net.weight(*net.rng.choice([(n,), (m, n), (1, n)]))] if net.maybe() else []
    _add(net, "FusedGemm", a, b, *bias, transA=ta, transB=tb, activation="Relu")


@fused("FusedConv")
def fused_conv(net: Net) -> None:
    groups, into, out = net.size(1, 1, 2, 4), net.size(1, 2, 3), net.size(1, 2, 3)
    b, h, w = net.size(1, 2), net.size(7, 8), net.size(7, 8)
    kernel = [net.size(1, 3), net.size(1, 3)]
    pads = [k // 2 for k in kernel] * 2
    x = net.data([b, groups * into, h, w])
    bias = net.weight(groups * out)
    added = [net.data([b, groups * out, h, w])] if net.maybe() else []
    weights = [net.weight(groups * out, into, *kernel), bias if added or net.maybe() else ""]
    attributes = {"group": groups, "kernel_shape": kernel, "pads": pads, "activation": "Relu"}
    _add(net, "FusedConv", x, *filter(None, weights), *added, **attributes)


@fused("Attention")
def attention(net: Net) -> None:
    b, s, i, h, d = net.size(1, 2, 3), net.size(), net.size(), net.size(1, 2, 3), net.size()
    v = net.size() if net.maybe() else d
    form = net.rng.choice(["plain", "mask", "index", "bias", "past"])
    if form == "past":
        v = d
    weights = [net.weight(i, h * (2 * d + v)), net.weight(h * (2 * d + v))]
    past = net.size(1, 2)
    more = {
        "plain": [],
        "mask": [net.input(net.rng.choice([[b, s], [b, s, s]]), np.int32)],
        "index": [net.const(np.full(b, s), np.int32)],
        "bias": ["", "", net.data(net.rng.choice([[b, h, s, s], [1, h, s, s], [1, 1, s, s]]))],
        "past": ["", net.data([2, b, h, past, d])],
    }[form]
    sizes = [h * d, h * d, h * v] if v != d or net.maybe() else None
    scale = net.rng.choice([None, d**-0.5])
    outputs = 2 if form == "past" else 1
    flag = net.rng.choice([None, 1])
    given = {"num_heads": h, "qkv_hidden_sizes": sizes, "scale": scale, "unidirectional": flag, "outputs": outputs}
    _add(net, "Attention", net.data([b, s, i]), *weights, *more, **given)


@fused("MultiHeadAttention")
def multi_head_attention(net: Net) -> None:
    b, s, h, d = net.size(1, 2, 3), net.size(), net.size(1, 2, 3), net.size()
    t, v = net.size(), net.size()
    form = net.rng.choice(["apart", "heads", "past"])
    bias = past = ""
    more: list[str] = []
    if form == "heads":
        q, k, value = net.data([b, s, h * d]), net.data([b, h, t, d]), net.data([b, h, t, d])
    else:
        t = s if form == "past" else t
        v = d if form == "past" else v
        q, k, value = net.data([b, s, h * d]), net.data([b, t, h * d]), net.data([b, t, h * v])
        bias = net.weight(h * (2 * d + v)) if net.maybe() else ""
    mask = net.input([b, t], np.int32) if net.maybe() and form == "apart" else ""
    scores = net.data(net.rng.choice([[b, h, s, t], [1, h, s, t]])) if net.maybe() and form == "apart" else ""
    outputs = 1
    if form == "past":
        past = net.size(1, 2)
        more = [net.data([b, h, past, d]), net.data([b, h, past, d])]
        outputs = 3
    given = [q, k, value, bias, mask, scores, *more]
    while not given[-1]:
        given.pop()
    _add(net, "MultiHeadAttention", *given, num_heads=h, outputs=outputs, scale=net.rng.choice([None, d**-0.5]))


@fused("DecoderMaskedMultiHeadAttention")
def decoder_masked_attention(net: Net) -> None:
    """One query, behind a cache or over keys and values of another sequence."""
    b, h, d, t = net.size(1, 2, 3), net.size(1, 2, 3), net.size(), net.size()
    across = net.maybe()
    if across:
        keys, past, total = [net.data([b, h, t, d]), net.data([b, h, t, d])], [], t
    else:
        before = net.size(1, 2)
        keys, total = [net.data([b, 1, h * d]), net.data([b, 1, h * d])], before + 1
        past = [net.data([b, h, before + 2, d]), net.data([b, h, before + 2, d]), net.const([before], np.int32)]
    mask = net.input([b, total], np.int32) if net.maybe() else ""
    scores = net.data(net.rng.choice([[b, h, 1, total], [1, h, 1, total]])) if net.maybe() and not across else ""
    bias = net.weight(3 * h * d) if net.maybe() and not across else ""
    given = [net.data([b, 1, h * d]), *keys, mask, scores, *(past or ["", "", ""]), "", "", bias]
    while not given[-1]:
        given.pop()
    outputs = 1 if across else 3
    scale = net.rng.choice([None, d**-0.5])
    shared = None if across else 1  # all that onnxruntime computes on a CPU
    more = {"outputs": outputs, "scale": scale, "past_present_share_buffer": shared}
    _add(net, "DecoderMaskedMultiHeadAttention", *given, num_heads=h, **more)


@fused("GroupQueryAttention")
def group_query_attention(net: Net) -> None:
    b, s, kv, group, half = net.size(1, 2), net.size(), net.size(1, 2, 3), net.size(1, 2, 3), 8
    h, d, past = kv * group, 2 * half, net.size(1, 2)
    first = net.maybe()
    b = b if first else 1  # what onnxruntime wants of several tokens behind a cache

    def data(*shape: int) -> str:
        return net.add("Mul", net.input([b, *shape]), net.weight(*shape[:1] * (len(shape) > 2), 1, shape[-1]))

    apart = net.maybe()
    qkv = [data(s, h * d), data(s, kv * d), data(s, kv * d)] if apart else [data(s, (h + 2 * kv) * d), "", ""]
    cache: list[str] = ["", ""] if first else [data(kv, past, d), data(kv, past, d)]
    total = s if first else s + past
    lengths = [net.const(np.full(b, total - 1), np.int32), net.const(total, np.int32)]
    turned = net.maybe()
    caches = [net.weight(64, half), net.weight(64, half)] if turned else []
    _add(
        net,
        "GroupQueryAttention",
        *qkv,
        *cache,
        *lengths,
        *caches,
        num_heads=h,
        kv_num_heads=kv,
        do_rotary=int(turned),
        rotary_interleaved=net.rng.randint(0, 1) if turned else None,
        scale=net.rng.choice([None, d**-0.5]),
        outputs=3,
    )


@fused("RotaryEmbedding")
def rotary(net: Net) -> None:
    b, h, s, half = net.size(1, 2), net.size(1, 2, 3), net.size(), net.size(2, 4)
    d = 2 * half
    flat = net.maybe()
    turned = half if half % 2 == 0 and net.maybe() else None
    x = net.data([b, s, h * d] if flat else [b, h, s, d])
    positions = net.input([b, s], np.int64) if net.maybe() else net.const([0], np.int64)
    heads = h if turned or net.maybe() else None
    caches = [net.weight(64, (turned or d) // 2), net.weight(64, (turned or d) // 2)]
    attributes = {"num_heads": heads, "rotary_embedding_dim": turned, "interleaved": net.rng.randint(0, 1)}
    _add(net, "RotaryEmbedding", x, positions, *caches, **attributes)


# -- norms, biases and convolutions ---------------------------------------------------------------------------


@fused("GroupNorm", "SkipGroupNorm")
def group_norm(net: Net, op: str) -> None:
    groups, per_group = net.size(1, 2, 4), net.size(1, 2, 3)
    n, c, h, w = net.size(1, 2), groups * per_group, net.size(), net.size()
    last = net.maybe()
    shape = [n, h, w, c] if last else [n, c, h, w]
    more: list[str] = []
    if op == "SkipGroupNorm":
        skip = net.rng.choice([shape, [n, c], [n, 1, 1, c] if last else [n, c, 1, 1]])
        more = [net.data(skip), *([net.weight(c)] if net.maybe() else [])]
    given = {"groups": groups, "channels_last": 1 if last else 0, "activation": net.rng.randint(0, 1)}
    _add(net, op, net.data(shape), net.weight(c), net.weight(c), *more, outputs=2 if more else 1, **given)


@fused("GatedRMSNorm")
def gated_rms_norm(net: Net) -> None:
    b, t, h, d = net.size(1, 2), net.size(), net.size(1, 2, 3), net.size()
    _add(net, "GatedRMSNorm", net.data([b, t, h * d]), net.weight(d), net.data([b, t, h * d]))


@fused("BiasAdd", "BiasSplitGelu")
def bias_and_more(net: Net, op: str) -> None:
    n, s, c = net.size(1, 2), net.size(), 2 * net.size()
    skip = [net.data([n, s, c])] if op == "BiasAdd" else []
    _add(net, op, net.data([n, s, c]), net.weight(c), *skip)


@fused("BiasSplitGelu")
def gated_layer(net: Net) -> None:
    d, f = net.size(), net.size()
    x = net.add("MatMul", net.data([1, net.size(), d]), net.weight(d, 2 * f))
    net.add("MatMul", _add(net, "BiasSplitGelu", x, net.weight(2 * f)), net.weight(f, d))


@fused("NhwcConv", "NhwcFusedConv")
def nhwc_conv(net: Net, op: str) -> None:
    groups, into, out = net.size(1, 1, 2, 4), net.size(1, 2, 3), net.size(1, 2, 3)
    kernel = [net.size(1, 3), net.size(1, 3)]
    n, h, w = net.size(1, 2), net.size(7, 8), net.size(7, 8)
    pads = [k // 2 for k in kernel] * 2
    x = net.data([n, h, w, groups * into])
    bias = net.weight(groups * out) if net.maybe() else ""
    added = net.data([n, h, w, groups * out]) if op == "NhwcFusedConv" and net.maybe() else ""
    given = [x, net.weight(groups * out, into, *kernel), bias, added]
    while not given[-1]:
        given.pop()
    activation = "Relu" if op == "NhwcFusedConv" and net.maybe() else None
    _add(net, op, *given, group=groups, kernel_shape=kernel, pads=pads, activation=activation)


# -- packed tokens, relative positions, experts ---------------------------------------------------------------


@fused("PackedAttention", "PackedMultiHeadAttention")
def packed_attention(net: Net, op: str) -> None:
    b, s, h, d, i = net.size(2, 3), net.size(), net.size(1, 2, 3), net.size(), net.size()
    tokens = b * s
    v = net.size() if net.maybe() else d
    rows = [net.input([b, s], np.int32), net.const(np.arange(b + 1) * s, np.int32)]
    scores = [net.data(net.rng.choice([[b, h, s, s], [1, h, s, s], [1, 1, s, s]]))] if net.maybe() else []
    scale = net.rng.choice([None, d**-0.5])
    if op == "PackedMultiHeadAttention":
        if net.maybe():
            parts = [net.data([tokens, h * d]), net.data([tokens, h * d]), net.data([tokens, h * v])]
        else:
            parts = [net.data([tokens, h, 3, d]), "", ""]
        _add(net, op, *parts, "", *rows, *scores, num_heads=h, scale=scale)
        return
    sizes = [h * d, h * d, h * v] if v != d or net.maybe() else None
    columns = h * (2 * d + v)
    given = {"num_heads": h, "qkv_hidden_sizes": sizes, "scale": scale}
    _add(net, op, net.data([tokens, i]), net.weight(i, columns), net.weight(columns), *rows, *scores, **given)


@fused("RemovePadding", "RestorePadding")
def padding(net: Net, op: str) -> None:
    """A layer of attention over tokens without their padding."""
    b, s, h, d, i = net.size(2, 3), net.size(), net.size(1, 2, 3), net.size(), net.size()
    x, counts = net.data([b, s, i]), net.const(net.numbers.integers(1, s + 1, b), np.int32)
    tokens, places, ends, _ = _add(net, "RemovePadding", x, counts, outputs=4)
    net.nodes[-1].output[3] = ""
    weights = [net.weight(i, 3 * h * d), net.weight(3 * h * d)]
    made = _add(net, "PackedAttention", tokens, *weights, places, ends, num_heads=h)
    back = _add(net, "RestorePadding", made, places)
    net.add("MatMul", back, net.weight(h * d, net.size()))


@fused("RelativePositionBias")
def relative_position_bias(net: Net) -> None:
    b, h, s, d = net.size(1, 2), net.size(), net.size(), net.size()
    length = net.const(s, np.int64)
    scores = net.data([b, h, s, s])
    if net.maybe():
        length = net.add("Gather", net.add("Shape", scores), net.const(2, np.int64))
    made = _add(net, "RelativePositionBias", net.weight(8, h), length, length, max_distance=16, is_bidirectional=1)
    net.add("MatMul", net.add("Add", scores, made), net.data([b, h, s, d]))


@fused("GatedRelativePositionBias")
def gated_relative_position_bias(net: Net) -> None:
    b, s, h, d, n = net.size(1, 2), net.size(), net.size(1, 2, 3), net.size(), 2 * net.size()
    packed = net.maybe()
    x = net.data([b * s, h * d] if packed else [b, s, h * d])
    gates = [net.weight(d, n), net.weight(n), net.weight(1, h, 1, 1)]
    places = [net.input([b, s], np.int32)] if packed else []
    given = [net.weight(h * d), net.data([1, h, s, s]), *gates, *places]
    _add(net, "GatedRelativePositionBias", x, *given, num_heads=h)


@fused("MoE")
def experts(net: Net) -> None:
    """Plain, or gated: in turns, one behind the other, or by a matrix of its own."""
    d, f, e = net.size(), net.size(), net.size(2, 3, 4)
    rows = [net.size(), net.size()] if net.maybe() else [net.size()]
    form = net.rng.choice(["plain", "in turns", "behind", "apart"])
    made = 2 * f if form in ("in turns", "behind") else f
    x = net.data([*rows, d])
    router = net.add("MatMul", net.add("Reshape", x, net.ints(int(np.prod(rows)), d)), net.weight(d, e))
    biased = net.maybe()
    given = [net.weight(e, made, d), net.weight(e, made) if biased else ""]
    given += [net.weight(e, d, f), net.weight(e, d) if biased else ""]
    if form == "apart":
        given += [net.weight(e, f, d), net.weight(e, f) if biased else ""]
    while not given[-1]:
        given.pop()
    kind = {"activation_type": "swiglu", "swiglu_fusion": {"in turns": 1, "behind": 2, "apart": 0}.get(form)}
    if form == "plain":
        kind = {"activation_type": net.rng.choice(["relu", "silu"])}
    _add(net, "MoE", x, router, *given, k=net.rng.randint(1, 2), **kind)
