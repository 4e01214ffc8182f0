"""Spatial sizes neither slid over nor resampled: grids of points, blocks put together, crops, pooling undone."""

from __future__ import annotations

import math
from fractions import Fraction

from front_onnx.axes.holds import Hold, Why
from front_onnx.axes.numbers import value_of
from front_onnx.axes.size import Axis, Conflict, size_of
from front_onnx.operators.context import RuleContext, Shape
from front_onnx.operators.record import operator

__all__: list[str] = []


def _as_long(ctx: RuleContext, number: object, axis: Axis) -> None:
    """Say that a number is the size of an axis that is there already."""
    size = int(value_of(number))
    if size != size_of(axis):
        raise Conflict(f"{size} instead of {size_of(axis)}", Fraction(size, size_of(axis)), axes=axis)
    ctx.tie(number, axis)


def _image_side(ctx: RuleContext, number: object) -> Axis:
    axis = ctx.axis_of(number)
    ctx.hold(axis, Why.SPATIAL)
    return axis


@operator("AffineGrid", numbers=(1,))
def affine_grid(ctx: RuleContext) -> None:
    """Matrices [N, d, d + 1] and a size (N, C, D...) -> points [N, D..., d]."""
    batch, rows, columns = ctx.axes(0)
    count, _, *sides = ctx.values(1).ravel()
    if (size_of(rows), size_of(columns)) != (len(sides), len(sides) + 1):
        raise Conflict(f"matrices of {size_of(rows)} x {size_of(columns)} for {len(sides)} spatial sizes")
    for axis in (rows, columns, ctx.axes(1)[0]):
        ctx.keep(axis, Why.COUNT, "coordinates")
    _as_long(ctx, count, batch)
    ctx.out((batch, *(_image_side(ctx, number) for number in sides), rows))


@operator("Col2Im", numbers=(1, 2))
def col2im(ctx: RuleContext) -> None:
    """Blocks [N, C * pixels of a block, L] put where they were in an image -> [N, C, D...]."""
    batch, columns, blocks = ctx.axes(0)
    image, block = ctx.values(1).ravel(), ctx.values(2).ravel()
    pixels = math.prod(int(value_of(n)) for n in block)
    if size_of(columns) % pixels:
        raise Conflict(f"{size_of(columns)} channels are no blocks of {pixels} pixels")
    channels, inside = ctx.algebra.divide(columns, pixels)
    ctx.keep(inside, Why.COUNT, "pixels of a block")
    ctx.require(inside, lambda *sizes: math.prod(sizes), *block)
    for slot in (1, 2):
        ctx.keep(ctx.axes(slot)[0], Why.COUNT, "spatial sizes")
    ctx.hold(blocks, Why.COUNT, "blocks")
    rank = len(image)
    strides, dilations = ctx.attr("strides", [1] * rank), ctx.attr("dilations", [1] * rank)
    pads = ctx.attr("pads", [0] * (2 * rank))

    def count(*sizes: float) -> int:
        found = 1
        for i, (side, kernel) in enumerate(zip(sizes[:rank], sizes[rank:], strict=True)):
            space = int(side) + pads[i] + pads[i + rank] - dilations[i] * (int(kernel) - 1) - 1
            found *= space // strides[i] + 1
        return found

    ctx.require(blocks, count, *image, *block)
    ctx.out((batch, channels, *(_image_side(ctx, number) for number in image)))


@operator("CenterCropPad", numbers=(1,))
def center_crop_pad(ctx: RuleContext) -> None:
    """Axes cut or padded to sizes; those that are as long already follow."""
    axes = list(ctx.axes(0))
    ctx.keep(ctx.axes(1)[0], Why.COUNT, "axes")
    places = [axis % len(axes) for axis in ctx.attr("axes") or range(len(axes))]
    for place, number in zip(places, ctx.values(1).ravel(), strict=True):
        axis, size = axes[place], int(value_of(number))
        if size == size_of(axis):
            ctx.tie(number, axis)
            continue
        why = Why.PADDED if size > size_of(axis) else Why.PART
        axes[place] = ctx.axis_of(number)
        ctx.hold(axis, why)
        ctx.hold(axes[place], why)
    ctx.out(axes)


@operator("MaxUnpool", numbers=(2,), indices=(1,))
def max_unpool(ctx: RuleContext) -> None:
    """X [N, C, D...] put back to the places that MaxPool took it from -> [N, C, D'...]."""
    x = ctx.axes(0)
    ctx.unify_shapes(x, ctx.axes(1))
    if 2 in ctx:
        batch, channels, *sides = ctx.values(2).ravel()
        ctx.keep(ctx.axes(2)[0], Why.COUNT, "axes")
        _as_long(ctx, batch, x[0])
        _as_long(ctx, channels, x[1])
        _unpooled(ctx, (*x[:2], *(_image_side(ctx, number) for number in sides)))
        return
    kernel, rank = ctx.attr("kernel_shape"), len(x) - 2
    strides, pads = ctx.attr("strides", [1] * rank), ctx.attr("pads", [0] * (2 * rank))
    out = []
    for i, axis in enumerate(x[2:]):

        def side(size: int, i: int = i) -> int:
            return int((size - 1) * strides[i] - pads[i] - pads[i + rank] + kernel[i])

        out.append(ctx.derived(axis, side(size_of(axis)), Hold(Why.SPATIAL), ctx.index, i, follow=side))
    _unpooled(ctx, (*x[:2], *out))


def _unpooled(ctx: RuleContext, out: Shape) -> None:
    """Places count through the image that was pooled: that which is made has its sides."""
    pooled = ctx.below(1)
    if pooled is not None:
        ctx.unify(pooled, tuple(var for axis in out for var in axis))
    ctx.out(out)
