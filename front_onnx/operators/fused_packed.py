"""Attention of domain com.microsoft over tokens packed without padding: [tokens, width] instead of [B, S, width].

Source: onnxruntime's docs/ContribOperators.md.
"""

from __future__ import annotations

from front_onnx.axes.holds import Hold, Why
from front_onnx.axes.size import Axis, Conflict, size_of
from front_onnx.operators.context import RuleContext
from front_onnx.operators.fused import MICROSOFT
from front_onnx.operators.fused_attention import meet, note_heads, projected, split_heads
from front_onnx.operators.record import Trait, operator

__all__: list[str] = []


def _one_more(count: int) -> int:
    return count + 1


def _ends(ctx: RuleContext, batch: Axis) -> Axis:
    """One more than there are rows: where each begins, and where the last ends."""
    return ctx.derived(batch, size_of(batch) + 1, Hold(Why.COMPUTED), "ends", follow=_one_more)


def _packed(ctx: RuleContext, heads: Axis, places: int) -> None:
    """Places of the tokens [B, S], sums of the lengths [B + 1], and perhaps a bias [B, h, S, S]."""
    batch, sequence = ctx.axes(places)
    (ends,) = ctx.axes(places + 1)
    if ctx.is_sized(batch) or ctx.is_sized(ends):
        ctx.unify(ends, _ends(ctx, batch))
    ctx.at_most(ctx.axes(0)[0], (*batch, *sequence))
    if places + 2 in ctx:
        meet(ctx, ctx.axes(places + 2), (batch, heads, sequence, sequence))


@operator("PackedAttention", domain=MICROSOFT, traits=Trait.ATTENDS | Trait.CONTRACTS | Trait.PARAMETERS)
def packed_attention(ctx: RuleContext) -> None:
    """X [tokens, I] by W [I, q + k + v] -> [tokens, v]."""
    tokens, inner = ctx.axes(0)
    heads, _, v_size = projected(ctx, inner)
    _packed(ctx, heads, 3)
    ctx.out((tokens, (*heads, *v_size)))


@operator("PackedMultiHeadAttention", domain=MICROSOFT, traits=Trait.ATTENDS | Trait.PARAMETERS)
def packed_multi_head_attention(ctx: RuleContext) -> None:
    """Q [tokens, h*d], K [tokens, h*d], V [tokens, h*v], or all in Q [tokens, h, 3, d] -> [tokens, h*v]."""
    if 3 in ctx:
        raise Conflict("packed attention with a bias of its projections")
    count = ctx.attr("num_heads")
    if 1 in ctx:
        tokens, width = ctx.axes(0)
        heads, size = split_heads(ctx, width, count)
        v_heads, v_size = split_heads(ctx, ctx.axes(2)[1], count)
        ctx.unify_shapes(ctx.axes(1), (tokens, width))
        ctx.unify_shapes(ctx.axes(2)[:1], (tokens,))
        ctx.unify(heads, v_heads)
    else:
        tokens, heads, three, size = ctx.axes(0)
        if size_of(three) != 3:
            raise Conflict(f"{size_of(three)} instead of queries, keys and values")
        ctx.keep(three, Why.COUNT, "queries, keys and values")
        v_size = size
    ctx.tie_attribute("num_heads", heads)
    note_heads(ctx, heads, size)
    _packed(ctx, heads, 4)
    ctx.out((tokens, (*heads, *v_size)))


@operator("RemovePadding", domain=MICROSOFT, indices=(1,))
def remove_padding(ctx: RuleContext) -> None:
    """X [B, S, d], the tokens of each row [B] -> [tokens, d], their places [B, S], ends [B + 1], the most [1]."""
    batch, sequence, width = ctx.axes(0)
    ctx.unify_shapes(ctx.axes(1), (batch,))
    shapes = ((ctx.records.unknown(Hold(Why.COUNTED)), width), (batch, sequence), (_ends(ctx, batch),), ((),))
    for slot, shape in enumerate(shapes):
        ctx.out(shape, slot=slot)


@operator("RestorePadding", domain=MICROSOFT, indices=(1,))
def restore_padding(ctx: RuleContext) -> None:
    """Tokens [tokens, d] put to their places [B, S] -> [B, S, d]."""
    tokens, width = ctx.axes(0)
    batch, sequence = ctx.axes(1)
    ctx.at_most(tokens, (*batch, *sequence))
    ctx.out((batch, sequence, width))
