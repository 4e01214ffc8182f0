"""Mixtures of experts of domain com.microsoft: the weights of all experts in one tensor each.

Source: onnxruntime's docs/ContribOperators.md.
"""

from __future__ import annotations

from front_onnx.axes.holds import Why
from front_onnx.axes.numbers import Extent
from front_onnx.axes.size import Axis, AxisRole, size_of
from front_onnx.operators.context import RuleContext
from front_onnx.operators.fused import MICROSOFT
from front_onnx.operators.record import Trait, operator

__all__: list[str] = []

_INTERLEAVED, _STACKED = 1, 2


def _inner(ctx: RuleContext, rows: Axis) -> Axis:
    """The inner size of an expert; a gate and what it gates may share one matrix, in turns or one behind the other."""
    fusion = ctx.attr("swiglu_fusion", 0) if ctx.attr("activation_type", "relu") == "swiglu" else 0
    if fusion == _INTERLEAVED:
        inner, pair = ctx.algebra.divide(rows, 2)
        ctx.keep(pair, Why.COUNT, "values of a gated pair")
        return inner
    if fusion == _STACKED:
        inner, other = ctx.algebra.cut(rows, size_of(rows) // 2)
        ctx.unify(inner, other)
        return inner
    return rows


@operator("MoE", domain=MICROSOFT, traits=Trait.CONTRACTS | Trait.PARAMETERS)
def mixture(ctx: RuleContext) -> None:
    """X [..., d], router [T, E]; W1 [E, f, d], W2 [E, d, f], W3 [E, f, d] with a bias each -> [..., d]."""
    x = ctx.axes(0)
    tokens, experts = ctx.axes(1)
    ctx.unify(tuple(var for axis in x[:-1] for var in axis), tokens)
    ctx.hold(experts, Why.INDEXED)
    chosen = ctx.attr("k", 1)
    ctx.require_that(lambda count: chosen <= count, Extent(experts))
    rows = ctx.axes(2)[1]
    inner = _inner(ctx, rows)
    for slot, made, summed in ((2, rows, x[-1]), (4, x[-1], inner), (6, inner, x[-1])):
        if slot not in ctx:
            continue
        ctx.unify_shapes(ctx.axes(slot), (experts, made, summed))
        ctx.role(summed, AxisRole.CONTRACTED)
        ctx.sums(slot, 2)
        ctx.contract(slot, 2)
        if slot + 1 in ctx:
            ctx.unify_shapes(ctx.axes(slot + 1), (experts, made))
    ctx.out(x)
