"""Operators that regroup, move, join and cut axes, and those that compute shapes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from front_onnx.axes.algebra import shown
from front_onnx.axes.holds import Hold, Why
from front_onnx.axes.numbers import FOLLOWED, Expression, Extent, Literal, Number, value_of
from front_onnx.axes.size import Axis, AxisRole, Conflict, size_of
from front_onnx.operators.context import RuleContext, Shape
from front_onnx.operators.record import Trait, operator

__all__ = ["segments"]

_FOLLOWED = 256  # the most elements of a tensor that repeats one number for its contents to be followed


def _reshaped(value: np.ndarray | None, axes: Sequence[Axis]) -> np.ndarray | None:
    sizes = [size_of(axis) for axis in axes]
    return None if value is None or value.size != math.prod(sizes) else value.reshape(sizes)


@operator("Shape", traits=Trait.MEASURES)
def shape(ctx: RuleContext) -> None:
    """The sizes of the axes, as numbers that know their axes."""
    axes = ctx.axes(0)
    picked = axes[ctx.attr("start") : ctx.attr("end")]
    value = np.empty(len(picked), dtype=object)
    value[:] = [Extent(axis, free=ctx.only_measured(0)) for axis in picked]
    ctx.out((ctx.algebra.new(len(picked), Hold(Why.RANK)),), value)


@operator("Size", traits=Trait.MEASURES)
def size(ctx: RuleContext) -> None:
    """The product of all axes."""
    value = np.empty((), dtype=object)
    value[()] = Extent(tuple(var for axis in ctx.axes(0) for var in axis))
    ctx.out((), value)


@operator("Reshape", traits=Trait.VIEW, numbers=(1,))
def reshape(ctx: RuleContext) -> None:
    """Row-major regrouping: each target size takes its factors off the front of what is left."""
    axes = ctx.axes(0)
    target = ctx.values(1).ravel()
    sizes = [int(value_of(n)) for n in target]
    zero_is_zero = ctx.attr("allowzero")
    for i, given in enumerate(sizes):
        if given == 0 and not zero_is_zero:
            sizes[i] = size_of(axes[i])
    rest: Axis = tuple(var for axis in axes for var in axis)
    total = size_of(rest)
    if -1 in sizes:
        known = -int(np.prod(sizes))
        if known == 0 or total % known:
            ratio = Fraction(known, math.gcd(total, known)) if known and total else None
            raise Conflict(f"its elements do not fill {_given(list(target))}", ratio, axes=rest)
        sizes[sizes.index(-1)] = total // known
    if int(np.prod(sizes)) != total or total == 0:
        ratio = Fraction(int(np.prod(sizes)), total) if total else None
        raise Conflict(f"its elements do not fill {_given(list(target))}", ratio, axes=rest)
    out: list[Axis] = []
    while len(out) < len(sizes):
        at = len(out)
        _hold_mixed(ctx, rest, sizes[at])
        try:
            lead, rest = ctx.algebra.divide(rest, size_of(rest) // sizes[at])
        except Conflict:
            mixed, rest = _mixed(ctx, rest, target[at:], sizes[at:])
            out += mixed
            continue
        if value_of(target[at]) > 0:
            ctx.tie(target[at], lead)
        out.append(lead)
    ctx.out(out, _reshaped(ctx.value(0), out))


def _given(target: Sequence[Number]) -> str:
    """A shape in words: numbers of the file, and names of what is known at run time."""
    words = []
    for number in target:
        known = isinstance(number, Literal) or value_of(number) == -1
        words.append(shown(number.axis) if isinstance(number, Extent) else str(value_of(number)) if known else "?")
    return f"[{', '.join(words)}]"


def _hold_mixed(ctx: RuleContext, rest: Axis, size: int) -> None:
    """Keep a sum of which a size takes a piece, behind an axis that it takes whole: [n, m + 1] as [m + 1, n].

    Relative positions are shifted so. A piece of another sum (groups of joined channels) is a factor of it.
    """
    whole = 1
    for var in ctx.algebra.expand(rest):
        if size % (whole * var.size) == 0:
            whole *= var.size
            continue
        behind = var.size * whole // size if size > whole > 1 and var.size * whole % size == 0 else 1
        if var.parts is not None and any(size_of(part) % behind for part in var.parts):
            ctx.hold((var,), Why.MIXED)
        return


def _mixed(ctx: RuleContext, rest: Axis, target: np.ndarray, sizes: list[int]) -> tuple[list[Axis], Axis]:
    """Axes whose places are mixed: fixed [n, m] read as [m, n], as relative positions are shifted.

    What may change in general does not from here on: a stream of 16 groups of 48 read as 12 heads of 64.

    Raises:
        Conflict: if nothing but the whole fits.
    """
    for count in range(2, len(sizes) + 1):
        product = int(np.prod(sizes[:count]))
        try:
            lead, after = ctx.algebra.divide(rest, size_of(rest) // product)
        except Conflict:
            continue
        why = Why.MIXED if ctx.is_fixed(lead) else Why.MISALIGNED
        read = f"[{', '.join(map(str, sizes[:count]))}]"
        if why.freezes:
            ctx.hold(lead, why, read)
        out = []
        for number, size in zip(target[:count], sizes[:count], strict=True):
            known = value_of(number) > 0
            axis = ctx.axis_of(number) if known else ctx.algebra.new(size)
            ctx.hold(axis, why, read)
            out.append(axis)
        ctx.algebra.equalities.append((tuple(var for axis in out for var in axis), lead))
        return out, after
    raise Conflict(f"{sizes} mixes the places of its axes", axes=rest)


@operator("Flatten", traits=Trait.VIEW)
def flatten(ctx: RuleContext) -> None:
    """Two axes: the product before `axis` and that from it on."""
    axes = ctx.axes(0)
    at = ctx.attr("axis")
    at += len(axes) if at < 0 else 0
    ctx.out((tuple(a for axis in axes[:at] for a in axis), tuple(a for axis in axes[at:] for a in axis)))


@operator("Transpose", traits=Trait.VIEW)
def transpose(ctx: RuleContext) -> None:
    """Axes in another order."""
    axes = ctx.axes(0)
    order = ctx.attr("perm", list(range(len(axes)))[::-1])
    value = ctx.value(0)
    ctx.out([axes[i] for i in order], None if value is None else value.transpose(order))


def _given_axes(ctx: RuleContext, rank: int) -> list[int] | None:
    axes = ctx.ints(1) if 1 in ctx else ctx.attr("axes")
    return None if axes is None else [axis % rank for axis in axes]


@operator("Unsqueeze", traits=Trait.VIEW, numbers=(1,))
def unsqueeze(ctx: RuleContext) -> None:
    """New axes of size 1."""
    axes = ctx.axes(0)
    given = ctx.ints(1) if 1 in ctx else ctx.attr("axes")
    rank = len(axes) + len(given)
    new = {axis % rank for axis in given}
    rest = iter(axes)
    out = [() if i in new else next(rest) for i in range(rank)]
    old = [i - rank for i in range(rank) if i not in new]
    strides = ctx.strides(0)
    moved = None if strides is None else {old[place]: step for place, step in strides.items()}
    ctx.out(out, _reshaped(ctx.value(0), out), strides=moved, below=ctx.below(0))


@operator("Squeeze", traits=Trait.VIEW, numbers=(1,))
def squeeze(ctx: RuleContext) -> None:
    """Axes of size 1 go."""
    axes = ctx.axes(0)
    given = _given_axes(ctx, len(axes))
    gone = [i for i, a in enumerate(axes) if size_of(a) == 1] if given is None else given
    if any(size_of(axes[i]) != 1 for i in gone):
        raise Conflict("it squeezes an axis that is not 1")
    out = [axis for i, axis in enumerate(axes) if i not in gone]
    ctx.out(out, _reshaped(ctx.value(0), out))


@operator("Concat", traits=Trait.JOINS)
def concat(ctx: RuleContext) -> None:
    """The sum of the axes along one axis; all others are one."""
    shapes = [ctx.axes(slot) for slot in range(len(ctx.facts))]
    at = ctx.attr("axis") % len(shapes[0])
    for other in shapes[1:]:
        ctx.unify_shapes((*shapes[0][:at], *shapes[0][at + 1 :]), (*other[:at], *other[at + 1 :]))
    joined = ctx.algebra.total([s[at] for s in shapes if size_of(s[at])]) if len(shapes) > 1 else shapes[0][at]
    values = [ctx.value(slot) for slot in range(len(shapes))]
    followed = [v for v in values if v is not None]
    few = len(followed) == len(values) and sum(v.size for v in followed) <= FOLLOWED
    value = np.concatenate(followed, axis=at) if few else None
    ctx.out((*shapes[0][:at], joined, *shapes[0][at + 1 :]), value)


def segments(ctx: RuleContext, axis: Axis, sizes: Sequence[int]) -> list[Axis]:
    """An axis cut into segments of these sizes."""
    segment = ctx.algebra.shuffled(axis, len(sizes)) if len(set(sizes)) == 1 else None
    if segment is not None:
        return [segment] * len(sizes)
    parts = []
    for wanted in sizes[:-1]:
        part, axis = ctx.algebra.cut(axis, wanted)
        parts.append(part)
    return [*parts, axis]


@operator("Split", traits=Trait.PICKS, numbers=(1,))
def split(ctx: RuleContext) -> None:
    """Segments of one axis, of the sizes given by an input or an attribute, or equal ones."""
    axes = ctx.axes(0)
    at = ctx.attr("axis") % len(axes)
    outputs = len(ctx.node.output)
    numbers: list[Number] | None = list(ctx.values(1).ravel()) if 1 in ctx else None
    attribute = ctx.attr("split")
    total = size_of(axes[at])
    chunk = -(-total // outputs)
    sizes = [int(value_of(n)) for n in numbers] if numbers else attribute or [chunk] * (outputs - 1)
    if sum(sizes) < total:
        sizes = [*sizes, total - sum(sizes)]
    parts = segments(ctx, axes[at], sizes)
    value = ctx.value(0)
    for i, part in enumerate(parts):
        if numbers:
            ctx.tie(numbers[i], part)
        elif attribute:
            ctx.tie_attribute("split", part, i)
        elif i:
            ctx.unify(parts[0], part)  # equal segments stay equal at every size
        # Optimisers take a shape apart by one Split instead of a Gather for each size.
        piece = None if value is None else np.take(value, range(sum(sizes[:i]), sum(sizes[: i + 1])), axis=at)
        ctx.out((*axes[:at], part, *axes[at + 1 :]), piece, slot=i)


@operator("Expand", traits=Trait.REPEATS, numbers=(1,))
def expand(ctx: RuleContext) -> None:
    """Broadcast to a shape."""
    axes = ctx.axes(0)
    numbers = ctx.values(1).ravel()
    target: Shape = tuple(
        _expanded(ctx, n, axes[i - len(numbers)]) if len(numbers) - i <= len(axes) else ctx.axis_of(n)
        for i, n in enumerate(numbers)
    )
    for place in range(-len(target), 0):
        stretched = place < -len(axes) or size_of(axes[place]) == 1
        if stretched and place < -1 and isinstance(numbers[place], Literal):  # heads are repeated, not their entries
            ctx.role(target[place], AxisRole.REPEAT)
    out = ctx.broadcast(axes, target)
    value = ctx.value(0)
    sizes = [size_of(axis) for axis in out]
    followed = value is not None and math.prod(sizes) <= _FOLLOWED
    ctx.out(out, np.broadcast_to(value, sizes) if followed and value is not None else None, below=ctx.below(0))


def _expanded(ctx: RuleContext, number: object, axis: Axis) -> Axis:
    """The axis a number of the shape stands for: the one that is there, where the number is computed to be as long."""
    if isinstance(number, Expression) and number.value == size_of(axis) > 1:
        ctx.tie(number, axis)
        return axis
    return ctx.axis_of(number)


@operator("Tile", traits=Trait.REPEATS, numbers=(1,))
def tile(ctx: RuleContext) -> None:
    """Each axis is repeated as a whole: repeats x axis in row-major order."""
    out = []
    for axis, number in zip(ctx.axes(0), ctx.values(1).ravel(), strict=True):
        repeats = ctx.axis_of(number)
        ctx.role(repeats, AxisRole.REPEAT)
        out.append((*repeats, *axis))
    ctx.out(out)


@operator("Pad", traits=Trait.LINEAR, numbers=(1, 3), settings=(2,))
def pad(ctx: RuleContext) -> None:
    """Fixed axes get a computed size; padding a resizable axis is a sum with the pads."""
    axes = ctx.axes(0)
    numbers = ctx.values(1).ravel() if 1 in ctx else np.array(ctx.attr("pads"), dtype=object)
    places = [a % len(axes) for a in ctx.ints(3)] if 3 in ctx else list(range(len(axes)))
    out = list(axes)
    for i, place in enumerate(places):
        before, after = numbers[i], numbers[i + len(places)]
        wanted = int(value_of(before)) + int(value_of(after))
        if wanted == 0:
            continue
        if ctx.is_fixed(axes[place]):
            key = (int(value_of(before)), int(value_of(after)))
            out[place] = ctx.records.derived(
                (tuple(map(id, axes[place])), *key), size_of(axes[place]) + wanted, Hold(Why.PADDED)
            )
            ctx.records.made_of(axes[place], out[place], by_windows=False)
            ctx.require(out[place], lambda *sizes: sum(sizes), Extent(axes[place]), before, after)
        else:
            sides = [ctx.axis_of(n) for n in (before, after)]
            parts = [(sides[0], before), (axes[place], None), (sides[1], after)]
            out[place] = ctx.algebra.total([a for a, n in parts if n is None or value_of(n)])
    ctx.out(out)


@operator("ConstantOfShape", traits=Trait.MEASURES, numbers=(0,))
def constant_of_shape(ctx: RuleContext) -> None:
    """A constant of a computed shape."""
    numbers = ctx.values(0).ravel()
    axes = [ctx.axis_of(n) for n in numbers]
    sizes = [size_of(axis) for axis in axes]
    value = None
    if math.prod(sizes) <= _FOLLOWED:
        tensor = ctx.attr("value")
        fill = ctx.records.scalar(tensor) if tensor is not None else 0.0
        value = np.full(sizes, Expression("constant", lambda: fill, (), fill), dtype=object)
    ctx.out(axes, value)


@operator("Range", traits=Trait.NO_GRADIENT | Trait.COUNTS)
def range_(ctx: RuleContext) -> None:
    """Counting from start to limit: from 0 by 1, the axis is the limit's."""
    numbers = [ctx.values(slot).reshape(-1)[0] for slot in range(3)]
    start, limit, delta = (value_of(n) for n in numbers)
    if (start, delta) == (0, 1) and not isinstance(limit, float):
        ctx.out((ctx.axis_of(numbers[1]),), strides={-1: 1})
        return
    axis = ctx.algebra.new(_length(start, limit, delta), Hold(Why.COUNTED, ctx.index))
    ctx.require(axis, _length, *numbers)
    ctx.out((axis,))


