"""Operators that hand a state on from call to call: linear attention, causal convolution, caches written in place.

Sources: the ONNX specifications and, for domain com.microsoft, onnxruntime's docs/ContribOperators.md.
"""

from __future__ import annotations

from front_onnx.axes.holds import Hold, Why
from front_onnx.axes.size import Axis, AxisRole, Conflict, size_of
from front_onnx.operators.attention import group_heads
from front_onnx.operators.context import RuleContext
from front_onnx.operators.fused import MICROSOFT
from front_onnx.operators.record import Trait, operator

__all__: list[str] = []


def _heads(ctx: RuleContext, slot: int, attribute: str) -> tuple[Axis, Axis]:
    width = ctx.axes(slot)[2]
    if size_of(width) % ctx.attr(attribute):
        raise Conflict(f"{size_of(width)} channels are no {ctx.attr(attribute)} heads")
    heads, size = ctx.algebra.divide(width, size_of(width) // ctx.attr(attribute))
    ctx.tie_attribute(attribute, heads)
    return heads, size


@operator("LinearAttention", traits=Trait.ATTENDS | Trait.PARAMETERS)
@operator("LinearAttention", domain=MICROSOFT, traits=Trait.ATTENDS | Trait.PARAMETERS)
def linear_attention(ctx: RuleContext) -> None:
    """Q [B, T, h*d], K [B, T, k*d], V [B, T, k*v], state [B, k, d, v] -> [B, T, h*v], state; h is a multiple of k.

    Decay is [B, T, k*d] or [B, T, k], the rate of updates [B, T, k] or [B, T, 1].
    """
    if ctx.attr("state_window", 0):
        raise Conflict("states of several tokens")
    if ctx.attr("q_num_heads") % ctx.attr("kv_num_heads"):
        raise Conflict("more key heads than query heads")
    batch, length, _ = ctx.axes(0)
    heads, size = _heads(ctx, 0, "q_num_heads")
    kv_heads, k_size = _heads(ctx, 1, "kv_num_heads")
    v_heads, v_size = _heads(ctx, 2, "kv_num_heads")
    for slot in (1, 2, 4, 5):
        if slot in ctx:
            ctx.unify_shapes(ctx.axes(slot)[:2], (batch, length))
    ctx.unify(size, k_size)
    ctx.unify(kv_heads, v_heads)
    group_heads(ctx, heads, kv_heads)
    ctx.role(heads, AxisRole.BATCH)
    ctx.role(size, AxisRole.INNER)
    ctx.tie_root("scale", size)
    state = (batch, kv_heads, size, v_size)
    if 3 in ctx:
        ctx.unify_shapes(ctx.axes(3), state)
    if 4 in ctx:
        decay = ctx.axes(4)[2]
        ctx.unify(decay, kv_heads if size_of(decay) == size_of(kv_heads) else (*kv_heads, *size))
    if 5 in ctx and size_of(ctx.axes(5)[2]) != 1:
        ctx.unify(ctx.axes(5)[2], kv_heads)
    ctx.out((batch, length, (*heads, *v_size)))
    ctx.out(state, slot=1)


_FILTER = Trait.CONTRACTS | Trait.CONVOLVES | Trait.PARAMETERS


@operator("CausalConvWithState", traits=_FILTER)
@operator("CausalConvWithState", domain=MICROSOFT, traits=_FILTER)
def causal_conv(ctx: RuleContext) -> None:
    """X [B, C, L], W [C, 1, k], bias [C], state [B, C, (k - 1) * dilation] -> Y as X, state."""
    if ctx.attr("ndim", 1) != 1 or ctx.attr("channels_last", 0) or ctx.attr("state_window", 0):
        raise Conflict("a causal convolution of images, with channels last, or with states of several positions")
    (batch, channels, length), (filters, one, kernel) = ctx.axes(0), ctx.axes(1)
    if size_of(one) != 1:
        raise Conflict("a causal convolution that mixes channels")
    ctx.unify(channels, filters)
    ctx.hold(kernel, Why.KERNEL)
    ctx.role(kernel, AxisRole.KERNEL)
    ctx.sums(1, 1, 2)
    if 2 in ctx:
        ctx.unify_shapes(ctx.axes(2), (channels,))
    gap = ctx.attr("dilation", 1)

    def reach(taps: int) -> int:
        return int((taps - 1) * gap)

    held = ctx.derived(kernel, reach(size_of(kernel)), Hold(Why.KERNEL), "reach", gap, follow=reach)
    if 3 in ctx:
        ctx.unify_shapes(ctx.axes(3), (batch, channels, held))
    ctx.out((batch, channels, length))
    ctx.out((batch, channels, held), slot=1)


@operator("TensorScatter", indices=(2,))
def tensor_scatter(ctx: RuleContext) -> None:
    """A cache [B, ..., M, ...] with [B, ..., S, ...] written into it, at a place [B] of its own for each row."""
    cache, update = ctx.axes(0), ctx.axes(1)
    at = ctx.attr("axis") % len(cache)
    ctx.unify_shapes((*cache[:at], *cache[at + 1 :]), (*update[:at], *update[at + 1 :]))
    if 2 in ctx:
        ctx.unify(ctx.axes(2)[0], cache[0])
    ctx.hold(cache[at], Why.INDEXED)
    ctx.at_most(update[at], cache[at])
    ctx.out(cache)
