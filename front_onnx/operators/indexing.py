"""Operators that pick elements: what is indexed from outside keeps its size, cuts at fixed places are segments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import accumulate

import numpy as np

from front_onnx.axes.holds import Hold, Why
from front_onnx.axes.numbers import FOLLOWED, Expression, Extent, Literal, Varying, value_of, varies
from front_onnx.axes.size import Axis, AxisRole, Conflict, size_of
from front_onnx.operators.chunks import make_parts_alike
from front_onnx.operators.context import RuleContext
from front_onnx.operators.record import Trait, operator
from front_onnx.read.graph import Edge

__all__ = ["settle_picks"]


@operator("Gather", traits=Trait.PICKS | Trait.GATHERS, indices=(1,))
def gather(ctx: RuleContext) -> None:
    """One axis is replaced by the axes of the indices."""
    data, indices = ctx.axes(0), ctx.axes(1)
    at = ctx.attr("axis") % len(data)
    value, places = ctx.value(0), ctx.value(1)
    out_value = None
    if places is not None and varies(places):
        for number in places.flat:
            ctx.pick(data[at], number)
        if not indices:
            ctx.records.passed[ctx.node.output[0]] = Edge(ctx.index, 0), at
    elif value is not None and places is not None and value.size // max(1, value.shape[at]) * places.size > FOLLOWED:
        pass  # it repeats a number more often than shapes do
    elif value is not None and places is not None:
        out_value = np.take(value, np.array([int(value_of(n)) for n in places.flat]).reshape(places.shape), axis=at)
        out_value = np.asarray(out_value, dtype=object)
    elif _counts_through(ctx, data[at]):
        pass  # the axis is regrouped, and nothing has to keep it
    elif ctx.constant(1) and _picks_one(ctx, data[at]):
        ctx.records.picks.append((ctx, data[at]))
    elif ctx.constant(1):
        ctx.hold(data[at], Why.INDEXED_BY_CONSTANT)
        if places is not None and places.size:
            ctx.require_that(_holds, Extent(data[at]), *places.flat)
    else:
        _index(ctx, data[at])
        ctx.table(0)
        _as_long(ctx, data[at])
    ctx.out((*data[:at], *indices, *data[at + 1 :]), out_value)


def _index(ctx: RuleContext, axis: Axis) -> None:
    """Entries of a table are picked by what is fed: they have a meaning outside of the graph."""
    ctx.hold(axis, Why.INDEXED)
    ctx.role(axis, AxisRole.VOCABULARY)


def _picks_one(ctx: RuleContext, axis: Axis) -> bool:
    """True if one written place is picked of an axis that may be resized."""
    places = ctx.value(1)
    return (
        places is not None
        and places.size == 1
        and isinstance(places.reshape(-1)[0], Literal)
        and size_of(axis) > 1
        and size_of(axis) == size_of(axis[:1])
        and not ctx.is_fixed(axis)
    )


def settle_picks(picks: Sequence[tuple[RuleContext, Axis]]) -> Iterator[tuple[RuleContext, Conflict]]:
    """Decide what picked places are, once all nodes were met, and give what cannot be followed.

    Of an axis that is cut into segments anyway, or picked at several places, a place is a segment of one entry, like a
    slice (fused projections keep one key head and one value head behind the query heads: [-2] and [-1] of h + 2). A
    single place of an axis that is used whole elsewhere is only a place.
    """
    places: dict[tuple[int, ...], set[int]] = {}
    for ctx, axis in picks:
        places.setdefault(tuple(map(id, ctx.algebra.expand(axis))), set()).add(_place(ctx, axis))
    for ctx, axis in picks:
        now = ctx.algebra.expand(axis)
        try:
            alone = len(now) == 1 and now[0].parts is None and len(places[tuple(map(id, now))]) == 1
            if not alone and not ctx.is_fixed(now):
                _cut_out(ctx, now)
            else:
                ctx.require_that(_holds, Extent(axis), *ctx.values(1).flat)
        except Conflict as conflict:
            yield ctx, conflict


def _place(ctx: RuleContext, axis: Axis) -> int:
    return int(value_of(ctx.values(1).reshape(-1)[0])) % size_of(axis)


def _cut_out(ctx: RuleContext, axis: Axis) -> None:
    """Cut the picked entry out of its axis, and bind the index."""
    number, place = ctx.values(1).reshape(-1)[0], _place(ctx, axis)
    if place:
        head, rest = ctx.algebra.cut(axis, place)
        _bind(ctx, number, head, rest)
        axis = rest
    if size_of(axis) > 1:
        ctx.algebra.cut(axis, 1)


def _as_long(ctx: RuleContext, axis: Axis) -> None:
    """A buffer of positions is as long as the tables that it indexes."""
    counted = ctx.below(1)
    if counted is not None and size_of(counted) == size_of(axis):
        ctx.unify(counted, axis)


def _holds(size: int, *places: int) -> bool:
    return all(-size <= place < size for place in places)


def _counts_through(ctx: RuleContext, axis: Axis) -> bool:
    """True if the indices are 0, 1, 2 ... in row-major order: a view of the axis as the axes of the indices.

    Exporters write a strided view so: Range(n) * c + [0 .. c-1], with c the product of the axes after it.
    """
    strides, places = ctx.strides(1), ctx.axes(1)
    if not strides:
        return False
    behind: list[Axis] = []
    for place in range(-1, -len(places) - 1, -1):
        if size_of(places[place]) == 1:
            continue
        inner = tuple(var for other in behind for var in other)
        step = strides.get(place)
        if step is None or value_of(step) != size_of(inner):
            return False
        if inner:
            ctx.tie(step, inner)
        behind.insert(0, places[place])
    whole = tuple(var for other in behind for var in other)
    if size_of(whole) != size_of(axis):
        return False
    ctx.unify(whole, axis)
    return True


@operator("GatherElements", traits=Trait.PICKS | Trait.GATHERS, indices=(1,))
def gather_elements(ctx: RuleContext) -> None:
    """Indices have the output's shape; the indexed axis keeps its size, the others bound those of the indices."""
    data, indices = ctx.axes(0), ctx.axes(1)
    at = ctx.attr("axis") % len(data)
    _index(ctx, data[at])
    _as_long(ctx, data[at])
    for i, (a, b) in enumerate(zip(data, indices, strict=True)):
        if i == at:
            continue
        if size_of(a) == size_of(b):
            ctx.unify(a, b)
        else:
            ctx.at_most(b, a)
    ctx.out(indices)


