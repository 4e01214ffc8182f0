"""Detection: regions read out of feature maps, and boxes picked of many."""

from __future__ import annotations

from front_onnx.axes.holds import Hold, Why
from front_onnx.axes.size import Axis, Conflict, size_of
from front_onnx.operators.context import RuleContext
from front_onnx.operators.record import Trait, operator

__all__: list[str] = []


def _side(ctx: RuleContext, attribute: str, size: int, element: int | None = None) -> Axis:
    """A side of what is read of each region, as an attribute says."""
    axis = ctx.algebra.new(size, Hold(Why.SPATIAL))
    if axis:
        ctx.tie_attribute(attribute, axis, element)
    return axis


def _coordinates(ctx: RuleContext, axis: Axis, count: int) -> None:
    if size_of(axis) != count:
        raise Conflict(f"{size_of(axis)} coordinates instead of {count}")
    ctx.keep(axis, Why.COUNT, "coordinates")


@operator("RoiAlign", indices=(2,))
def roi_align(ctx: RuleContext) -> None:
    """X [N, C, H, W], regions [R, 4], the image of each [R] -> [R, C, height, width]."""
    (images, channels, *_), (regions, coordinates), (count,) = (ctx.axes(slot) for slot in range(3))
    ctx.unify(regions, count)
    _coordinates(ctx, coordinates, 4)
    ctx.hold(images, Why.INDEXED)
    sides = [_side(ctx, name, ctx.attr(name)) for name in ("output_height", "output_width")]
    ctx.out((regions, channels, *sides))


@operator("MaxRoiPool")
def max_roi_pool(ctx: RuleContext) -> None:
    """X [N, C, H, W], regions [R, 5] with the image in front -> [R, C, height, width]."""
    (images, channels, *_), (regions, coordinates) = ctx.axes(0), ctx.axes(1)
    _coordinates(ctx, coordinates, 5)
    ctx.hold(images, Why.INDEXED)
    sides = [_side(ctx, "pooled_shape", size, place) for place, size in enumerate(ctx.attr("pooled_shape"))]
    ctx.out((regions, channels, *sides))


@operator("NonMaxSuppression", traits=Trait.NO_GRADIENT, numbers=(2,), settings=(3, 4))
def non_max_suppression(ctx: RuleContext) -> None:
    """Boxes [N, S, 4], scores [N, C, S] -> the places [n, 3] of the best, n known at run time."""
    (images, boxes, coordinates), (batch, classes, scored) = ctx.axes(0), ctx.axes(1)
    ctx.unify(images, batch)
    ctx.unify(boxes, scored)
    _coordinates(ctx, coordinates, 4)
    for axis in (images, boxes, classes):
        ctx.hold(axis, Why.INDICES_LEAVE)
    places = ctx.algebra.new(3)
    ctx.keep(places, Why.COUNT, "indices")
    ctx.out((ctx.records.unknown(Hold(Why.COUNTED)), places))
