"""Convolutions and pooling: channels flow, spatial sizes are computed and fixed."""

from __future__ import annotations

from functools import partial

from front_onnx.axes.holds import Hold, Why
from front_onnx.axes.numbers import value_of
from front_onnx.axes.size import Axis, AxisRole, Conflict, size_of
from front_onnx.operators.context import RuleContext, Shape
from front_onnx.operators.linear import note_mixed_heads
from front_onnx.operators.record import Trait, operator

__all__ = ["convolved"]


def _side(ctx: RuleContext, axis: Axis, place: int, kernel: int, rank: int) -> Axis:
    """One spatial size after a sliding window (ONNX Conv, MaxPool: output shape formula)."""
    size, out, stride, pad, span = _slide(ctx, size_of(axis), place, kernel, rank)
    if out < 1:
        ctx.records.made_of(axis, (), by_windows=True)
        raise Conflict(f"a spatial size of {size} is too small for this window")
    if stride == 1 and pad == span:
        return axis

    def follow(now: int) -> int:
        return _slide(ctx, now, place, kernel, rank)[1]

    return ctx.derived(axis, out, Hold(Why.SPATIAL), stride, pad, span, follow=follow)


def _slide(ctx: RuleContext, size: int, place: int, kernel: int, rank: int) -> tuple[int, int, int, int, int]:
    """(size, size after it, stride, pad, span) of a window that slides over one spatial size."""
    stride = ctx.attr("strides", [1] * rank)[place]
    dilation = ctx.attr("dilations", [1] * rank)[place]
    pads = ctx.attr("pads", [0] * (2 * rank))
    pad = pads[place] + pads[place + rank]
    span = dilation * (kernel - 1)
    auto = ctx.attr("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        pad = max((-(-size // stride) - 1) * stride + span + 1 - size, 0)
        out = -(-size // stride)
    else:
        pad = 0 if auto == "VALID" else pad
        steps = size + pad - span - 1
        out = steps // stride + 1
        if ctx.attr("ceil_mode", 0) and steps % stride and out * stride < size + (pad and pads[place]):
            out += 1  # a last window may reach over the end, but has to start before it
    return size, out, stride, pad, span


def _grouped(ctx: RuleContext, whole: Axis, per_group: Axis, other: Axis, *, transposed: bool = False) -> None:
    """Tie channels to those one group sees, `other` being the channels on the far side of the groups.

    Groups that mix several channels are a number of their own; where each takes one, they are the channels, and how
    many filters each has is what is chosen.
    """
    group = ctx.attr("group", 1)
    if group == 1:
        ctx.unify(whole, per_group)
        return
    groups, rest = ctx.algebra.divide(other, size_of(other) // group)
    dealt = ctx.algebra.shuffled(whole, group)
    if dealt is None:
        ctx.unify(whole, (*groups, *per_group))
    else:
        ctx.unify(dealt, per_group)
    ctx.tie_attribute("group", groups)
    taken, made = (rest, per_group) if transposed else (per_group, rest)
    if size_of(taken) > 1:
        ctx.role(groups, AxisRole.GROUPS)
    elif size_of(made) > 1:
        ctx.role(groups, AxisRole.SINGLE)
        ctx.hold(made, Why.FILTERS)


@operator("Conv", traits=Trait.CONTRACTS | Trait.CONVOLVES | Trait.PARAMETERS)
def conv(ctx: RuleContext) -> None:
    """X [N, C, D...], W [M, C/group, k...], B [M] -> Y [N, M, D'...]."""
    ctx.out(convolved(ctx, ctx.axes(0)))


def convolved(ctx: RuleContext, x: Shape, bias: int = 2) -> Shape:
    """X [N, C, D...] after the filters of input 1, with a bias at another input: [N, M, D'...]."""
    w = ctx.axes(1)
    _grouped(ctx, x[1], w[1], w[0])
    for axis in w[2:]:
        ctx.hold(axis, Why.KERNEL)
        ctx.role(axis, AxisRole.KERNEL)
    if bias in ctx:
        ctx.unify(ctx.axes(bias)[0], w[0])
    ctx.role(x[1], AxisRole.CONTRACTED)
    ctx.sums(1, *range(1, len(w)))
    if ctx.attr("group", 1) == 1 and len(w) == 4 and size_of((*w[2], *w[3])) == 1:
        note_mixed_heads(ctx, x[1], w[0])
    if ctx.attr("group", 1) == 1 or size_of(w[1]) > 1:  # a depthwise filter scales its channel, it does not mix
        ctx.contract(1, 1)
    sides = [_side(ctx, axis, i, size_of(w[2 + i]), len(x) - 2) for i, axis in enumerate(x[2:])]
    return (x[0], w[0], *sides)


@operator("DeformConv", traits=Trait.CONTRACTS | Trait.CONVOLVES | Trait.PARAMETERS)
def deform_conv(ctx: RuleContext) -> None:
    """Conv, each tap moved by offsets [N, g*k...*rank, D'...] and scaled by a mask [N, g*k..., D'...]."""
    x, kernel, count = ctx.axes(0), ctx.axes(1)[2:], ctx.attr("offset_group")
    out = convolved(ctx, x, bias=3)
    groups, _ = ctx.algebra.divide(x[1], size_of(x[1]) // count) if count > 1 else ((), x[1])
    if groups:
        ctx.tie_attribute("offset_group", groups)
        ctx.role(groups, AxisRole.GROUPS)
    coordinates = ctx.algebra.new(len(kernel))
    ctx.keep(coordinates, Why.COUNT, "coordinates")
    taps = (*groups, *(var for axis in kernel for var in axis))
    ctx.unify_shapes(ctx.axes(2), (out[0], (*taps, *coordinates), *out[2:]))
    if 4 in ctx:
        ctx.unify_shapes(ctx.axes(4), (out[0], taps, *out[2:]))
    ctx.out(out)


@operator("ConvTranspose", traits=Trait.CONTRACTS | Trait.CONVOLVES | Trait.PARAMETERS)
def conv_transpose(ctx: RuleContext) -> None:
    """X [N, C, D...], W [C, M/group, k...], B [M] -> Y [N, M, D'...]."""
    x, w = ctx.axes(0), ctx.axes(1)
    group, rank = ctx.attr("group"), len(x) - 2
    ctx.unify(x[1], w[0])
    out = ctx.axes(2)[0] if 2 in ctx else w[1] if group == 1 else ctx.algebra.new(size_of(w[1]) * group)
    _grouped(ctx, out, w[1], x[1], transposed=True)
    for axis in w[2:]:
        ctx.hold(axis, Why.KERNEL)
        ctx.role(axis, AxisRole.KERNEL)
    ctx.role(x[1], AxisRole.CONTRACTED)
    ctx.sums(1, 0)
    if group == 1 or size_of(x[1]) > group:  # see conv
        ctx.contract(1, 0)
    sides = []
    for place, axis in enumerate(x[2:]):

        def side(size: int, place: int = place) -> int:
            return _unslide(ctx, size, place, size_of(w[2 + place]), rank)

        sides.append(ctx.derived(axis, side(size_of(axis)), Hold(Why.SPATIAL), ctx.index, place, follow=side))
    ctx.out((x[0], out, *sides))


def _unslide(ctx: RuleContext, size: int, place: int, kernel: int, rank: int) -> int:
    """The size of a spatial size from which a window makes `size`."""
    if given := ctx.attr("output_shape"):
        return int(given[place])
    stride, extra = int(ctx.attr("strides", [1] * rank)[place]), int(ctx.attr("output_padding", [0] * rank)[place])
    if ctx.attr("auto_pad", "NOTSET").startswith("SAME"):
        return size * stride
    pads = ctx.attr("pads", [0] * (2 * rank))
    span = ctx.attr("dilations", [1] * rank)[place] * (kernel - 1)
    return stride * (size - 1) + extra + int(span + 1 - pads[place] - pads[place + rank])


@operator("MaxPool", "LpPool")
@operator("AveragePool", traits=Trait.LINEAR)
def pool(ctx: RuleContext) -> None:
    """A sliding window over the spatial sizes."""
    x = ctx.axes(0)
    kernel = ctx.attr("kernel_shape")
    sides = [_side(ctx, axis, i, kernel[i], len(x) - 2) for i, axis in enumerate(x[2:])]
    ctx.out((*x[:2], *sides))
    by_row = not ctx.attr("storage_order", 0)
    whole = tuple(var for axis in x for var in axis)  # which the places of the largest count through
    ctx.out((*x[:2], *sides), slot=1, below=whole if by_row else None)


@operator("GlobalMaxPool", "GlobalLpPool")
@operator("GlobalAveragePool", traits=Trait.LINEAR)
def global_pool(ctx: RuleContext) -> None:
    """Spatial sizes become 1."""
    x = ctx.axes(0)
    ctx.out((*x[:2], *(() for _ in x[2:])))


@operator("Resize", "Upsample", traits=Trait.LINEAR, numbers=(1, 2, 3))
def resample(ctx: RuleContext) -> None:
    """Spatial sizes by scales or to sizes that the file or shape arithmetic gives; other axes pass."""
    x = ctx.axes(0)
    if ctx.attr("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise Conflict("spatial sizes in their old ratio")
    places = [a % len(x) for a in ctx.attr("axes") or range(len(x))]
    out = list(x)
    for slot in range(1, len(ctx.facts)):
        if slot in ctx:
            ctx.keep(ctx.axes(slot)[0], Why.COUNT, "spatial sizes")
    if 3 in ctx:
        for place, number in zip(places, ctx.values(3).ravel(), strict=True):
            if size_of(x[place]) == value_of(number):
                ctx.tie(number, x[place])
            else:
                out[place] = ctx.axis_of(number)
                ctx.hold(out[place], Why.SPATIAL)
    else:
        scales = ctx.raw(1 if ctx.node.op_type == "Upsample" else 2)
        if scales is None:
            raise Conflict("scales that are computed at run time")
        for place, scale in zip(places, scales.astype(float).tolist(), strict=True):
            if scale != 1:
                size = int(size_of(x[place]) * scale)
                follow = partial(_scaled, scale)
                out[place] = ctx.derived(x[place], size, Hold(Why.SPATIAL), scale, follow=follow)
    ctx.out(out)


def _scaled(scale: float, size: int) -> int:
    return int(size * scale)


@operator("GridSample")
def grid_sample(ctx: RuleContext) -> None:
    """X [N, C, D...] read at the points of a grid [N, E..., rank] -> [N, C, E...]."""
    x, (batch, *points, coordinates) = ctx.axes(0), ctx.axes(1)
    ctx.unify(x[0], batch)
    if size_of(coordinates) != len(x) - 2:
        raise Conflict(f"{size_of(coordinates)} coordinates for {len(x) - 2} spatial sizes")
    ctx.keep(coordinates, Why.COUNT, "coordinates")
    ctx.out((*x[:2], *points))