@operator("GatherND", traits=Trait.PICKS | Trait.GATHERS, indices=(1,))
def gather_nd(ctx: RuleContext) -> None:
    """Leading axes are indexed together."""
    data, indices = ctx.axes(0), ctx.axes(1)
    batch = ctx.attr("batch_dims", 0)
    depth = size_of(indices[-1])
    if depth > len(data) - batch:
        raise Conflict(f"{depth} indices into {len(data) - batch} axes")
    ctx.keep(indices[-1], Why.COUNT, "indices")
    if depth == 1 and not batch and ctx.constant(1) and _picks_one(ctx, data[0]):
        ctx.records.picks.append((ctx, data[0]))  # as by Gather
        ctx.out((*indices[:-1], *data[1:]))
        return
    for axis in data[batch : batch + depth]:
        _index(ctx, axis)
    if depth == 1 and not batch:
        ctx.table(0)
    ctx.unify_shapes(data[:batch], indices[:batch])
    ctx.out((*indices[:-1], *data[batch + depth :]))


@operator("ScatterND", "ScatterElements", "Scatter", indices=(1,))
def scatter(ctx: RuleContext) -> None:
    """The data with some places overwritten: the indexed axes are fixed, and those of which only a part is."""
    data = ctx.axes(0)
    if ctx.node.op_type == "ScatterND":
        *places, indices = ctx.axes(1)
        depth = size_of(indices)
        if depth > len(data):
            raise Conflict(f"{depth} indices into {len(data)} axes")
        ctx.keep(indices, Why.COUNT, "indices")
        ctx.unify_shapes(ctx.axes(2), (*places, *data[depth:]))
        indexed = [*data[:depth]]
    else:
        ctx.unify_shapes(ctx.axes(1), ctx.axes(2))
        indexed = [data[ctx.attr("axis") % len(data)]]
        for i, (axis, place) in enumerate(zip(data, ctx.axes(1), strict=True)):
            if i == ctx.attr("axis") % len(data):
                continue
            if size_of(axis) == size_of(place):
                ctx.unify(axis, place)
            else:
                ctx.at_most(place, axis)
                indexed.append(axis)
    for axis in indexed:
        ctx.hold(axis, Why.INDEXED)
    ctx.out(data)


