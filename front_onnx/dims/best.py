"""Hidden widths of which the best elements pass: TopK gives them, or the least of them as a bound.

Where nothing reads the places of the best, nothing outside of the graph knows which they are, and a size that weights
sum over behind it is a hidden width like any other. The entries of a router are not summed over by a weight.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from front_onnx.axes.holds import Why
from front_onnx.axes.size import AxisRole

if TYPE_CHECKING:
    from front_onnx.operators.analysis import Analysis

__all__ = ["release_best"]


def release_best(analysis: Analysis) -> None:
    """Let hidden widths follow although the best of their elements are taken."""
    for node in analysis.graph.nodes:
        fact = analysis.facts.get(node.input[0]) if node.op_type == "TopK" else None
        for axis in (fact.axes or ()) if fact is not None else ():
            held = [var for var in analysis.algebra.free_variables(axis) if var.is_held(Why.BEST)]
            if held and all(AxisRole.CONTRACTED in var.roles for var in held):
                analysis.algebra.release(held, Why.BEST)
