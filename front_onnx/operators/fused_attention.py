"""Whole attention operators of domain com.microsoft: projections fused or apart, heads as attributes, caches.

Source: onnxruntime's docs/ContribOperators.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from front_onnx.axes.holds import Hold, Why
from front_onnx.axes.numbers import Extent, value_of
from front_onnx.axes.size import Axis, AxisRole, Conflict, size_of
from front_onnx.operators.attention import group_heads, turn
from front_onnx.operators.context import RuleContext
from front_onnx.operators.fused import MICROSOFT
from front_onnx.operators.record import Trait, operator

__all__ = ["meet", "note_heads", "projected", "split_heads"]


def meet(ctx: RuleContext, axes: Sequence[Axis], wanted: Sequence[Axis]) -> None:
    """Axes of a mask or a bias: 1, or one with what they cover."""
    for axis, other in zip(axes, wanted, strict=True):
        if size_of(axis) != 1:
            ctx.unify(axis, other)


def _cover(ctx: RuleContext, slot: int, batch: Axis, sequence: Axis, total: Axis) -> None:
    """A mask: [B, T], [B, S, T], one over positions of any length, or places of ends and starts, 1, 2 or 3 per row."""
    mask = ctx.axes(slot)
    if len(mask) == 2:
        meet(ctx, mask, (batch, total))
    elif len(mask) == 3:
        meet(ctx, mask, (batch, sequence, total))
    elif len(mask) == 1:
        forms = {0: 1, size_of(batch): 2, 2 * size_of(batch) + 2: 3}
        count = forms.get(size_of(mask[0]) - size_of(batch))
        if count is None:
            raise Conflict(f"a mask of {size_of(mask[0])} for a batch of {size_of(batch)}")
        ctx.require(mask[0], lambda rows: count * rows + (2 if count == 3 else 0), Extent(batch))


def _lengthened(ctx: RuleContext, past: Axis, length: Axis) -> Axis:
    return ctx.algebra.total([past, length]) if size_of(past) else length


def split_heads(ctx: RuleContext, width: Axis, count: int) -> tuple[Axis, Axis]:
    """(heads, size of each) of an axis."""
    if size_of(width) % count:
        raise Conflict(f"{size_of(width)} channels are no {count} heads")
    return ctx.algebra.divide(width, size_of(width) // count)


def note_heads(ctx: RuleContext, heads: Axis, size: Axis) -> None:
    """Note heads and the size of each, which the scale may be a root of."""
    ctx.role(heads, AxisRole.BATCH)
    ctx.role(size, AxisRole.INNER)
    ctx.tie_root("scale", size)


def projected(ctx: RuleContext, inner: Axis) -> tuple[Axis, Axis, Axis]:
    """(heads, size of a query, size of a value) of what W [I, q + k + v] and a bias make of I."""
    rows, columns = ctx.axes(1)
    ctx.unify(inner, rows)
    ctx.role(inner, AxisRole.CONTRACTED)
    ctx.contract(1, 0)
    if 2 in ctx:
        ctx.unify_shapes(ctx.axes(2), (columns,))
    given = ctx.attr("qkv_hidden_sizes") or [size_of(columns) // 3] * 3
    q, rest = ctx.algebra.cut(columns, given[0])
    k, v = ctx.algebra.cut(rest, given[1])
    ctx.unify(q, k)
    if ctx.attr("qkv_hidden_sizes"):
        for place, axis in enumerate((q, k, v)):
            ctx.tie_attribute("qkv_hidden_sizes", axis, place)
    else:
        ctx.unify(q, v)
    heads, size = split_heads(ctx, q, ctx.attr("num_heads"))
    v_heads, v_size = split_heads(ctx, v, ctx.attr("num_heads"))
    ctx.unify(heads, v_heads)
    ctx.tie_attribute("num_heads", heads)
    note_heads(ctx, heads, size)
    return heads, size, v_size


@operator("Attention", domain=MICROSOFT, traits=Trait.ATTENDS | Trait.CONTRACTS | Trait.PARAMETERS)
def attention(ctx: RuleContext) -> None:
    """X [B, S, I] by W [I, q + k + v]; mask, past [2, B, h, P, d], bias [B, h, S, P + S] -> [B, S, v], present."""
    if ctx.attr("past_present_share_buffer", 0) or ctx.attr("rotary_embedding_dim", 0):
        raise Conflict("attention with a shared buffer or a part that is turned")
    batch, sequence, inner = ctx.axes(0)
    heads, size, v_size = projected(ctx, inner)
    total = sequence
    if 4 in ctx:
        pair, past_batch, past_heads, past, past_size = ctx.axes(4)
        ctx.keep(pair, Why.COUNT, "keys and values")
        for axis, other in ((past_batch, batch), (past_heads, heads), (past_size, size), (size, v_size)):
            ctx.unify(axis, other)
        total = _lengthened(ctx, past, sequence)
    if 3 in ctx:
        _cover(ctx, 3, batch, sequence, total)
    if 5 in ctx:
        meet(ctx, ctx.axes(5), (batch, heads, sequence, total))
    ctx.out((batch, sequence, (*heads, *v_size)))
    if len(ctx.outputs) > 1:
        pair = ctx.axes(4)[0] if 4 in ctx else ctx.algebra.new(2, Hold(Why.COUNT, detail="keys and values"))
        ctx.out((pair, batch, heads, total, size), slot=1)


@operator("MultiHeadAttention", domain=MICROSOFT, traits=Trait.ATTENDS | Trait.PARAMETERS)
def multi_head_attention(ctx: RuleContext) -> None:
    """Q [B, S, h*d], K [B, L, h*d], V [B, L, h*v], the last two also [B, h, L, d] -> [B, S, h*v], present K, V."""
    if any(slot in ctx for slot in (8, 9)):
        raise Conflict("attention with a buffer of beams")
    _attend(ctx, bias=3, mask=4, scores=5, past=6)


@operator("DecoderMaskedMultiHeadAttention", domain=MICROSOFT, traits=Trait.ATTENDS | Trait.PARAMETERS, numbers=(7, 8))
def decoder_masked_multi_head_attention(ctx: RuleContext) -> None:
    """As MultiHeadAttention, for one query; the cache may be a buffer that is filled up to a length."""
    if 9 in ctx:
        raise Conflict("attention with a buffer of beams")
    if ctx.is_sized(ctx.axes(0)[1]) and size_of(ctx.axes(0)[1]) > 1:
        raise Conflict(f"{size_of(ctx.axes(0)[1])} queries instead of one")
    if 1 not in ctx:
        raise Conflict("attention with queries, keys and values in one tensor")
    _attend(ctx, bias=10, mask=3, scores=4, past=5)


def _filled(ctx: RuleContext, mask: int, scores: int, past: int) -> Axis:
    """As many positions as a shared buffer holds now, which masks and biases tell: one more than before."""
    found = [ctx.axes(slot)[-1] for slot in (mask, scores) if slot in ctx]
    total = found[0] if found else ctx.records.unknown(Hold(Why.COUNTED))
    before = ctx.value(past)
    if found and before is not None:
        ctx.require(total, lambda length: int(length) + 1, before.reshape(-1)[0])
    return total


def _attend(ctx: RuleContext, *, bias: int, mask: int, scores: int, past: int) -> None:
    """Q, K and V that are projected before, with what else an operator takes at these inputs."""
    if any(len(ctx.axes(slot)) == 5 for slot in (0, 1, 2) if slot in ctx):
        raise Conflict("attention with queries, keys and values in one tensor")
    count = ctx.attr("num_heads")
    batch, sequence, width = ctx.axes(0)
    heads, size = split_heads(ctx, width, count)
    ctx.tie_attribute("num_heads", heads)
    length, v_size = sequence, size
    for slot in (1, 2):
        if slot not in ctx:
            continue
        axes = ctx.axes(slot)
        if len(axes) == 4:
            other, its_heads, span, its_size = axes
            ctx.unify(its_size, size)
        else:
            other, span, width = axes
            its_heads, its_size = split_heads(ctx, width, count)
        ctx.unify(other, batch)
        ctx.unify(its_heads, heads)
        if slot == 1:
            ctx.unify(its_size, size)
            length = span
        else:
            ctx.unify(span, length)
            v_size = its_size
    if bias in ctx:
        (columns,) = ctx.axes(bias)
        q, rest = ctx.algebra.cut(columns, size_of(heads) * size_of(size))
        k, v = ctx.algebra.cut(rest, size_of(heads) * size_of(size))
        for axis, its_size in ((q, size), (k, size), (v, v_size)):
            ctx.unify(axis, (*heads, *its_size))
    note_heads(ctx, heads, size)
    held = total = length
    if past in ctx:
        before = ctx.axes(past)[2]
        ctx.unify(size, v_size)  # caches hold heads of one size
        ctx.unify_shapes(ctx.axes(past), (batch, heads, before, size))
        ctx.unify_shapes(ctx.axes(past + 1), (batch, heads, before, v_size))
        if ctx.attr("past_present_share_buffer", 0):
            ctx.hold(before, Why.INDEXED)
            held, total = before, _filled(ctx, mask, scores, past + 2)
            ctx.at_most(total, held)
        else:
            held = total = _lengthened(ctx, before, length)
    if mask in ctx:
        _cover(ctx, mask, batch, sequence, total)
    if scores in ctx:
        meet(ctx, ctx.axes(scores), (batch, heads, sequence, total))
    ctx.out((batch, sequence, (*heads, *v_size)))
    ctx.out((batch, heads, held, size), slot=1)
    ctx.out((batch, heads, held, v_size), slot=2)
    ctx.out((batch, heads, sequence, total), slot=3)


@operator("GroupQueryAttention", domain=MICROSOFT, traits=Trait.ATTENDS | Trait.PARAMETERS, numbers=(5, 6))
def group_query_attention(ctx: RuleContext) -> None:
    """Q [B, S, h*d] with K and V [B, S, k*d], or all in Q; past [B, k, P, d] -> [B, S, h*d], present K and V."""
    if any(slot in ctx for slot in (12, 13)) or ctx.attr("sliding_window_cache", 0):
        raise Conflict("attention with a quantised or a sliding cache")
    batch, sequence, width = ctx.axes(0)
    count, kv_count = ctx.attr("num_heads"), ctx.attr("kv_num_heads")
    if 1 in ctx:
        pieces = [width, ctx.axes(1)[2], ctx.axes(2)[2]]
        for slot in (1, 2):
            ctx.unify_shapes(ctx.axes(slot)[:2], (batch, sequence))
    else:
        one = size_of(width) // (count + 2 * kv_count)
        q, rest = ctx.algebra.cut(width, count * one)
        pieces = [q, *ctx.algebra.cut(rest, kv_count * one)]
    heads, size = split_heads(ctx, pieces[0], count)
    kv_heads, _ = split_heads(ctx, pieces[1], kv_count)
    for piece in pieces[1:]:
        ctx.unify(piece, (*kv_heads, *size))
    group_heads(ctx, heads, kv_heads)
    ctx.require_that(lambda now: now % 8 == 0, Extent(size))  # onnxruntime's kernels want whole vectors
    ctx.tie_attribute("num_heads", heads)
    ctx.tie_attribute("kv_num_heads", kv_heads)
    note_heads(ctx, heads, size)
    total = sequence
    if 3 in ctx:
        past = ctx.axes(3)[2]
        for slot in (3, 4):
            ctx.unify_shapes(ctx.axes(slot), (batch, kv_heads, past, size))
        total = _lengthened(ctx, past, sequence)
    ctx.unify(ctx.axes(5)[0], batch)
    given = ctx.value(6)
    if given is not None and value_of(given.flat[0]) == size_of(total):
        ctx.tie(given.flat[0], total)
    if 7 in ctx:
        turn(ctx, size, (7, 8), interleaved=bool(ctx.attr("rotary_interleaved", 0)))
    if 9 in ctx:
        meet(ctx, ctx.axes(9), (batch, sequence))
    if 10 in ctx:
        meet(ctx, ctx.axes(10), (batch, heads, sequence, total))
    if 11 in ctx:
        ctx.unify_shapes(ctx.axes(11), (heads,))
    for slot in (14, 15):
        if slot in ctx:
            ctx.unify_shapes(ctx.axes(slot), (size,))
    ctx.out((batch, sequence, (*heads, *size)))
    for slot in (1, 2):
        ctx.out((batch, kv_heads, total, size), slot=slot)
    ctx.out((batch, heads, sequence, total), slot=3)


@operator("RotaryEmbedding", domain=MICROSOFT, traits=Trait.PARAMETERS)
def rotary_embedding(ctx: RuleContext) -> None:
    """X [B, S, h*d] or [B, h, S, d] turned by caches [M, d/2] at positions [B, S] or from one on."""
    x = ctx.axes(0)
    if len(x) == 4:
        batch, heads, sequence, size = x
    else:
        batch, sequence, width = x
        part = 2 * size_of(ctx.axes(2)[1])
        heads, size = split_heads(ctx, width, ctx.attr("num_heads", 0) or size_of(width) // part)
    if ctx.attr("num_heads", 0):
        ctx.tie_attribute("num_heads", heads)
    turned = ctx.attr("rotary_embedding_dim", 0)
    if turned:
        size, _ = ctx.algebra.cut(size, turned) if turned < size_of(size) else (size, ())
        ctx.tie_attribute("rotary_embedding_dim", size)
    positions = ctx.axes(1)
    if len(positions) == 2:
        ctx.unify_shapes(positions, (batch, sequence))
    turn(ctx, size, (2, 3), interleaved=bool(ctx.attr("interleaved", 0)))
    ctx.require_that(lambda held, count: count <= held, Extent(ctx.axes(2)[0]), Extent(sequence))
    ctx.out(x)