@operator("Slice", traits=Trait.PICKS | Trait.SLICES, numbers=(1, 2, 3, 4))
def slice_(ctx: RuleContext) -> None:
    """Segments of axes: a cut at a place written in the file moves with the sizes on both sides of it."""
    data = ctx.axes(0)
    out = list(data)
    if any(slot in ctx and ctx.value(slot) is None for slot in (1, 2)):
        _cut_at_run_time(ctx, data)
        return
    starts, ends = (
        list(ctx.values(slot).ravel()) if slot in ctx else list(ctx.attr(name))
        for slot, name in ((1, "starts"), (2, "ends"))
    )
    given = ctx.ints(3) if 3 in ctx else ctx.attr("axes") or range(len(starts))
    steps = ctx.ints(4) if 4 in ctx else [1] * len(starts)
    for place, start, end, step in zip((a % len(data) for a in given), starts, ends, steps, strict=True):
        if isinstance(start, Varying) and _one_further(start, end):
            ctx.pick(data[place], start)
            ctx.records.passed[ctx.node.output[0]] = Edge(ctx.index, 0), None
            out[place] = ()
            continue
        start, end = _unwrapped(start, data[place]), _without_zero(end)
        out[place] = _segment(ctx, data[place], start, end, step)
        ctx.require(out[place], partial(_sliced, step), Extent(data[place]), start, end)
    value = ctx.value(0)
    if value is not None:
        index = [slice(None)] * value.ndim
        for place, start, end, step in zip((a % len(data) for a in given), starts, ends, steps, strict=True):
            index[place] = slice(int(value_of(start)), _limit(int(value_of(end))), step)
        value = value[tuple(index)]
        if len(data) == 1:  # a list of sizes; what has more axes are data (zeros to begin with) that happen to be few
            out = [ctx.algebra.new(n, Hold(Why.RANK)) for n in value.shape]
    ctx.out(out, value, below=ctx.below(0))


def _cut_at_run_time(ctx: RuleContext, data: Sequence[Axis]) -> None:
    """Axes that are cut at places which are computed at run time keep their size, and all others pass."""
    bounds = next(ctx.axes(slot) for slot in (1, 2) if slot in ctx and ctx.value(slot) is None)
    given = ctx.ints(3) if 3 in ctx else ctx.attr("axes") or range(size_of(bounds[0]))
    out = list(data)
    for place in given:
        ctx.hold(data[place], Why.CUT_AT_RUN_TIME)
        out[place] = ctx.records.declared(0, place % len(data), Hold(Why.CUT_AT_RUN_TIME, ctx.index))
    ctx.out(out)


def _one_further(start: Varying, end: object) -> bool:
    """True if one place is taken, that which a varying number says."""
    return (
        isinstance(end, Varying)
        and end.op == "add"
        and end.args[0] is start
        and isinstance(end.args[1], Literal)
        and end.args[1].value == 1
    )


def _unwrapped(start: object, axis: Axis) -> object:
    """A start without what would be added to it if it counted from the back: the size of the axis."""
    if isinstance(start, Expression) and start.op == "wrap":
        place, size = start.args
        if isinstance(size, Literal) and size.value == size_of(axis):
            size.site.bind(axis)
        return place
    return start


def _without_zero(end: object) -> object:
    """0 + n is n."""
    if isinstance(end, Expression) and end.op == "add":
        first, last = end.args
        while isinstance(first, Expression) and first.op == "wrap":
            first = first.args[0]
        if isinstance(first, Literal) and first.value == 0:
            return last
    return end


def _limit(end: int) -> int | None:
    """numpy's end for ONNX's: INT_MIN with a negative step means past the first element."""
    return None if end <= -(2**31) else end


