"""Bodies: branches agree in shape, a loop's state keeps its shape, and what it picks from or stacks has its length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto, ValueInfoProto
from onnx.helper import tensor_dtype_to_np_dtype

from front_onnx.axes.holds import Hold, Why
from front_onnx.axes.numbers import Varying, value_of, varies
from front_onnx.axes.size import Axis, Conflict, size_of
from front_onnx.operators.context import AbstractTensor, Carried, Loop, RuleContext, Shape
from front_onnx.operators.record import operator
from front_onnx.read.graph import Edge

__all__: list[str] = []

_ITERATIONS = Hold(Why.COUNT, detail="iterations")
_ENDLESS = 1 << 31  # exporters write the largest integer where only the condition ends a loop


@operator("If")
def if_(ctx: RuleContext) -> None:
    """Both branches read outer tensors and give back tensors of one shape, or of lengths that part at run time.

    Where ranks decide which branch is taken, the other one may make what it likes.
    """
    _keep_condition(ctx, 0)
    yes, no = (ctx.records.follow(ctx.body(name), ()) for name in ("then_branch", "else_branch"))
    taken = _decided(ctx.value(0))
    for slot, (left, right) in enumerate(zip(yes, no, strict=True)):
        ctx.note_counters([left, right])
        if taken is None:
            ctx.outputs[slot] = AbstractTensor(_one_of(ctx, _axes(left), _axes(right)))
            continue
        live = left if taken else right
        same = len(_axes(left)) == len(_axes(right))
        ctx.outputs[slot] = AbstractTensor(_one_of(ctx, _axes(left), _axes(right)) if same else live.axes, live.value)


def _decided(condition: np.ndarray | None) -> bool | None:
    """What a condition is, if it is known; it has to stay that (`_keep_condition`)."""
    if condition is None or varies(condition):
        return None
    return bool(value_of(condition.reshape(-1)[0]))


def _one_of(ctx: RuleContext, left: Shape, right: Shape) -> Shape:
    """The shape that one of two branches gives.

    Lengths that nobody chooses may differ from branch to branch: with what is cached, and without.
    """
    if len(left) != len(right):
        raise Conflict(f"rank {len(left)} is not {len(right)}")
    out = []
    for a, b in zip(left, right, strict=True):
        if size_of(a) != size_of(b) and ctx.is_fixed(a) and ctx.is_fixed(b):
            out.append(ctx.records.unknown(Hold(Why.UNKNOWN, ctx.index)))
        else:
            ctx.unify(a, b)
            out.append(ctx.algebra.expand(a))
    return tuple(out)


@operator("Loop")
def loop(ctx: RuleContext) -> None:
    """M, cond, states -> states, scans; the body maps (i, cond, states) to (cond, states, entries of the scans)."""
    body = ctx.body("body")
    trips = _trips(ctx)
    _keep_condition(ctx, 1)
    number = np.empty((), dtype=object)
    number[()] = Varying("counter", axis=trips)
    kept = [*zip(body.inputs[2:], body.outputs[1:], strict=False)]
    states = [_enter(ctx, slot, *names) for slot, names in enumerate(kept[: len(ctx.facts) - 2], 2)]
    condition, *made = ctx.records.follow(
        body, [AbstractTensor((), number, constant=True), AbstractTensor(()), *states]
    )
    ctx.note_counters([condition, *made])
    _carry(ctx, trips, 2, states, made)
    for slot in range(len(states), len(made)):
        ctx.outputs[slot] = AbstractTensor((trips, *_axes(made[slot])))


@operator("Scan")
def scan(ctx: RuleContext) -> None:
    """States, stacks -> states, scans; the body maps (states, entries of the stacks) to (states, entries of scans)."""
    if ctx.version < 9:
        raise Conflict("a Scan with a batch axis of its own")
    body = ctx.body("body")
    count = ctx.attr("num_scan_inputs")
    first = len(ctx.facts) - count
    given = [
        _enter(ctx, slot, *names) for slot, names in enumerate(zip(body.inputs[:first], body.outputs, strict=False))
    ]
    places = ctx.attr("scan_input_axes", [0] * count)
    trips = ctx.axes(first)[places[0]]
    for slot, place in enumerate(places, first):
        axes = list(ctx.axes(slot))
        at = place % len(axes)
        ctx.unify(trips, axes.pop(at))
        given.append(AbstractTensor(tuple(axes), constant=ctx.constant(slot)))
        ctx.records.passed[body.inputs[slot]] = Edge(ctx.index, slot), at
    made = ctx.records.follow(body, given)
    ctx.note_counters(made)
    _carry(ctx, trips, 0, given[:first], made)
    for slot, place in enumerate(ctx.attr("scan_output_axes", [0] * (len(made) - first)), first):
        axes = list(_axes(made[slot]))
        axes.insert(place % (len(axes) + 1), trips)
        ctx.outputs[slot] = AbstractTensor(tuple(axes))


def _keep_condition(ctx: RuleContext, slot: int) -> None:
    """What a condition is that depends on sizes, it has to be at the new sizes."""
    value = ctx.value(slot)
    if value is not None and not varies(value):
        ctx.require_that(bool, value.reshape(-1)[0])


def _axes(fact: AbstractTensor) -> Shape:
    if fact.members is not None:
        raise Conflict("a body gives back a sequence")
    if fact.axes is None:
        raise Conflict("a body gives back a tensor of unknown rank", behind=fact.behind)
    return fact.axes


def _trips(ctx: RuleContext) -> Axis:
    """The axis as long as a Loop runs often; one of its own where the condition or the input decides."""
    body = ctx.body("body")
    count, start = ctx.value(0), ctx.value(1)
    back = ctx.records.behind(body.outputs[0])
    held = ctx.records.raw(back)
    goes_on = back == body.inputs[1] or (held is not None and bool(held.all()))
    starts = 1 not in ctx or (start is not None and bool(value_of(start.reshape(-1)[0])))
    number = count.reshape(-1)[0] if count is not None else None
    if number is None or isinstance(number, Varying) or not (goes_on and starts and 0 < value_of(number) < _ENDLESS):
        return ctx.records.unknown(_ITERATIONS)
    return ctx.axis_of(number, _ITERATIONS)


def _enter(ctx: RuleContext, slot: int, name: str, back: str) -> AbstractTensor:
    """A state as the body reads it: what it gives back unchanged is known as well as outside, else only its shape."""
    fact = ctx.facts[slot]
    if fact is not None and ctx.records.behind(back) == name:
        ctx.records.passed[name] = Edge(ctx.index, slot), None
        return fact
    return AbstractTensor(ctx.axes(slot))


def _is_whole(info: ValueInfoProto) -> bool:
    kind = info.type.tensor_type.elem_type
    return kind not in (TensorProto.UNDEFINED, TensorProto.BOOL) and tensor_dtype_to_np_dtype(kind).kind in "iu"


def _carry(
    ctx: RuleContext, trips: Axis, first: int, states: Sequence[AbstractTensor], made: Sequence[AbstractTensor]
) -> None:
    """What an iteration gives back has the shape that it was given."""
    carried, body = [], ctx.body("body")
    given, into, out = body.proto.input[first:], body.inputs[first:], body.outputs[first > 0 :]  # a Loop's condition
    for slot, (before, after) in enumerate(zip(states, made, strict=False)):
        ctx.unify_shapes(_axes(before), _axes(after))
        ctx.outputs[slot] = before
        if before is ctx.facts[first + slot]:
            ctx.records.passed[ctx.node.output[slot]] = Edge(ctx.index, first + slot), None
        else:
            carried.append(Carried(ctx.node.input[first + slot], ctx.node.output[slot], into[slot], out[slot]))
            if _is_whole(given[slot]):  # it may count, and be an index
                ctx.hold(trips, Why.CARRIED)
    ctx.records.loops.append(Loop(ctx.index, trips, tuple(carried)))
