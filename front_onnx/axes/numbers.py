"""Symbolic numbers: the contents of the small tensors with which a graph computes its shapes.

Shapes are values: Shape -> Gather -> Concat -> Reshape chains are followed element by element. A number is a literal
from the file (with the place it stands in, so that it can be rewritten), the size of an axis, or an expression of
numbers; each knows its value in the source model and can be evaluated again at other sizes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from front_onnx.axes.size import Axis, Conflict, size_of
from front_onnx.read.tensor_data import is_float, machine_epsilon

__all__ = [
    "FOLLOWED",
    "Binding",
    "Expression",
    "Extent",
    "Literal",
    "Number",
    "Site",
    "Varying",
    "apply",
    "as_literals",
    "cast_number",
    "computed",
    "counters",
    "evaluate",
    "integer_division",
    "literals",
    "made_of_few",
    "power",
    "root_power",
    "value_of",
    "varies",
    "wrapped",
]


FOLLOWED = 4096  # the most elements of a tensor whose contents are followed


@dataclass(frozen=True, eq=False)
class Binding:
    """What a number stands for: sign * factor * ((size of axis + plus) / size of under) ** power.

    Node `reader` takes it so.
    """

    axis: Axis
    sign: int = 1
    power: float = 1
    under: Axis = ()
    reader: int | None = None
    factor: float = 1
    plus: int = 0

    def at(self, size: Callable[[Axis], int]) -> int | float:
        """The number when axes have the sizes that `size` gives them."""
        whole, part = size(self.axis) + self.plus, size(self.under)
        quotient = whole // part if whole % part == 0 else whole / part
        number = quotient if self.power == 1 else quotient**self.power
        return self.sign * (number if self.factor == 1 else self.factor * number)


@dataclass(eq=False)
class Site:
    """One element of a constant as one node input reads it: where a number would be rewritten."""

    node: int
    slot: int
    element: int
    value: int | float | bool
    bindings: list[Binding] = field(default_factory=list)
    error: float = 0.0  # relative, of the type it is written in

    def bind(self, axis: Axis, sign: int = 1, power: float = 1, under: Axis = (), reader: int | None = None) -> None:
        """Say that this number stands for the size of `axis`, negated, raised to a power or divided by another."""
        self.bindings.append(Binding(axis, sign, power, under, reader))


@dataclass(eq=False)
class Literal:
    """A number written in the file."""

    site: Site

    @property
    def value(self) -> int | float | bool:
        """The number in the source model."""
        return self.site.value


@dataclass(eq=False)
class Extent:
    """The size of an axis, taken at run time by Shape.

    `free`: of a constant that is there for its shape alone, and whose axis nothing has been said about yet.
    """

    axis: Axis
    free: bool = False

    @property
    def value(self) -> int:
        """The size in the source model."""
        return size_of(self.axis)


@dataclass(eq=False)
class Expression:
    """A function of other numbers. `op` names it where the algebra can use it (add, mul, div)."""

    op: str
    function: Callable[..., int | float | bool]
    args: tuple[Number, ...]
    value: int | float | bool


@dataclass(eq=False)
class Varying:
    """A number that differs from one iteration of a body to the next: the counter of a loop, or made of it.

    A counter (`op` is "counter") runs from 0 to the size of `axis`.
    """

    op: str
    args: tuple[Number, ...] = ()
    axis: Axis = ()

    @property
    def value(self) -> int:
        """No plan can know it.

        Raises:
            Conflict: always.
        """
        raise Conflict("a number that differs between the iterations of a loop")


Number = Literal | Extent | Expression | Varying


def value_of(number: object) -> int | float | bool:
    """The plain number behind a symbolic or plain one.

    Raises:
        Conflict: it differs between iterations.
    """
    return number.value if isinstance(number, Number) else number  # type: ignore[return-value]


def varies(value: np.ndarray | None) -> bool:
    """True if contents differ between iterations."""
    return value is not None and any(isinstance(number, Varying) for number in value.flat)


def counters(number: object) -> Iterator[Varying]:
    """The counters that a number depends on."""
    waiting, seen = [number], {id(number)}
    while waiting:  # parts are shared: each is looked at once
        current = waiting.pop()
        if isinstance(current, Varying):
            if current.op == "counter":
                yield current
            new = [arg for arg in current.args if id(arg) not in seen]
            seen.update(map(id, new))
            waiting += reversed(new)


def _number(value: object) -> Number:
    if isinstance(value, Number):
        return value
    return Expression("constant", lambda: value, (), value)  # type: ignore[arg-type, return-value]


_BITS = 64


def wrapped(value: int | float | bool) -> int | float | bool:
    """A whole number as 64 bits hold it: what is too large wraps around, as it does at run time."""
    if type(value) is not int or -1 << _BITS - 1 <= value < 1 << _BITS - 1:
        return value
    return (value + (1 << _BITS - 1)) % (1 << _BITS) - (1 << _BITS - 1)


def computed(op: str, function: Callable[..., int | float | bool], *args: object) -> Number:
    """A function of numbers, symbolic or plain."""
    numbers = tuple(map(_number, args))
    if any(isinstance(number, Varying) for number in numbers):
        return Varying(op, numbers)
    return Expression(op, function, numbers, wrapped(function(*(n.value for n in numbers))))


def power(a: float, b: float) -> float:
    """ONNX Pow; of whole numbers as 64 bits hold it."""
    if isinstance(a, int) and isinstance(b, int) and b >= 0:
        return wrapped(pow(a, b, 1 << _BITS))
    result: float | complex = a**b
    if isinstance(result, complex):
        raise ValueError("a root of a negative number")
    return result


def cast_number(element: object) -> Number:
    """An element of an object array, which is always a number."""
    assert isinstance(element, Number)
    return element


def apply(op: str, function: Callable[..., int | float | bool], *arrays: np.ndarray) -> np.ndarray | None:
    """Apply a scalar function to broadcast arrays of numbers; None if it fails on the values, or they are many."""
    if math.prod(np.broadcast_shapes(*(array.shape for array in arrays))) > FOLLOWED:
        return None
    try:
        result = np.frompyfunc(lambda *args: computed(op, function, *args), len(arrays), 1)(*arrays)
    except (ArithmeticError, TypeError, ValueError):
        return None
    return np.asarray(result, dtype=object)


def as_literals(array: np.ndarray, node: int, slot: int) -> np.ndarray:
    """Wrap each element of a constant as a literal of the node input that reads it."""
    error = machine_epsilon(array.dtype) if is_float(array.dtype) else 0.0
    flat = [Literal(Site(node, slot, i, v, error=error)) for i, v in enumerate(array.ravel().tolist())]
    out = np.empty(array.size, dtype=object)
    out[:] = flat
    return out.reshape(array.shape)


def literals(number: Number) -> Iterator[Literal]:
    """The literals that an expression depends on, each once."""
    waiting, seen = [number], {id(number)}
    while waiting:  # not recursive: sums over all layers are deeper than the stack
        current = waiting.pop()
        if isinstance(current, Literal):
            yield current
        elif isinstance(current, Expression):
            new = [arg for arg in current.args if id(arg) not in seen]
            seen.update(map(id, new))
            waiting += reversed(new)


_TERMS = 500


def made_of_few(number: Number) -> bool:
    """True if the sums and products that a number is written as have few terms, shared ones counted each time."""
    waiting, count = [number], 0
    while waiting and count <= _TERMS:
        current = waiting.pop()
        count += 1
        if isinstance(current, Expression) and current.op in ("add", "mul"):
            waiting += current.args
    return count <= _TERMS


def evaluate(
    number: Number,
    extent: Callable[[Axis], int],
    literal: Callable[[Literal], float],
    known: dict[int, float] | None = None,
) -> float:
    """The number at other sizes: `extent` gives an axis its size, `literal` a literal its new value.

    `known` keeps what has been evaluated, by id: expressions share parts.
    """
    known = {} if known is None else known
    waiting = [number]
    while waiting:
        current = waiting[-1]
        if isinstance(current, Literal):
            known[id(current)] = literal(current)
        elif isinstance(current, Extent):
            known[id(current)] = extent(current.axis)
        elif isinstance(current, Varying):
            known[id(current)] = current.value
        elif missing := [arg for arg in current.args if id(arg) not in known]:
            waiting += missing
            continue
        else:
            known[id(current)] = wrapped(current.function(*(known[id(arg)] for arg in current.args)))
        waiting.pop()
    return known[id(number)]


def integer_division(a: float, b: float) -> float:
    """ONNX Div: integers truncate towards zero."""
    if isinstance(a, int) and isinstance(b, int):
        return math.trunc(a / b) if abs(a) < 2**50 else a // b
    return a / b


_POWERS = (0.5, -0.5, 0.25, -0.25)
_CLOSE = 1e-4  # relative: exporters write these roots in single precision or better


def root_power(value: float, size: int, error: float = 0.0) -> float | None:
    """The power p with value = size^p, of the roots that attention uses; None if it is none of them.

    `error` is the relative precision of the value, where half precision is coarser than exporters are.
    """
    close = max(_CLOSE, error)
    return next((p for p in _POWERS if size > 1 and math.isclose(value, size**p, rel_tol=close)), None)