def _sliced(step: int, size: int, start: int, end: int) -> int:
    return len(range(*slice(start, _limit(end), step).indices(size)))


def _segment(ctx: RuleContext, axis: Axis, start: object, end: object, step: int) -> Axis:
    total = size_of(axis)
    first, last, _ = slice(int(value_of(start)), _limit(int(value_of(end))), step).indices(total)
    length = len(range(first, last, step))
    if length == total and abs(step) == 1:
        if isinstance(end, Literal) and end.value == total:
            end.site.bind(axis, reader=ctx.index)
        if isinstance(start, Literal) and start.value == -total:
            start.site.bind(axis, sign=-1, reader=ctx.index)
        return axis
    if length == 0:
        return ctx.algebra.new(0, Hold(Why.EMPTY))
    if first == 0 and step == 1 and isinstance(end, Extent) and ctx.is_fixed(end.axis):
        ctx.hold(axis, Why.CUT_AT_RUN_TIME)
        ctx.records.cut_alike(end.axis, axis)
        return ctx.algebra.expand(end.axis)
    if ctx.is_fixed(axis) and not (step == 1 and _is_cut_at(ctx, axis, first, last)):
        if any(isinstance(n, Literal) and 0 < abs(n.value) < total for n in (start, end)):
            return ctx.derived(axis, length, Hold(Why.PART), first, last, step)
        # Bounds that are computed from sizes move with them; that the part is as long is required by the caller.
        key = (tuple(map(id, ctx.algebra.expand(axis))), length, Why.PART, first, last, step)
        return ctx.records.derived(key, length, Hold(Why.PART))
    if not (_can_move(ctx, start, axis) and _can_move(ctx, end, axis)):
        ctx.hold(axis, Why.CUT_AT_RUN_TIME)
        return ctx.derived(axis, length, Hold(Why.CUT_AT_RUN_TIME, ctx.index))
    if step == 1:
        make_parts_alike(ctx, axis, (start, end), first, last)
        return _cut(ctx, axis, (start, first), (end, last))
    if step > 1 and total % step == 0 and length == total // step:
        lead, phases = ctx.algebra.divide(axis, step)
        ctx.keep(phases, Why.STEP)
        return lead
    raise Conflict(f"a slice of {total} by steps of {step}", axes=axis)


def _is_cut_at(ctx: RuleContext, axis: Axis, first: int, last: int) -> bool:
    """True if an axis that only an input keeps (a cache) has been cut at these places before: halves of a rotation."""
    var, *rest = ctx.algebra.expand(axis)
    ends = [0, *accumulate(size_of((*part, *rest)) for part in var.parts or ())]
    kept = all(hold.why is Why.INPUT_AXIS for other in ctx.algebra.free_variables(axis) for hold in other.holds)
    return kept and first in ends and last in ends


def _can_move(ctx: RuleContext, number: object, axis: Axis) -> bool:
    """True if a bound is written in the file, or computed from the axis it cuts or from sizes that follow the width."""
    if isinstance(number, Extent):
        own = set(ctx.algebra.free_variables(axis))
        return all(var in own or not var.fixed for var in ctx.algebra.free_variables(number.axis))
    if isinstance(number, Expression):
        return all(_can_move(ctx, arg, axis) for arg in number.args)
    return True


def _cut(ctx: RuleContext, axis: Axis, start: tuple[object, int], end: tuple[object, int]) -> Axis:
    total = size_of(axis)
    (first_number, first), (last_number, last) = start, end
    kept = axis
    count, rest = divmod(total, last - first)
    segment = ctx.algebra.shuffled(axis, count) if not rest and first % (last - first) == 0 else None
    if segment is not None:
        place = first // (last - first)
        bounds = [(first_number, place)] if first else []
        bounds += [(last_number, place + 1)] if last < total or value_of(last_number) == total else []
        for number, ahead in bounds:
            _bind(ctx, number, ctx.algebra.total([segment] * ahead), ctx.algebra.total([segment] * (count - ahead)))
        return segment
    if first:
        head, kept = ctx.algebra.cut(axis, first)
        _bind(ctx, first_number, head, kept)
    if last < total:
        kept, tail = ctx.algebra.cut(kept, last - first)
        before = ctx.algebra.cut(axis, last)[0]
        _bind(ctx, last_number, before, tail)
    elif isinstance(last_number, Literal) and last_number.value == total:
        last_number.site.bind(axis, reader=ctx.index)
    return kept


