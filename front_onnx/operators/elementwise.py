"""Operators that work element by element, with broadcasting; shape arithmetic is followed through them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx

from front_onnx.axes.numbers import (
    FOLLOWED,
    Expression,
    Literal,
    Varying,
    apply,
    cast_number,
    computed,
    integer_division,
    power,
    value_of,
    varies,
)
from front_onnx.axes.size import size_of
from front_onnx.operators.context import RuleContext
from front_onnx.operators.record import Trait, operator

__all__: list[str] = []

_FUNCTIONS: dict[str, tuple[str, Callable[..., int | float | bool]]] = {
    "Add": ("add", lambda a, b: a + b),
    "Sub": ("sub", lambda a, b: a - b),
    "Mul": ("mul", lambda a, b: a * b),
    "Div": ("div", integer_division),
    "Mod": ("mod", lambda a, b: a % b),
    "Pow": ("pow", power),
    "Min": ("min", min),
    "Max": ("max", max),
    "Equal": ("equal", lambda a, b: a == b),
    "Less": ("less", lambda a, b: a < b),
    "LessOrEqual": ("less_or_equal", lambda a, b: a <= b),
    "Greater": ("greater", lambda a, b: a > b),
    "GreaterOrEqual": ("greater_or_equal", lambda a, b: a >= b),
    "And": ("and", lambda a, b: a and b),
    "Or": ("or", lambda a, b: a or b),
    "Xor": ("xor", lambda a, b: a != b),
    "Not": ("not", lambda a: not a),
    "Neg": ("neg", lambda a: -a),
    "Abs": ("abs", abs),
    "Sqrt": ("sqrt", math.sqrt),
    "Reciprocal": ("reciprocal", lambda a: 1 / a),
    "Floor": ("floor", lambda a: float(math.floor(a))),
    "Ceil": ("ceil", lambda a: float(math.ceil(a))),
}


def _followed(ctx: RuleContext) -> np.ndarray | None:
    """Contents of the output, where those of all inputs are followed."""
    known = _FUNCTIONS.get(ctx.node.op_type)
    arrays = [ctx.value(slot) for slot in range(len(ctx.facts))]
    if known is None or not arrays or any(array is None for array in arrays):
        return None
    return apply(*known, *(array for array in arrays if array is not None))


_UNARY = "Acos Acosh Asin Asinh Atan Atanh Cosh Exp Log Reciprocal Sinh Tan".split()
_ACTIVATIONS = "Celu Elu Erf Gelu HardSwish LeakyRelu Mish Selu Shrink Softsign Swish Tanh ThresholdedRelu".split()
_STEPS = "Bernoulli BitCast BitwiseNot Ceil Floor IsInf IsNaN Not Round Sign".split()
_COMPARING = ("BitShift BitwiseAnd BitwiseOr BitwiseXor Equal Greater GreaterOrEqual Less LessOrEqual Or Xor").split()


@operator(*_UNARY)
@operator(*_ACTIVATIONS, traits=Trait.BENDS | Trait.ZERO)
@operator("Relu", traits=Trait.BENDS | Trait.ZERO | Trait.SETTLES)
@operator("HardSigmoid", "Softplus", traits=Trait.BENDS)
@operator("Sigmoid", traits=Trait.BENDS | Trait.SHARES)
@operator("Softmax", traits=Trait.SHARES | Trait.SOFTMAX)
@operator("LogSoftmax", "Hardmax", traits=Trait.SHARES)
@operator("Sin", "Cos", traits=Trait.PERIODIC)
@operator("Sqrt", traits=Trait.ROOT)
@operator("Neg", "Abs", traits=Trait.MAGNITUDE)
@operator("Clip", traits=Trait.MAGNITUDE | Trait.BOUNDS | Trait.SETTLES, settings=(1, 2))
@operator("Dropout", traits=Trait.MAGNITUDE, settings=(1, 2))
@operator("CumSum", traits=Trait.COUNTS | Trait.LINEAR, numbers=(1,))
@operator("CumProd", numbers=(1,))
@operator("Trilu", numbers=(1,))
@operator("EyeLike", traits=Trait.MEASURES)
@operator(*_STEPS, traits=Trait.NO_GRADIENT)
def unary(ctx: RuleContext) -> None:
    """Shape in, shape out. Softmax and the like mix along an axis without changing it."""
    axes = ctx.axes(0)
    for slot in range(len(ctx.node.output)):
        ctx.out(axes, _followed(ctx) if slot == 0 else None, slot)


@operator("Identity", traits=Trait.VIEW)
def identity(ctx: RuleContext) -> None:
    """The input under another name, contents included; also a sequence."""
    if ctx.fact(0).members is not None:
        ctx.outputs[0] = ctx.fact(0)
        return
    ctx.out(ctx.axes(0), ctx.value(0), strides=ctx.strides(0), below=ctx.below(0))


@operator("Cast", traits=Trait.VIEW)
@operator("CastLike", traits=Trait.VIEW, settings=(1,))
def cast(ctx: RuleContext) -> None:
    """Contents pass; a float becomes an integer by truncation."""
    value = ctx.value(0)
    if value is not None and ctx.node.op_type == "Cast" and not varies(value):
        target = ctx.attr("to")
        number = value.flat[0] if value.size else None
        if target == onnx.TensorProto.BOOL:
            value = apply("cast", bool, value)
        elif target in _FLOATS:
            value = value if isinstance(value_of(number), float) else apply("cast", float, value)
        elif any(isinstance(value_of(n), float | bool) for n in value.flat):
            value = apply("cast", int, value)
    ctx.out(ctx.axes(0), value, strides=ctx.strides(0), below=ctx.below(0))


_FLOATS = (
    onnx.TensorProto.FLOAT,
    onnx.TensorProto.FLOAT16,
    onnx.TensorProto.DOUBLE,
    onnx.TensorProto.BFLOAT16,
)


@operator("SwiGLU", traits=Trait.BENDS | Trait.MULTIPLIES)
def swiglu(ctx: RuleContext) -> None:
    """The activation of a gate times what it gates: of one shape, without broadcasting."""
    ctx.unify_shapes(ctx.axes(0), ctx.axes(1))
    ctx.out(ctx.axes(0))


@operator("Add", "Sub", traits=Trait.SHIFTS)
@operator("Mul", traits=Trait.MULTIPLIES)
@operator("Div", traits=Trait.DIVIDES)
@operator("PRelu", traits=Trait.BENDS | Trait.ZERO | Trait.PARAMETERS)
@operator("Max", "Min", traits=Trait.BOUNDS)
@operator("Mean", "Mod", "Pow", "Sum")
@operator("And", traits=Trait.NO_GRADIENT | Trait.MULTIPLIES)
@operator(*_COMPARING, traits=Trait.NO_GRADIENT)
def broadcasting(ctx: RuleContext) -> None:
    """Multidirectional broadcasting: axes that meet are one, unless one of them is 1."""
    axes = ctx.broadcast(*(ctx.axes(slot) for slot in range(len(ctx.facts))))
    ctx.out(axes, _followed(ctx), strides=_strides(ctx))


def _strides(ctx: RuleContext) -> dict[int, object] | None:
    """Counters add up; a number stretches their steps."""
    if ctx.node.op_type not in ("Add", "Mul"):
        return None
    a, b = ctx.strides(0), ctx.strides(1)
    if ctx.node.op_type == "Add":
        return {**a, **b} if a is not None and b is not None and a.keys().isdisjoint(b) else None
    for strides, factor in ((a, ctx.value(1)), (b, ctx.value(0))):
        if strides and factor is not None and factor.size == 1 and all(step == 1 for step in strides.values()):
            return dict.fromkeys(strides, factor.reshape(-1)[0])
    return None


@operator("Where", traits=Trait.CHOOSES)
def where(ctx: RuleContext) -> None:
    """As broadcasting; where the condition is shape arithmetic, the branch it takes has to stay the same."""
    axes = ctx.broadcast(ctx.axes(0), ctx.axes(1), ctx.axes(2))
    condition, yes, no = ctx.value(0), ctx.value(1), ctx.value(2)
    if condition is None or yes is None or no is None:
        ctx.out(axes)
        return
    condition, yes, no = np.broadcast_arrays(condition, yes, no)
    if condition.size > FOLLOWED:
        ctx.out(axes)
        return
    out = np.empty(condition.shape, dtype=object)
    for place in np.ndindex(condition.shape):
        out[place] = _chosen(ctx, condition[place], yes[place], no[place])
    ctx.out(axes, None if any(number is None for number in out.flat) else out)


def _chosen(ctx: RuleContext, condition: object, yes: object, no: object) -> object:
    """The branch a condition takes; None if that differs between the iterations of a loop."""
    size = _wrapped_by(condition, yes, no)
    if isinstance(no, Varying):
        if size is not None and size.value == size_of(no.axis):
            size.site.bind(no.axis)
        return no if size is not None else None
    if isinstance(condition, Varying):
        return None
    ctx.records.conditions.append((ctx.index, cast_number(condition)))
    if size is not None and not value_of(condition):
        return computed("wrap", lambda start, _: start, no, size)
    return yes if value_of(condition) else no


def _wrapped_by(condition: object, yes: object, no: object) -> Literal | None:
    """The n of `place < 0 ? place + n : place`, with which exporters count places from the back of an axis."""
    if not isinstance(condition, Varying | Expression) or not isinstance(yes, Varying | Expression):
        return None
    if (condition.op, yes.op) != ("less", "add") or value_of(condition.args[1]) != 0:
        return None
    place, size = yes.args
    same = all(other is no or _equal_literals(other, no) for other in (place, condition.args[0]))
    counts = not isinstance(no, Varying) or no.op == "counter"  # which is never below zero
    return size if same and counts and isinstance(size, Literal) else None


def _equal_literals(a: object, b: object) -> bool:
    return isinstance(a, Literal) and isinstance(b, Literal) and a.value == b.value
