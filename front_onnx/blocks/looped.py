"""Layers stacked in one tensor: a body that is run once for each of them is a chain, its length the stack's axis."""

from __future__ import annotations

from front_onnx.axes.holds import Hold, Why
from front_onnx.axes.size import AxisRole, size_of
from front_onnx.blocks.chain import Chain
from front_onnx.blocks.names import common_path
from front_onnx.blocks.segments import Flow, Segment
from front_onnx.operators import Loop
from front_onnx.operators.analysis import Analysis
from front_onnx.read.graph import Edge

__all__ = ["find_looped"]


def find_looped(flow: Flow) -> list[Chain]:
    """A chain for each body with weights that is run as often as the file says, and not as an input is long."""
    found = (_looped(flow, loop, number) for number, loop in enumerate(flow.analysis.loops, 1))
    return [chain for chain in found if chain is not None]


def _looped(flow: Flow, loop: Loop, number: int) -> Chain | None:
    analysis, algebra = flow.analysis, flow.analysis.algebra
    axis = algebra.expand(loop.axis)
    carried = [tensor for tensor in loop.carried if _has_channels(analysis, tensor.back)]
    if len(axis) != 1 or axis[0].parts is not None or axis[0].fixed or not carried or not flow.weighted[loop.node]:
        return None
    start, end = carried[0].given, carried[0].back
    given_back = (var for a in analysis.facts[end].axes or () for var in algebra.free_variables(a))
    if AxisRole.CONTRACTED in axis[0].roles or axis[0] in given_back:
        return None  # it runs once for each feature or token, not for each layer
    unit = (Segment((start,), (end,), (*sorted(flow.graph.order.inside(loop.node)), loop.node), 0, 0),)
    count = size_of(axis)
    if any(_is_stack(analysis, edge, count) for edge in analysis.tables if edge.node in unit[0].nodes):
        algebra.hold(axis, Hold(Why.PICKED_LAYER))
    places = {
        edge: (edge,) * count
        for edge, fact in analysis.uses.items()
        if fact.value is None and any(axis[0] in algebra.expand(a) for a in fact.axes or ())
    }
    return Chain(
        name=common_path(flow, [unit]) or f"loop{number}",
        units=(unit,) * count,
        entry=(),
        layers=1,
        places=places,
        nodes={},
        loop=loop,
    )


def _is_stack(analysis: Analysis, edge: Edge, count: int) -> bool:
    """True if a table has as many rows as there are iterations: layers perhaps, picked by a number that is carried."""
    axes = analysis.uses[edge].axes or ((),)
    return size_of(axes[0]) == count


def _has_channels(analysis: Analysis, name: str) -> bool:
    """True if a tensor has an axis that weights sum over."""
    variables = {var for axis in analysis.facts[name].axes or () for var in analysis.algebra.free_variables(axis)}
    return any(AxisRole.CONTRACTED in var.roles for var in variables)
