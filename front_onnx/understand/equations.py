"""Literals inside run-time arithmetic: what does the 4 in `batch * 4` stand for?

Where a computed number was met as the size of an axis, and one literal in it has no meaning yet, the literal stands
for the atoms that the other operands leave over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from front_onnx.understand.atoms import Algebra, Atom, Axis, size_of
from front_onnx.understand.numbers import Binding, Expression, Extent, Literal, Number, Site, literals

__all__ = ["follow_siblings", "solve"]


def solve(algebra: Algebra, equations: Iterable[tuple[int, Number, Axis]]) -> None:
    """Bind every literal that an equation determines."""
    for _, number, axis in equations:
        if isinstance(number, Expression):
            _solve(algebra, number, axis)


def follow_siblings(
    conditions: Iterable[tuple[int, Number]], sites: Iterable[Site], constant: Callable[[Site], str]
) -> None:
    """A literal that only decides a branch (is it -1?) means what it means where else it is read."""
    bound: dict[tuple[str, int], list[Binding]] = {}
    for site in sites:
        if site.bindings:
            bound.setdefault((constant(site), site.element), site.bindings)
    for _, number in conditions:
        for literal in literals(number):
            if not literal.site.bindings:
                literal.site.bindings.extend(bound.get((constant(literal.site), literal.site.element), ()))


def _solve(algebra: Algebra, number: Number, axis: Axis) -> None:
    if isinstance(number, Literal):
        if number.value == size_of(axis) and number.value > 1:
            number.site.bind(algebra.expand(axis))
        return
    if not isinstance(number, Expression):
        return
    if number.op in ("cast", "floor", "ceil") and len(number.args) == 1:
        _solve(algebra, number.args[0], axis)
    elif number.op == "mul":
        factors = list(_factors(number))
        unknown = [f for f in factors if _axis(f) is None and not _is_one(f)]
        known = [atom for f in factors for atom in _axis(f) or ()]
        left = _without(algebra, axis, known)
        if len(unknown) == 1 and left is not None:
            _solve(algebra, unknown[0], left)
    elif number.op == "div":
        whole, part = number.args
        over, under = _axis(whole), _axis(part)
        if over is not None and under is None:
            left = _without(algebra, over, axis)
            if left is not None:
                _solve(algebra, part, left)
            elif isinstance(part, Literal) and not part.site.bindings:
                part.site.bind(over, under=algebra.expand(axis))  # width // heads is the size of a head
        elif over is None and under is not None:
            _solve(algebra, whole, (*axis, *under))


def _factors(number: Number) -> Iterator[Number]:
    if isinstance(number, Expression) and number.op == "mul":
        for arg in number.args:
            yield from _factors(arg)
    else:
        yield number


def _is_one(number: Number) -> bool:
    return isinstance(number, Literal) and number.value == 1


def _axis(number: Number) -> Axis | None:
    """The axis a number is known to be the size of."""
    if isinstance(number, Extent):
        return number.axis
    if isinstance(number, Literal) and number.site.bindings:
        binding = number.site.bindings[0]
        return binding.axis if binding.sign == binding.power == 1 and not binding.under else None
    if isinstance(number, Expression) and number.op == "cast":
        return _axis(number.args[0])
    return None


def _without(algebra: Algebra, axis: Iterable[Atom], gone: Iterable[Atom]) -> Axis | None:
    """What is left of a product without some of its atoms; None if they are not all in it."""
    left = list(algebra.expand(axis))
    for atom in algebra.expand(gone):
        if atom not in left:
            return None
        left.remove(atom)
    return tuple(left)
