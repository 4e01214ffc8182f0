"""Normalisations: gains and biases have the axes of the data they scale."""

from __future__ import annotations

from front_onnx.axes.holds import Why
from front_onnx.axes.size import size_of
from front_onnx.operators.context import RuleContext
from front_onnx.operators.record import Trait, operator

__all__: list[str] = []


_NORM = Trait.NORMALISES | Trait.PARAMETERS


@operator("LayerNormalization", traits=_NORM | Trait.LAYERWISE | Trait.CENTRES, parameters={1: "gain", 2: "bias"})
@operator("RMSNormalization", "SimplifiedLayerNormalization", traits=_NORM | Trait.LAYERWISE, parameters={1: "gain"})
def layer_normalization(ctx: RuleContext) -> None:
    """X, Scale and B over axes [axis, ...]; the statistics keep 1 there."""
    x = ctx.axes(0)
    start = ctx.attr("axis", -1) % len(x)
    for slot in (1, 2):
        if slot in ctx:
            ctx.broadcast(x[start:], ctx.axes(slot))
    ctx.out(x)
    for slot in range(1, len(ctx.node.output)):
        ctx.out((*x[:start], *(() for _ in x[start:])), slot=slot)


@operator("BatchNormalization", traits=_NORM, parameters={1: "gain", 2: "bias", 3: "mean", 4: "variance"})
@operator("InstanceNormalization", traits=_NORM, parameters={1: "gain", 2: "bias"})
def channel_normalization(ctx: RuleContext) -> None:
    """Per-channel parameters over axis 1."""
    x = ctx.axes(0)
    for slot in range(1, len(ctx.facts)):
        ctx.unify(x[1], ctx.axes(slot)[0])
    if ctx.node.op_type == "InstanceNormalization" and not all(map(ctx.is_fixed, x[2:])):
        # What follows the channels is no spatial size but channels too: a GroupNorm, written out.
        ctx.hold(x[1], Why.NORM_GROUPS)
    ctx.out(x)
    for slot in range(1, len(ctx.node.output)):
        ctx.out((x[1],), slot=slot)


@operator("GroupNormalization", traits=Trait.NORMALISES | Trait.PARAMETERS, parameters={1: "gain", 2: "bias"})
def group_normalization(ctx: RuleContext) -> None:
    """X [N, C, D...] normalised over groups of channels; a scale and a bias per channel, before opset 21 per group."""
    x = ctx.axes(0)
    groups, _ = ctx.algebra.divide(x[1], size_of(x[1]) // ctx.attr("num_groups"))
    ctx.hold(groups, Why.NORM_GROUPS)
    ctx.tie_attribute("num_groups", groups)
    for slot in (1, 2):
        ctx.unify(ctx.axes(slot)[0], x[1] if ctx.version >= 21 else groups)
    ctx.out(x)


@operator("LpNormalization", "LRN", "MeanVarianceNormalization", traits=Trait.NORMALISES)
def plain_normalization(ctx: RuleContext) -> None:
    """Shape in, shape out."""
    ctx.out(ctx.axes(0))
