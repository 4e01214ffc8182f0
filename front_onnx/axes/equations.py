"""Literals inside run-time arithmetic: what does the 4 in `batch * 4` stand for?

Where a computed number was met as the size of an axis, and one literal in it has no meaning yet, the literal stands
for the size variables that the other operands leave over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from front_onnx.axes.algebra import Algebra
from front_onnx.axes.numbers import Binding, Expression, Extent, Literal, Number, Site, literals
from front_onnx.axes.size import Axis, SizeVar, size_of

__all__ = ["follow_siblings", "solve"]


def solve(algebra: Algebra, equations: Iterable[tuple[int, Number, Axis]]) -> None:
    """Bind every literal that an equation determines."""
    expressions = [(node, number, axis) for node, number, axis in equations if isinstance(number, Expression)]
    solver = _Solver(algebra)
    for _, number, axis in expressions:
        solver.met.setdefault(id(number), []).append(axis)
    bound = -1
    while bound != (bound := sum(len(lit.site.bindings) for _, number, _ in expressions for lit in literals(number))):
        for solver.node, number, axis in expressions:
            solver.solve(number, axis)


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


class _Solver:
    """`met`: the axes that computed numbers were met as the size of, by the number's id; `node`: where one was met."""

    node: int | None = None

    def __init__(self, algebra: Algebra) -> None:
        self.algebra = algebra
        self.met: dict[int, list[Axis]] = {}

    def solve(self, number: Number, axis: Axis) -> None:
        """Bind what is still unknown in a number that is the size of an axis."""
        if isinstance(number, Literal):
            known = any(self.algebra.same(binding.axis, axis) for binding in number.site.bindings)
            if number.value == size_of(axis) and number.value > 1 and not known:
                number.site.bind(self.algebra.expand(axis), reader=self.node)
        elif not isinstance(number, Expression):
            return
        elif number.op in ("cast", "floor", "ceil") and len(number.args) == 1:
            self.solve(number.args[0], axis)
        elif number.op == "mul":
            factors = list(_factors(number))
            unknown = [f for f in factors if self.axis(f) is None and not _is_one(f)]
            # A literal may have a meaning elsewhere and another one here: every reader says what it takes it for.
            for factor in unknown if unknown else factors:
                given = [var for f in factors if f is not factor for var in self.axis(f) or ()]
                left = _without(self.algebra, axis, given)
                if len(unknown) <= 1 and left is not None and isinstance(factor, Literal | Expression):
                    self.solve(factor, left)
        elif number.op == "div":
            whole, part = number.args
            self._quotient(whole, part, axis)

    def _quotient(self, whole: Number, part: Number, axis: Axis) -> None:
        under = self.axis(part)
        wholes = list(self.axes(whole))
        if not wholes:
            if under is not None:
                self.solve(whole, (*axis, *under))
        elif under is None:
            left = next((rest for over in wholes if (rest := _without(self.algebra, over, axis)) is not None), None)
            if left is not None:
                self.solve(part, left)
            elif isinstance(part, Literal) and not part.site.bindings:
                part.site.bind(
                    wholes[0], under=self.algebra.expand(axis), reader=self.node
                )  # width // heads is the size of a head

    def axis(self, number: Number) -> Axis | None:
        """The axis a number is known to be the size of."""
        return next(self.axes(number), None)

    def axes(self, number: Number) -> Iterator[Axis]:
        """All axes a number is known to be the size of."""
        if isinstance(number, Extent):
            yield number.axis
        elif isinstance(number, Literal) and number.site.bindings:
            binding = number.site.bindings[0]
            if binding.sign == binding.power == 1 and not binding.under:
                yield binding.axis
        elif isinstance(number, Expression):
            if number.op in ("cast", "floor"):
                yield from self.axes(number.args[0])
            elif number.op == "div":
                whole, part = number.args
                yield from self.met.get(id(number), ())
                yield from self._parts(whole, part)

    def _parts(self, whole: Number, part: Number) -> Iterator[Axis]:
        """One of the n equal parts of a whole, where n is written in the file: query, key and value are thirds."""
        if isinstance(part, Literal) and not part.site.bindings:
            for over in self.axes(whole):
                first, *rest = self.algebra.expand(over) or [None]
                if first is None or rest:
                    continue
                parts = first.parts or []
                if len(parts) == part.value and all(self.algebra.same(parts[0], other) for other in parts):
                    yield self.algebra.expand(parts[0])


def _factors(number: Number) -> Iterator[Number]:
    if isinstance(number, Expression) and number.op == "mul":
        for arg in number.args:
            yield from _factors(arg)
    else:
        yield number


def _is_one(number: Number) -> bool:
    return isinstance(number, Literal) and number.value == 1


def _without(algebra: Algebra, axis: Iterable[SizeVar], gone: Iterable[SizeVar]) -> Axis | None:
    """What is left of a product without some of its size variables; None if they are not all in it."""
    left = list(algebra.expand(axis))
    for var in algebra.expand(gone):
        if var not in left:
            return None
        left.remove(var)
    return tuple(left)
