"""Whole attention operators of opset 23."""

from __future__ import annotations

from front_onnx.axes.holds import Why
from front_onnx.axes.numbers import Extent
from front_onnx.axes.size import Axis, AxisRole, size_of
from front_onnx.operators.context import RuleContext, Shape
from front_onnx.operators.record import Trait, operator

__all__ = ["group_heads", "turn"]


def _split_heads(ctx: RuleContext, axes: Shape, attribute: str) -> tuple[Axis, Axis, Axis, Axis]:
    """(batch, heads, sequence, head size) of a 4-D tensor, or of a 3-D one with the heads given by an attribute."""
    if len(axes) == 4:
        if ctx.attr(attribute, 0):
            ctx.tie_attribute(attribute, axes[1])
        return axes[0], axes[1], axes[2], axes[3]
    batch, sequence, width = axes
    heads, size = ctx.algebra.divide(width, size_of(width) // ctx.attr(attribute))
    ctx.tie_attribute(attribute, heads)
    return batch, heads, sequence, size


def group_heads(ctx: RuleContext, heads: Axis, kv_heads: Axis) -> None:
    """Query heads are key and value heads, each repeated (grouped queries)."""
    repeats = size_of(heads) // size_of(kv_heads)
    if repeats > 1:
        ctx.unify(heads, (*kv_heads, *ctx.algebra.new(repeats)))
        _, group = ctx.algebra.divide(heads, repeats)
        ctx.role(group, AxisRole.REPEAT)
    else:
        ctx.unify(heads, kv_heads)


def turn(ctx: RuleContext, size: Axis, caches: tuple[int, int], *, interleaved: bool) -> None:
    """A part of a head turned by caches [positions, size / 2]; the pairs are halves, or neighbours if interleaved."""
    if interleaved:
        half, pair = ctx.algebra.divide(size, 2)
        ctx.keep(pair, Why.COUNT, "angles of a pair")
    else:
        half, other = ctx.algebra.cut(size, size_of(size) // 2)
        ctx.unify(half, other)
    cos, sin = (ctx.axes(slot) for slot in caches)
    ctx.unify(cos[-1], half)
    ctx.unify(sin[-1], half)
    if len(cos) == 2:
        ctx.unify(cos[0], sin[0])
    if ctx.constant(caches[0]):
        ctx.keep(half, Why.COSINES)


@operator("Attention", traits=Trait.ATTENDS | Trait.PARAMETERS)
def attention(ctx: RuleContext) -> None:
    """Q [B, h, S, d], K [B, k, T, d], V [B, k, T, v] -> Y [B, h, S, v]; h is a multiple of k (grouped queries)."""
    flat = len(ctx.axes(0)) == 3
    batch, heads, sequence, size = _split_heads(ctx, ctx.axes(0), "q_num_heads")
    k_batch, k_heads, length, k_size = _split_heads(ctx, ctx.axes(1), "kv_num_heads")
    v_batch, v_heads, v_length, v_size = _split_heads(ctx, ctx.axes(2), "kv_num_heads")
    for left, right in (
        (batch, k_batch),
        (batch, v_batch),
        (size, k_size),
        (k_heads, v_heads),
        (length, v_length),
    ):
        ctx.unify(left, right)
    group_heads(ctx, heads, k_heads)
    ctx.role(heads, AxisRole.BATCH)
    ctx.role(size, AxisRole.INNER)
    ctx.tie_root("scale", size)
    total = length
    if 4 in ctx:
        past = ctx.axes(4)[2]
        ctx.unify_shapes(ctx.axes(4), (batch, k_heads, past, size))
        ctx.unify_shapes(ctx.axes(5), (batch, k_heads, past, v_size))
        total = ctx.algebra.total([past, length]) if size_of(past) else length
    if 3 in ctx:
        ctx.broadcast((batch, heads, sequence, total), ctx.axes(3))
    ctx.out((batch, sequence, (*heads, *v_size)) if flat else (batch, heads, sequence, v_size))
    for slot, width in ((1, size), (2, v_size)):
        ctx.out((batch, k_heads, total, width), slot=slot)
    ctx.out((batch, heads, sequence, total), slot=3)


@operator("RotaryEmbedding", traits=Trait.PARAMETERS)
def rotary_embedding(ctx: RuleContext) -> None:
    """X [B, h, S, d] turned by caches of d/2 angles; the pairs are halves, or neighbours if interleaved."""
    axes = ctx.axes(0)
    batch, _, sequence, size = _split_heads(ctx, axes, "num_heads")
    turned = ctx.attr("rotary_embedding_dim") or size_of(size)
    if ctx.attr("rotary_embedding_dim"):
        size, _ = ctx.algebra.cut(size, turned) if turned < size_of(size) else (size, ())
        ctx.tie_attribute("rotary_embedding_dim", size)
    turn(ctx, size, (1, 2), interleaved=bool(ctx.attr("interleaved")))
    for slot in (1, 2) if 3 not in ctx else ():
        ctx.unify_shapes(ctx.axes(slot)[:-1], (batch, sequence))
    if 3 in ctx:
        ctx.unify_shapes(ctx.axes(3), (batch, sequence))
        ctx.require_that(lambda positions, count: count <= positions, Extent(ctx.axes(1)[0]), Extent(sequence))
    ctx.out(axes)