def _bind(ctx: RuleContext, number: object, before: Axis, after: Axis) -> None:
    """A place counted from the front stands for what is before it, from the back for what is after it."""
    if isinstance(number, Literal):
        if number.value >= 0:
            number.site.bind(before, reader=ctx.index)
        else:
            number.site.bind(after, sign=-1, reader=ctx.index)
    elif isinstance(number, Expression | Extent) and number.value >= 0:
        ctx.tie(number, before)
    else:
        raise Conflict("a slice bound that cannot be followed")


@operator("TopK", numbers=(1,))
def top_k(ctx: RuleContext) -> None:
    """The k best along one axis and their places: what places mean is outside, so the axis is fixed.

    Where nothing reads the places, the axis may be a hidden width, of which some pass: that is decided once all nodes
    were met (`dims/best.py`).
    """
    x = list(ctx.axes(0))
    at = ctx.attr("axis") % len(x)
    (k,) = ctx.values(1).ravel()
    ctx.hold(x[at], Why.INDICES_LEAVE if ctx.is_read(1) else Why.BEST)
    if not ctx.is_read(1) and isinstance(k, Literal) and k.value == size_of(x[at]):
        k.site.bind(x[at], reader=ctx.index)  # all of them, sorted
        ctx.out(x)
        ctx.out(x, slot=1)
        return
    ctx.require_that(lambda size, count: count <= size, Extent(x[at]), k)
    best = ctx.axis_of(k)
    if isinstance(k, Literal):
        ctx.hold(best, Why.COUNT, "best entries")
    x[at] = best
    for slot in (0, 1):
        ctx.out(x, slot=slot)


@operator("OneHot", traits=Trait.NO_GRADIENT, numbers=(1,))
def one_hot(ctx: RuleContext) -> None:
    """Indices get a new axis of a given depth."""
    (depth,) = ctx.values(1).ravel()
    ctx.keep(ctx.axes(2)[0], Why.COUNT, "values")
    hot = ctx.axis_of(depth)
    _index(ctx, hot)
    out = list(ctx.axes(0))
    place = ctx.attr("axis") % (len(out) + 1)
    out.insert(place, hot)
    ctx.out(out, _hot_numbers(ctx, depth, place))


def _hot_numbers(ctx: RuleContext, depth: object, place: int) -> np.ndarray | None:
    """Shape arithmetic puts a number into a list of ones by OneHot: how often each axis is repeated."""
    indices, values = ctx.value(0), ctx.value(2)
    if indices is None or values is None or not all(isinstance(n, Literal) for n in (depth, *indices.flat)):
        return None
    count = int(value_of(depth))
    off, on = values.ravel()
    chosen = np.vectorize(lambda n: int(value_of(n)) % count, otypes=[int])(indices)
    hot = np.expand_dims(chosen, place) == np.arange(count).reshape([-1] + [1] * (chosen.ndim - place))
    return np.asarray(np.where(hot, on, off), dtype=object)


@operator("NonZero", traits=Trait.NO_GRADIENT | Trait.COUNTS)
def non_zero(ctx: RuleContext) -> None:
    """The places [rank, n] of what is not zero: n is known at run time, what places mean is outside."""
    axes = ctx.axes(0)
    for axis in axes:
        ctx.hold(axis, Why.INDICES_LEAVE)
    ctx.out((ctx.algebra.new(len(axes), Hold(Why.RANK)), ctx.records.unknown(Hold(Why.COUNTED))))


@operator("ReverseSequence", traits=Trait.VIEW, settings=(1,))
def reverse_sequence(ctx: RuleContext) -> None:
    """Shape in, shape out; one length per batch entry."""
    x = ctx.axes(0)
    batch = x[ctx.attr("batch_axis")]
    ctx.unify(batch, ctx.axes(1)[0])
    if ctx.value(1) is not None:
        ctx.keep(batch, Why.NUMBERS)
    ctx.out(x)
