"""Norms of domain com.microsoft over groups of channels, fused with what is before or after them.

Source: onnxruntime's docs/ContribOperators.md.
"""

from __future__ import annotations

from front_onnx.axes.holds import Why
from front_onnx.axes.size import size_of
from front_onnx.operators.context import RuleContext, Shape
from front_onnx.operators.fused import MICROSOFT
from front_onnx.operators.record import Trait, operator

__all__: list[str] = []

_NORM = Trait.NORMALISES | Trait.PARAMETERS


def _grouped(ctx: RuleContext) -> Shape:
    """X [N, D..., C], or [N, C, D...], normalised over groups of channels, each channel with a gain and a bias."""
    x = ctx.axes(0)
    channels = x[-1] if ctx.attr("channels_last", 1) else x[1]
    groups, _ = ctx.algebra.divide(channels, size_of(channels) // ctx.attr("groups"))
    ctx.hold(groups, Why.NORM_GROUPS)
    ctx.tie_attribute("groups", groups)
    for slot in (1, 2):
        ctx.unify_shapes(ctx.axes(slot), (channels,))
    return x


@operator("GroupNorm", domain=MICROSOFT, traits=_NORM, parameters={1: "gain", 2: "bias"})
def group_norm(ctx: RuleContext) -> None:
    """A group norm, then perhaps an activation."""
    ctx.out(_grouped(ctx))


@operator("SkipGroupNorm", domain=MICROSOFT, traits=_NORM, parameters={1: "gain", 2: "bias"})
def skip_group_norm(ctx: RuleContext) -> None:
    """X + skip + bias [C] -> the group norm of the sum, and the sum. The skip is as X, or has no spatial sizes."""
    x = _grouped(ctx)
    last = ctx.attr("channels_last", 1)
    skip = ctx.axes(3)
    if len(skip) == 2:
        batch, channels = skip
        skip = (batch, *(() for _ in x[2:]), channels) if last else (batch, channels, *(() for _ in x[2:]))
    x = ctx.broadcast(x, skip)
    if 4 in ctx:
        ctx.unify_shapes(ctx.axes(4), x[-1:] if last else x[1:2])
    for slot in (0, 1):
        ctx.out(x, slot=slot)


@operator("GatedRMSNorm", domain=MICROSOFT, traits=_NORM, parameters={1: "gain"})
def gated_rms_norm(ctx: RuleContext) -> None:
    """X [..., h*C] normalised over stretches of C, scaled by a gain [C] and by the activation of a gate as X."""
    x, (gain,) = ctx.axes(0), ctx.axes(1)
    _, size = ctx.algebra.divide(x[-1], size_of(gain))
    ctx.unify(size, gain)
    ctx.unify_shapes(x, ctx.axes(2))
    ctx.out(x)