def _length(start: float, limit: float, delta: float) -> int:
    return max(math.ceil((limit - start) / delta), 0)


@operator("DepthToSpace", "SpaceToDepth", traits=Trait.VIEW)
def blocks_of_pixels(ctx: RuleContext) -> None:
    """Channels and spatial sizes trade factors of the block size."""
    n, c, h, w = ctx.axes(0)
    side = ctx.attr("blocksize")
    if ctx.node.op_type == "DepthToSpace":
        if size_of(c) % side**2:
            raise Conflict(f"{size_of(c)} channels are no blocks of {side} x {side}")
        if ctx.attr("mode", "DCR") == "DCR":
            pixels, rest = ctx.algebra.divide(c, size_of(c) // (side * side))
        else:
            rest, pixels = ctx.algebra.divide(c, side * side)
        ctx.keep(pixels, Why.COUNT, "pixels of a block")
        sides = [ctx.derived(a, size_of(a) * side, Hold(Why.SPATIAL), side, follow=side.__mul__) for a in (h, w)]
        ctx.out((n, rest, *sides))
        return

    def follow(now: int) -> int:
        return -1 if now % side else now // side

    sides = [ctx.derived(a, size_of(a) // side, Hold(Why.SPATIAL), -side, follow=follow) for a in (h, w)]
    pixels = ctx.algebra.new(side * side)
    ctx.keep(pixels, Why.COUNT, "pixels of a block")
    ctx.out((n, (*pixels, *c), *sides))
