"""Chunks: equal parts of an axis of which one is read, cut at shares of the size that are computed at run time."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from front_onnx.axes.numbers import Expression, evaluate
from front_onnx.axes.size import Axis, Conflict, size_of
from front_onnx.operators.context import RuleContext

__all__ = ["make_parts_alike"]


def make_parts_alike(ctx: RuleContext, axis: Axis, bounds: Sequence[object], first: int, last: int) -> None:
    """Make equal parts one size where nothing reads the others: of mean and deviation, only the mean."""
    total, length = size_of(axis), last - first
    shares = [bound for bound in bounds if isinstance(bound, Expression) and 0 < bound.value < total]
    if not ctx.records.is_read_once(ctx.node.input[0]):
        return  # what is made of the others tells their sizes
    if total % length or first % length or not shares or not all(_is_share(bound, axis) for bound in shares):
        return
    with suppress(Conflict), ctx.algebra.attempt():
        rest = axis
        for _ in range(total // length - 1):
            part, rest = ctx.algebra.cut(rest, length)
            ctx.unify(part, ctx.algebra.cut(axis, length)[0])
        ctx.unify(rest, ctx.algebra.cut(axis, length)[0])


def _is_share(bound: Expression, axis: Axis) -> bool:
    """True if a bound is the same share of an axis at every size."""

    def at(times: int) -> float:
        return evaluate(bound, lambda own: size_of(own) * (times if own == axis else 1), lambda one: one.value)

    return all(at(times) == times * bound.value for times in (2, 3))
