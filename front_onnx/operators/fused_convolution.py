"""Convolutions of domain com.microsoft: fused with what follows, or with the channels last.

Source: onnxruntime's docs/ContribOperators.md.
"""

from __future__ import annotations

from front_onnx.operators.context import RuleContext, Shape
from front_onnx.operators.convolution import convolved
from front_onnx.operators.fused import MICROSOFT
from front_onnx.operators.record import Trait, operator

__all__: list[str] = []

_CONV = Trait.CONTRACTS | Trait.CONVOLVES | Trait.PARAMETERS


@operator("FusedConv", domain=MICROSOFT, traits=_CONV)
def fused_conv(ctx: RuleContext) -> None:
    """Conv, plus a tensor Z of the output's shape, then an activation."""
    _added(ctx, convolved(ctx, ctx.axes(0)))


@operator("NhwcConv", "NhwcFusedConv", domain=MICROSOFT, traits=_CONV)
def nhwc_conv(ctx: RuleContext) -> None:
    """X [N, D..., C], W [M, C/group, k...] -> [N, D'..., M], perhaps plus Z of that shape, then an activation."""
    batch, *sides, channels = ctx.axes(0)
    batch, made, *sides = convolved(ctx, (batch, channels, *sides))
    _added(ctx, (batch, *sides, made))


def _added(ctx: RuleContext, out: Shape) -> None:
    if 3 in ctx:
        ctx.unify_shapes(out, ctx.axes(3))
    ctx.out(out)
