"""Operators of domain com.microsoft that onnxruntime's optimisers write in place of several standard ones.

Source: onnxruntime's docs/ContribOperators.md.
"""

from __future__ import annotations

from front_onnx.axes.holds import Why
from front_onnx.axes.size import Axis, AxisRole, size_of
from front_onnx.operators.context import RuleContext, Shape
from front_onnx.operators.linear import gemm, note_contraction
from front_onnx.operators.record import Trait, operator

__all__ = ["MICROSOFT"]

MICROSOFT = "com.microsoft"


@operator("Gelu", "QuickGelu", domain=MICROSOFT, traits=Trait.BENDS | Trait.ZERO)
def activation(ctx: RuleContext) -> None:
    """Shape in, shape out."""
    ctx.out(ctx.axes(0))


@operator("BiasGelu", "FastGelu", domain=MICROSOFT, traits=Trait.BENDS | Trait.PARAMETERS)
def biased(ctx: RuleContext) -> None:
    """X plus a bias, then an activation."""
    ctx.out(ctx.broadcast(*(ctx.axes(slot) for slot in (0, 1) if slot in ctx)))


@operator("ScaledSiLU", domain=MICROSOFT, traits=Trait.BENDS, settings=(1,))
def scaled_silu(ctx: RuleContext) -> None:
    """X, which a number may scale before its activation."""
    ctx.out(ctx.axes(0))


@operator("GatedAdd", domain=MICROSOFT, traits=Trait.SHIFTS)
def gated_add(ctx: RuleContext) -> None:
    """X [..., C] + Y [..., C] times a gate [..., 1]."""
    ctx.unify_shapes(ctx.axes(0), ctx.axes(1))
    ctx.unify_shapes(ctx.axes(2), (*ctx.axes(0)[:-1], ()))
    ctx.out(ctx.axes(0))


@operator("BiasAdd", domain=MICROSOFT, traits=Trait.SHIFTS | Trait.PARAMETERS)
def bias_add(ctx: RuleContext) -> None:
    """X [N, S, C] + bias [C] + skip."""
    x = ctx.axes(0)
    ctx.unify_shapes(ctx.axes(1), x[-1:])
    ctx.unify_shapes(ctx.axes(2), x)
    ctx.out(x)


@operator("BiasSplitGelu", domain=MICROSOFT, traits=Trait.BENDS | Trait.PARAMETERS)
def bias_split_gelu(ctx: RuleContext) -> None:
    """X [N, S, 2*C] + bias [2*C]: the first half times the activation of the second."""
    x = ctx.axes(0)
    ctx.unify_shapes(ctx.axes(1), x[-1:])
    gated, gate = ctx.algebra.cut(x[-1], size_of(x[-1]) // 2)
    ctx.unify(gated, gate)
    ctx.out((*x[:-1], gated))


_LAYERWISE = Trait.NORMALISES | Trait.PARAMETERS | Trait.LAYERWISE


@operator(
    "SkipLayerNormalization",
    domain=MICROSOFT,
    traits=_LAYERWISE | Trait.CENTRES,
    parameters={2: "gain", 3: "bias"},
)
@operator("SkipSimplifiedLayerNormalization", domain=MICROSOFT, traits=_LAYERWISE, parameters={2: "gain"})
def skip_layer_normalization(ctx: RuleContext) -> None:
    """X + skip + bias, normalised over the last axis; outputs: result, mean, 1/deviation, the sum before."""
    x = ctx.broadcast(ctx.axes(0), ctx.axes(1))
    for slot in range(2, len(ctx.facts)):
        if slot in ctx:
            ctx.unify_shapes(ctx.axes(slot), x[-1:])
    statistics = (*x[:-1], ())
    for slot, axes in enumerate((x, statistics, statistics, x)):
        ctx.out(axes, slot=slot)


@operator(
    "EmbedLayerNormalization",
    domain=MICROSOFT,
    traits=_LAYERWISE | Trait.CENTRES,
    parameters={5: "gain", 6: "bias"},
)
def embed_layer_normalization(ctx: RuleContext) -> None:
    """Ids [B, S] look up words, positions and segments [n, H], whose sum is normalised -> [B, S, H], [B], the sum."""
    batch, sequence = ctx.axes(0)
    hidden = ctx.axes(2)[1]
    for slot in (2, 3, 4):
        if slot in ctx:
            entries, width = ctx.axes(slot)
            ctx.hold(entries, Why.INDEXED)
            ctx.role(entries, AxisRole.VOCABULARY)
            ctx.table(slot)
            ctx.unify(width, hidden)
    for slot in (5, 6):
        if slot in ctx:
            ctx.unify_shapes(ctx.axes(slot), (hidden,))
    for slot in (1, 7, 8):
        if slot in ctx:
            ctx.broadcast((batch, sequence), ctx.axes(slot))
    ctx.out((batch, sequence, hidden))
    ctx.out((batch,), slot=1)
    ctx.out((batch, sequence, hidden), slot=2)


def _turned(ctx: RuleContext, axes: Shape, which: str) -> Shape:
    """The operand as a product reads it: its first axis moved behind the others, its last two exchanged."""
    if ctx.attr(f"transBatch{which}", 0):
        axes = (*axes[1:-1], axes[0], axes[-1])
    if ctx.attr(f"trans{which}", 0) and len(axes) > 1:
        axes = (*axes[:-2], axes[-1], axes[-2])
    return axes


@operator("FusedMatMul", "TransposeMatMul", domain=MICROSOFT, traits=Trait.CONTRACTS | Trait.PRODUCT | Trait.PARAMETERS)
def fused_matmul(ctx: RuleContext) -> None:
    """alpha * A' B' with numpy's batches; alpha may be the scale of attention."""
    given = [ctx.axes(0), ctx.axes(1)]
    a, b = _turned(ctx, given[0], "A"), _turned(ctx, given[1], "B")
    inner: Axis = a[-1]
    row = b[-2] if len(b) > 1 else b[-1]
    ctx.unify(inner, row)
    batch = ctx.broadcast(a[:-2], b[:-2]) if max(len(a), len(b)) > 2 else ()
    weighted = ctx.constant(0) or ctx.constant(1)
    note_contraction(ctx, inner, list(batch), weighted)
    if not weighted:
        ctx.tie_root("alpha", inner)
    for slot, axes, summed in ((0, given[0], inner), (1, given[1], row)):
        place = next(i for i, axis in enumerate(axes) if axis is summed)
        ctx.sums(slot, place)
        if size_of(inner) > 1:  # see matmul
            ctx.contract(slot, place)
    ctx.out((*batch, *(a[-2:-1] if len(a) > 1 else ()), *(b[-1:] if len(b) > 1 else ())))


@operator("FusedGemm", domain=MICROSOFT, traits=Trait.CONTRACTS | Trait.PRODUCT | Trait.PARAMETERS)
def fused_gemm(ctx: RuleContext) -> None:
    """Gemm, then an activation."""
    gemm(ctx)
