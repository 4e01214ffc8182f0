"""Random numbers: of a written shape, of the shape of another tensor, or drawn by probabilities."""

from __future__ import annotations

from front_onnx.axes.holds import Hold, Why
from front_onnx.operators.context import RuleContext
from front_onnx.operators.record import Trait, operator

__all__: list[str] = []


@operator("RandomNormal", "RandomUniform", traits=Trait.NO_GRADIENT)
def random(ctx: RuleContext) -> None:
    """A tensor of the shape that an attribute says."""
    axes = [ctx.algebra.new(size) for size in ctx.attr("shape")]
    for place, axis in enumerate(axes):
        if axis:
            ctx.tie_attribute("shape", axis, place)
    ctx.out(axes)


@operator("RandomNormalLike", "RandomUniformLike", traits=Trait.MEASURES)
def random_like(ctx: RuleContext) -> None:
    """A tensor of the shape of another."""
    ctx.out(ctx.axes(0))


@operator("Multinomial", traits=Trait.NO_GRADIENT)
def multinomial(ctx: RuleContext) -> None:
    """Log-probabilities [B, classes] -> drawn classes [B, samples]: what they mean is outside."""
    batch, classes = ctx.axes(0)
    ctx.hold(classes, Why.INDICES_LEAVE)
    samples = ctx.algebra.new(ctx.attr("sample_size"), Hold(Why.COUNT, detail="samples"))
    if samples:
        ctx.tie_attribute("sample_size", samples)
    ctx.out((batch, samples))
