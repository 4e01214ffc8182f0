"""What data decide the number of: entries that fulfil a condition, entries that differ."""

from __future__ import annotations

from front_onnx.axes.holds import Hold, Why
from front_onnx.axes.size import Axis, size_of
from front_onnx.operators.context import RuleContext
from front_onnx.operators.record import Trait, operator

__all__: list[str] = []


@operator("Compress", indices=(1,))
def compress(ctx: RuleContext) -> None:
    """The entries of an axis, or of all elements in a row, for which a condition [n] is true."""
    axes, (condition,) = list(ctx.axes(0)), ctx.axes(1)
    place = ctx.attr("axis")
    at = slice(None) if place is None else slice(place % len(axes), place % len(axes) + 1)
    picked: Axis = tuple(var for axis in axes[at] for var in axis)
    if size_of(condition) == size_of(picked):
        ctx.unify(condition, picked)
    else:
        ctx.at_most(condition, picked)
    ctx.hold(picked, Why.INDEXED)
    ctx.hold(condition, Why.INDEXED)
    axes[at] = [ctx.records.unknown(Hold(Why.COUNTED))]
    ctx.out(axes)


@operator("Unique", traits=Trait.NO_GRADIENT)
def unique(ctx: RuleContext) -> None:
    """The entries that differ, their places [u], for each entry of X the place among them, and how often each is."""
    axes = list(ctx.axes(0))
    place = ctx.attr("axis")
    at = slice(None) if place is None else slice(place % len(axes), place % len(axes) + 1)
    whole: Axis = tuple(var for axis in axes[at] for var in axis)
    ctx.hold(whole, Why.INDICES_LEAVE)
    found = ctx.records.unknown(Hold(Why.COUNTED))
    axes[at] = [found]
    for slot, shape in enumerate((axes, (found,), (whole,), (found,))):
        ctx.out(shape, slot=slot)
