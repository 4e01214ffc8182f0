"""Relative positions of domain com.microsoft, as a bias of attention's scores.

Sources: onnxruntime's docs/ContribOperators.md; for how a table lies in memory, its transformers/onnx_model_t5.py.
"""

from __future__ import annotations

from front_onnx.axes.holds import Why
from front_onnx.axes.size import AxisRole, Conflict, size_of
from front_onnx.operators.context import RuleContext
from front_onnx.operators.fused import MICROSOFT
from front_onnx.operators.record import Trait, operator

__all__: list[str] = []


@operator("RelativePositionBias", domain=MICROSOFT, traits=Trait.PARAMETERS, numbers=(1, 2))
def relative_position_bias(ctx: RuleContext) -> None:
    """A table [buckets, h], lengths S and T -> [1, h, S, T].

    The table is written with the heads in front, whatever its shape says: neither axis of it can be resampled.
    """
    buckets, heads = ctx.axes(0)
    ctx.keep(buckets, Why.COUNT, "buckets of its table")
    ctx.keep(heads, Why.COUNT, "heads of its table")
    ctx.role(buckets, AxisRole.VOCABULARY)
    ctx.role(heads, AxisRole.BATCH)
    ctx.table(0)
    ctx.out(((), heads, *(ctx.axis_of(ctx.values(slot).reshape(-1)[0]) for slot in (1, 2))))


@operator("GatedRelativePositionBias", domain=MICROSOFT, traits=Trait.CONTRACTS | Trait.PARAMETERS)
def gated_relative_position_bias(ctx: RuleContext) -> None:
    """Q [B, S, h*d] and its bias, R [1, h, S, S], W [d, 2*n], its bias, a gain [1, h, 1, 1] -> [B, h, S, S].

    Packed queries are [tokens, h*d]; then places of the tokens [B, S] say what was in which row.
    """
    count = ctx.attr("num_heads")
    *rows, width = ctx.axes(0)
    if size_of(width) % count:
        raise Conflict(f"{size_of(width)} channels are no {count} heads")
    heads, size = ctx.algebra.divide(width, size_of(width) // count)
    ctx.tie_attribute("num_heads", heads)
    ctx.role(heads, AxisRole.BATCH)
    ctx.unify_shapes(ctx.axes(1), (width,))
    summed, made = ctx.axes(3)
    ctx.unify(summed, size)
    ctx.role(size, AxisRole.CONTRACTED)
    ctx.sums(3, 0)
    ctx.contract(3, 0)
    pair, _ = ctx.algebra.divide(made, size_of(made) // 2)
    ctx.keep(pair, Why.COUNT, "gates")
    ctx.unify_shapes(ctx.axes(4), (made,))
    ctx.unify(ctx.axes(5)[1], heads)
    batch, sequence = ctx.axes(6) if 6 in ctx else rows
    if 6 in ctx:
        ctx.at_most(rows[0], (*batch, *sequence))
    ctx.unify_shapes(ctx.axes(2), ((), heads, sequence, sequence))
    ctx.out((batch, heads, sequence, sequence))
