"""Scalars that may be computed from a size, although nothing in the graph says so: told, and left as they are.

A number beside an axis that is a plain expression of the size of that axis to the last digit, and is no round number
that anybody could have chosen, was hardly chosen: 1/sqrt(3 n), n^(-1/4), sqrt(2 / (5 n)), ln n, n - 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING

from front_onnx.axes.numbers import Expression, Literal, Number, literals, root_power
from front_onnx.axes.size import Axis, SizeVar, size_of
from front_onnx.constants.degrees import Degrees
from front_onnx.constants.scalars import maker_of, scaled

if TYPE_CHECKING:
    from front_onnx.operators.analysis import Analysis

__all__ = ["Suspect", "formula_of", "suspects"]

_LEAST = 5  # sizes below are numbers like any other
_MANY = 9  # sizes from which one more or less is no number like any other
_EXACT = 1e-6  # relative: what single precision leaves of a number that was computed
_TERMS = 8  # of the fractions of a size: fan_in + fan_out, over 2 or 6
_FEW = 6  # of the fractions whose root is a number like any other: sqrt(2), 1/sqrt(3)
_POWERS = (0.5, -0.5, 1.0, -1.0, 0.25, -0.25)
_WHOLE = (*_POWERS, 0.75, -0.75, 1.5, -1.5, 2.0, -2.0, 1 / 3, -1 / 3)  # of the size itself


@dataclass(frozen=True)
class Formula:
    """What a number may be computed by.

    Attributes:
        words: in terms of n.
        at: the number for a size.
    """

    words: str
    at: Callable[[int], float]


@dataclass(frozen=True)
class Suspect:
    """A scalar that may be computed from a size.

    Attributes:
        node: the node that scales by it.
        value: in the source.
        axis: the size.
        formula: how.
    """

    node: int
    value: float
    axis: Axis
    formula: Formula


def suspects(analysis: Analysis, changed: set[SizeVar]) -> Iterator[Suspect]:
    """The unbound scalars that a size which changes would give, beside a tensor that has it or is a sum over it."""
    degrees = Degrees(analysis)
    for index, number, tensor in scaled(analysis):
        if not _is_free(number):
            continue
        own = list(analysis.facts[tensor].axes or ()) if tensor in analysis.facts else []
        grown = [growth.axis for growth in degrees.of(tensor)]
        # Scores may be scaled by a width that is no longer among their axes.
        others = [(var,) for var in changed] if maker_of(analysis, tensor) in analysis.products else []
        value, error = float(number.value), max(literal.site.error for literal in literals(number))
        for axis in (*own, *grown, *others):
            if size_of(axis) < _LEAST or changed.isdisjoint(analysis.algebra.free_variables(axis)):
                continue
            found = _plain(value, size_of(axis), error, whole=axis in own)
            if found is None and (axis in own or axis in grown):
                found = formula_of(value, size_of(axis), error)
            if found is not None:
                yield Suspect(index, value, axis, found)
                break


def _is_free(number: Number) -> bool:
    """True if a number is written in the file, or computed of such numbers alone, and none of them means a size."""
    waiting, found = [number], 0
    while waiting:
        current = waiting.pop()
        if isinstance(current, Literal):
            found += 1
            if current.site.bindings:
                return False
        elif isinstance(current, Expression):
            waiting += current.args
        else:
            return False
    return found > 0


def _plain(value: float, size: int, error: float, *, whole: bool) -> Formula | None:
    """A size that a number is, or its root: told whatever else the number may be."""
    power = root_power(value, size, error)
    if power is not None and abs(power) == 0.5:
        return _power(Fraction(1), power)
    near = (p for p in (1.0, -1.0) if whole and math.isclose(value, float(size) ** p, rel_tol=1e-6))
    return next((_power(Fraction(1), p) for p in near), None)


def formula_of(value: float, size: int, error: float = 0.0) -> Formula | None:
    """The expression of a size that gives a number to the last digit; None for round numbers, and if there is none.

    Args:
        value: the number.
        size: the size.
        error: how far from exact the number may be, relative, where it is written in less than single precision.
    """
    if not math.isfinite(value) or value <= 0 or size < _LEAST or error > 1e-4:
        return None
    close = max(_EXACT, error)
    for formula, chosen in _formulas(size):
        if math.isclose(value, formula.at(size), rel_tol=close) and not (_is_short if chosen else _is_round)(value):
            return formula
    return _times_root(value, size, close)


def _times_root(value: float, size: int, close: float) -> Formula | None:
    """A root of a size times a number of two digits; of square numbers a root is a number like any other."""
    for power in (0.5, -0.5) if math.isqrt(size) ** 2 != size and not _is_round(value) else ():
        factor = float(f"{value / size**power:.1e}")
        formula = Formula(f"{factor:g} n{_exponent(power)}", lambda n, f=factor, p=power: f * n**p)  # type: ignore[misc]
        if math.isclose(value, formula.at(size), rel_tol=close):
            return formula
    return None


@lru_cache(maxsize=64)
def _formulas(size: int) -> list[tuple[Formula, bool]]:
    """The expressions of a size, the plainest first; True for those that only the shortest numbers are not."""
    found = [(_power(Fraction(1), power), False) for power in _WHOLE]
    for plus in (-1, 1) if size >= _MANY else ():
        found += [(_shifted(plus, power), True) for power in (1.0, -1.0, 0.5, -0.5)]
        found += [(_corrected(plus, power), False) for power in (1.0, -1.0, 0.5, -0.5)]
    for name, function in (("ln", math.log), ("log2", math.log2)):
        found += [(_logarithm(name, function, power), False) for power in (1.0, -1.0, 0.5, -0.5)]
    shares = {Fraction(a, b) for a in range(1, _TERMS + 1) for b in range(1, _TERMS + 1)} - {Fraction(1)}
    for share in sorted(shares, key=lambda share: share.numerator + share.denominator):
        found += [(_power(share, power), False) for power in _POWERS]
    return found


def _power(share: Fraction, power: float) -> Formula:
    base = "n" if share == 1 else f"({share} n)"
    return Formula(base + _exponent(power), lambda size: (float(share) * size) ** power)


def _shifted(plus: int, power: float) -> Formula:
    base = f"n {'-' if plus < 0 else '+'} 1"
    return Formula(base if power == 1 else f"({base}){_exponent(power)}", lambda size: float(size + plus) ** power)


def _corrected(plus: int, power: float) -> Formula:
    base = f"(n / (n {'-' if plus < 0 else '+'} 1))"
    return Formula(base + _exponent(power), lambda size: (size / (size + plus)) ** power)


def _logarithm(name: str, function: Callable[[float], float], power: float) -> Formula:
    base = f"{name} n"
    return Formula(base if power == 1 else f"({base}){_exponent(power)}", lambda size: function(size) ** power)


def _exponent(power: float) -> str:
    share = Fraction(power).limit_denominator(8)
    return "" if share == 1 else f"^{share}" if share.denominator == 1 and share > 0 else f"^({share})"


def _is_short(value: float) -> bool:
    """True for one digit, whatever the power of ten, and for the largest number of a byte and one over it."""
    return any(math.isclose(value, known, rel_tol=_EXACT) for known in (float(f"{value:.0e}"), 255, 1 / 255))


def _is_round(value: float) -> bool:
    """True for what is written down as it is: few digits, one over a digit, a power of two, the root of a fraction."""
    square, octaves = value * value, math.log2(value)
    return (
        math.isclose(value, float(f"{value:.2e}"), rel_tol=_EXACT)
        or _is_short(1 / value)
        or abs(octaves - round(octaves)) < _EXACT
        or any(math.isclose(square, a / b, rel_tol=2 * _EXACT) for a in range(1, _FEW + 1) for b in range(1, _FEW + 1))
    )
