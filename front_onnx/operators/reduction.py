"""Reductions over axes; products and extremes of sizes are followed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import add, mul

import numpy as np

from front_onnx.axes.holds import Why
from front_onnx.axes.numbers import computed
from front_onnx.axes.size import AxisRole
from front_onnx.operators.context import RuleContext
from front_onnx.operators.record import Trait, operator

__all__: list[str] = []

_FUNCTIONS: dict[str, tuple[str, Callable[..., int | float | bool]]] = {
    "ReduceSum": ("add", add),
    "ReduceProd": ("mul", mul),
    "ReduceMax": ("max", max),
    "ReduceMin": ("min", min),
}


_KINDS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Min", "Prod", "SumSquare")


@operator(*(f"Reduce{kind}" for kind in _KINDS), traits=Trait.REDUCES, numbers=(1,))
@operator("ReduceMean", "ReduceSum", traits=Trait.REDUCES | Trait.LINEAR, numbers=(1,))
def reduce(ctx: RuleContext) -> None:
    """Axes from an attribute or, since opset 13 or 18, an input."""
    x = ctx.axes(0)
    axes = ctx.ints(1) if 1 in ctx else ctx.attr("axes")
    if not axes:
        axes = [] if ctx.attr("noop_with_empty_axes", 0) else list(range(len(x)))
    reduced = {axis % len(x) for axis in axes}
    if ctx.node.op_type in ("ReduceSum", "ReduceSumSquare"):
        ctx.records.totals[ctx.index] = tuple(var for i in sorted(reduced) for var in x[i])
    keep = ctx.attr("keepdims", 1)
    for i in reduced - {0}:
        if i - 1 not in reduced and not ctx.is_fixed(x[i]) and ctx.algebra.are_factors(x[i - 1], x[i]):
            ctx.role(x[i - 1], AxisRole.GROUPS)  # channels regrouped for a statistic of each group
    out = [() if i in reduced else axis for i, axis in enumerate(x) if keep or i not in reduced]
    ctx.out(out, _followed(ctx, reduced, bool(keep)))


def _followed(ctx: RuleContext, reduced: Iterable[int], keep: bool) -> np.ndarray | None:
    """Contents of the output, where those of the input are followed."""
    value, known = ctx.value(0), _FUNCTIONS.get(ctx.node.op_type)
    if value is None or known is None or not value.size:
        return None
    fold = np.frompyfunc(lambda a, b: computed(*known, a, b), 2, 1)
    for axis in sorted(reduced, reverse=True):
        value = np.asarray(fold.reduce(value, axis=axis, keepdims=keep), dtype=object)
    return value


@operator("ArgMax", "ArgMin", traits=Trait.NO_GRADIENT)
def arg(ctx: RuleContext) -> None:
    """The place of an extreme along one axis: what the places mean is outside, so the axis is fixed."""
    x = ctx.axes(0)
    axis = ctx.attr("axis") % len(x)
    ctx.hold(x[axis], Why.INDICES_LEAVE)
    keep = ctx.attr("keepdims")
    ctx.out([() if i == axis else a for i, a in enumerate(x) if keep or i != axis])
