"""Sequences and optional tensors: a sequence is known by its members, as many at every size as in the source.

Members may differ. Where data decide which one is taken, all of them have to be alike. A sequence that a loop lets
grow, or that has as many members as a size that is known only at run time, is not followed.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from front_onnx.axes.holds import Why
from front_onnx.axes.numbers import FOLLOWED, Extent, computed, value_of, varies
from front_onnx.axes.size import Axis, Conflict, size_of
from front_onnx.operators.context import AbstractTensor, RuleContext, Shape
from front_onnx.operators.record import Trait, operator
from front_onnx.operators.shaping import segments

__all__: list[str] = []


def _place(ctx: RuleContext, slot: int, count: int) -> int | None:
    """The written place of a member, which no other size may change; None if data decide."""
    value = ctx.value(slot)
    if value is None or varies(value):
        return None
    (number,) = value.ravel()
    place = int(value_of(number))
    if not -count <= place < count:
        raise Conflict(f"member {place} of {count}")
    ctx.require_that(lambda now: now == place, number)
    return place % count


def _axes(fact: AbstractTensor) -> Shape:
    if fact.axes is None:
        raise Conflict("a member of unknown rank", behind=fact.behind)
    return fact.axes


def _alike(ctx: RuleContext, members: Sequence[AbstractTensor]) -> AbstractTensor:
    """What any of the members is."""
    if not members:
        raise Conflict("a sequence without members")
    for other in members[1:]:
        ctx.unify_shapes(_axes(members[0]), _axes(other))
    return AbstractTensor(_axes(members[0]), constant=all(member.constant for member in members))


@operator("SequenceEmpty")
def sequence_empty(ctx: RuleContext) -> None:
    """No members."""
    ctx.out_members(())


@operator("SequenceConstruct", traits=Trait.JOINS)
def sequence_construct(ctx: RuleContext) -> None:
    """The inputs, one behind the other."""
    ctx.out_members([ctx.fact(slot) for slot in range(len(ctx.facts))])


@operator("SequenceInsert", traits=Trait.JOINS, numbers=(2,))
def sequence_insert(ctx: RuleContext) -> None:
    """A tensor before a place, or behind the last member."""
    members, new = list(ctx.members(0)), ctx.fact(1)
    place = _place(ctx, 2, len(members) + 1) if 2 in ctx else len(members)
    if place is None:
        ctx.out_members([_alike(ctx, [*members, new])] * (len(members) + 1))
        return
    negative = 2 in ctx and value_of(ctx.values(2).reshape(-1)[0]) < 0
    members.insert(place - negative, new)  # -1 is before the last member, not behind it
    ctx.out_members(members)


@operator("SequenceAt", numbers=(1,))
def sequence_at(ctx: RuleContext) -> None:
    """One member."""
    members = ctx.members(0)
    place = _place(ctx, 1, len(members))
    ctx.outputs[0] = _alike(ctx, members) if place is None else members[place]


@operator("SequenceErase", numbers=(1,))
def sequence_erase(ctx: RuleContext) -> None:
    """All members but one, or but the last."""
    members = list(ctx.members(0))
    place = _place(ctx, 1, len(members)) if 1 in ctx else len(members) - 1
    if place is None:
        ctx.out_members([_alike(ctx, members)] * (len(members) - 1))
        return
    del members[place]
    ctx.out_members(members)


@operator("SequenceLength", traits=Trait.MEASURES)
def sequence_length(ctx: RuleContext) -> None:
    """How many members there are."""
    count = len(ctx.members(0))
    value = np.empty((), dtype=object)
    value[()] = computed("constant", lambda: count)
    ctx.out((), value)


@operator("SplitToSequence", numbers=(1,))
def split_to_sequence(ctx: RuleContext) -> None:
    """Segments of one axis: of the sizes given, all of one size but perhaps the last, or each entry by itself."""
    axes = ctx.axes(0)
    at = ctx.attr("axis") % len(axes)
    axis = axes[at]
    total = size_of(axis)
    numbers = ctx.values(1) if 1 in ctx else None
    if numbers is None:
        _count_entries(ctx, axis)
        parts: list[Axis] = [()] * total
    elif numbers.ndim:
        sizes = [int(value_of(number)) for number in numbers]
        if sum(sizes) != total:
            raise Conflict(f"parts of {sizes} of an axis of {total}", Fraction(sum(sizes), total), axes=axis)
        parts = segments(ctx, axis, sizes)
        for number, part in zip(numbers, parts, strict=True):
            ctx.tie(number, part)
    else:
        parts = _chunks(ctx, axis, numbers.reshape(-1)[0])
    gone = numbers is None and not ctx.attr("keepdims")
    value = ctx.value(0)
    ends = np.cumsum([0, *map(size_of, parts)])
    members = []
    for part, start, end in zip(parts, ends, ends[1:], strict=False):
        piece = None if value is None else np.take(value, int(start) if gone else range(start, end), axis=at)
        kept = () if gone else (part,)
        piece = None if piece is None else np.asarray(piece, dtype=object)
        members.append(AbstractTensor((*axes[:at], *kept, *axes[at + 1 :]), piece, ctx.constant(0)))
    ctx.out_members(members)


def _count_entries(ctx: RuleContext, axis: Axis) -> None:
    """Keep an axis that has an entry for each member."""
    if not ctx.is_sized(axis):
        raise Conflict("a sequence with as many members as a size that is known only at run time", axes=axis)
    ctx.keep(axis, Why.COUNT, "members")


def _chunks(ctx: RuleContext, axis: Axis, number: object) -> list[Axis]:
    """Segments of one size, the last perhaps smaller: as many at every size."""
    total, size = size_of(axis), int(value_of(number))
    if size == 1:
        _count_entries(ctx, axis)
    elif not ctx.is_sized(axis):
        raise Conflict("parts of a size that is known only at run time", axes=axis)
    whole, rest = divmod(total, size)
    parts = segments(ctx, axis, [size] * whole + [rest] * bool(rest))
    for part in parts[:whole]:
        ctx.unify(parts[0], part)
        ctx.tie(number, part)
    if rest:
        ctx.require_that(lambda most, last: 0 < last < most, number, Extent(parts[-1]))
    return parts


@operator("ConcatFromSequence", traits=Trait.JOINS)
def concat_from_sequence(ctx: RuleContext) -> None:
    """The members one behind the other along an axis, or stacked along a new one."""
    members = ctx.members(0)
    if not members:
        raise Conflict("a sequence without members")
    shapes = [_axes(member) for member in members]
    values = [member.value for member in members if member.value is not None]
    followed = len(values) == len(members) and sum(value.size for value in values) <= FOLLOWED
    if ctx.attr("new_axis"):
        axes = list(_axes(_alike(ctx, members)))
        at = ctx.attr("axis") % (len(axes) + 1)
        stacked = ctx.algebra.new(len(members))
        ctx.keep(stacked, Why.COUNT, "members")
        ctx.out((*axes[:at], stacked, *axes[at:]), np.stack(values, axis=at) if followed else None)
        return
    at = ctx.attr("axis") % len(shapes[0])
    for other in shapes[1:]:
        ctx.unify_shapes((*shapes[0][:at], *shapes[0][at + 1 :]), (*other[:at], *other[at + 1 :]))
    wide = [shape[at] for shape in shapes if size_of(shape[at])]
    joined = ctx.algebra.total(wide) if len(shapes) > 1 else shapes[0][at]
    ctx.out((*shapes[0][:at], joined, *shapes[0][at + 1 :]), np.concatenate(values, axis=at) if followed else None)


@operator("Optional", "OptionalGetElement")
def optional(ctx: RuleContext) -> None:
    """What is put into an optional, and what is taken out of it."""
    if 0 not in ctx:
        raise Conflict("an optional without an element")
    ctx.outputs[0] = ctx.fact(0)


@operator("OptionalHasElement", traits=Trait.MEASURES)
def optional_has_element(ctx: RuleContext) -> None:
    """Whether there is an element."""
    ctx.out(())
