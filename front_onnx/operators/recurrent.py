"""Recurrent layers: gates are stacked in front of the hidden size, directions in front of everything."""

from __future__ import annotations

from front_onnx.axes.holds import Why
from front_onnx.axes.size import AxisRole, Conflict, size_of
from front_onnx.operators.context import RuleContext
from front_onnx.operators.record import Trait, operator

__all__: list[str] = []


@operator("LSTM", "GRU", "RNN", traits=Trait.CONTRACTS | Trait.RECURRENT | Trait.PARAMETERS)
def recurrent(ctx: RuleContext) -> None:
    """X [T, B, I], W [D, g*H, I], R [D, g*H, H], B [D, 2g*H] -> Y [T, D, B, H], Y_h [D, B, H], Y_c [D, B, H]."""
    if ctx.attr("layout"):
        raise Conflict("a recurrent layer with the batch first")
    (steps, batch, inputs), (directions, rows, inner), (_, _, hidden) = (ctx.axes(slot) for slot in range(3))
    ctx.keep(directions, Why.COUNT, "directions")
    ctx.unify(inputs, inner)
    gated = [rows, ctx.axes(2)[1], *([ctx.axes(3)[1]] if 3 in ctx else []), *([ctx.axes(7)[1]] if 7 in ctx else [])]
    for axis in gated:
        gates, size = ctx.algebra.divide(axis, size_of(hidden))
        ctx.keep(gates, Why.COUNT, "gates")
        ctx.unify(size, hidden)
    for slot in (2, 3, 7):
        if slot in ctx:
            ctx.unify(ctx.axes(slot)[0], directions)
    if 4 in ctx:
        ctx.unify(ctx.axes(4)[0], batch)
    for slot in (5, 6):
        if slot in ctx:
            ctx.unify_shapes(ctx.axes(slot), (directions, batch, hidden))
    ctx.tie_attribute("hidden_size", hidden)
    for slot, axis in ((1, inputs), (2, hidden)):
        ctx.role(axis, AxisRole.CONTRACTED)
        ctx.contract(slot, 2)
    ctx.out((steps, directions, batch, hidden))
    for slot in (1, 2):
        ctx.out((directions, batch, hidden), slot=slot)
