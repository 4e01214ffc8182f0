"""Axes that keep their size because a constant that is no weight has a place for each of their entries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from front_onnx.axes.holds import Hold, Why
from front_onnx.axes.size import Axis, AxisRole, size_of
from front_onnx.constants.classify import Constants
from front_onnx.constants.kinds import Kind
from front_onnx.read.arrays import repeats

if TYPE_CHECKING:
    from front_onnx.operators.analysis import Analysis

__all__ = ["hold_axes"]

_ATTENTION = frozenset((AxisRole.BATCH, AxisRole.HEAD, AxisRole.INNER))  # heads and their size


def hold_axes(analysis: Analysis, constants: Constants, widths: Iterable[Axis]) -> None:
    """Fix the sizes that masks and fixed tables have: bins of a distribution, bands of a filter bank, centres.

    What the model is resized along stays free: heads, and the widths. There a plan refuses the constant by name.
    """
    free = {var for axis in widths for var in analysis.algebra.free_variables(axis)}
    for edge, fact in analysis.uses.items():
        if fact.value is not None or constants[edge].kind not in (Kind.FIXED, Kind.MASK):
            continue
        name = analysis.graph.read_by(edge)
        for place, axis in enumerate(fact.axes or ()):
            variables = [a for a in analysis.algebra.free_variables(axis) if a not in free and not a.roles & _ATTENTION]
            if size_of(axis) == 1 or not variables or repeats(analysis.graph.array(name), place):
                continue
            analysis.algebra.hold(variables, Hold(Why.ENTRIES, detail=name))
