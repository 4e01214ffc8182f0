"""The algebra of axes: every axis is a product of size variables, every size variable may be a sum of axes.

An **axis** is a tuple of size variables, a product in row-major order: 768 = 12 x 64 after a Reshape; `()` has size 1.
A **size variable** is a size that nothing has cut yet, or one bound to a product (`factors`) or to a sum of axes
(`parts`: 2304 = 768 + 768 + 768 after one Split). Unifying two axes unifies their size variables (union-find) and cuts
them to a common refinement first. Sizes are those of the source model, with a prime in place of each size known only
at run time, so that whether a cut is possible is always decidable; size variables are never identified by their size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate

from front_onnx.axes.holds import Hold, Why
from front_onnx.axes.size import Axis, AxisRole, Conflict, SizeVar, size_of

__all__ = ["Algebra", "shown"]


_SUMMED = frozenset({AxisRole.CONTRACTED})  # roles of a whole axis, however it is made
_GROUPED = frozenset({AxisRole.GROUPS, AxisRole.SINGLE})
_HANDED_DOWN = _SUMMED | _GROUPED  # roles of what a size variable is cut into later
_PARTS = 1024  # of a sum, unless one Concat joins more


def shown(axis: Iterable[SizeVar]) -> str:
    """A size in words: that of symbolic dims is a prime which means nothing to anybody."""
    sized, words = 1, []
    for var in axis:
        if var.symbol is not None or AxisRole.UNKNOWN in var.roles:
            words.append(var.symbol or "a size known only at run time")
        else:
            sized *= var.size
    return " x ".join([*([str(sized)] if sized > 1 or not words else []), *words])


def _ends(var: SizeVar) -> set[int]:
    """Where the segments of a sum end."""
    return set(accumulate(map(size_of, var.parts or ())))


@dataclass(frozen=True)
class _State:
    """What a size variable was before it was changed."""

    link: SizeVar | None
    factors: tuple[SizeVar, ...] | None
    parts: list[Axis] | None
    holds: frozenset[Hold]
    roles: frozenset[AxisRole]
    symbols: frozenset[str]

    @classmethod
    def of(cls, var: SizeVar) -> _State:
        parts = None if var.parts is None else [*var.parts]
        return cls(var.link, var.factors, parts, var.holds, var.roles, var.symbols)

    def restore(self, var: SizeVar) -> None:
        var.link, var.factors, var.parts = self.link, self.factors, self.parts
        var.holds, var.roles, var.symbols = self.holds, self.roles, self.symbols


class Algebra:
    """Makes, cuts and unifies size variables. Every method returns axes in expanded form (see `expand`)."""

    def __init__(self) -> None:
        self._variables: list[SizeVar] = []
        self._changed: dict[SizeVar, _State] | None = None  # while something is attempted
        self._closed = False
        self.equalities: list[
            tuple[Axis, Axis]
        ] = []  # of axes of one size whose cuts do not nest (a rolled spatial size)

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Undo all that is done to size variables inside if it ends in a Conflict, which goes on to the caller.

        Raises:
            Conflict: what is done inside does not fit.
        """
        outer, self._changed = self._changed, {}
        variables, equalities = len(self._variables), len(self.equalities)
        try:
            yield
        except Conflict:
            for var, state in self._changed.items():
                state.restore(var)
            del self._variables[variables:], self.equalities[equalities:]
            raise
        else:
            if outer is not None:
                outer.update({var: state for var, state in self._changed.items() if var not in outer})
        finally:
            self._changed = outer

    def close(self) -> None:
        """Let nothing be changed any more: what is understood is read from here on."""
        for var in self._variables:
            self._root(var)
        self._closed = True

    def _changing(self, var: SizeVar) -> SizeVar:
        """A size variable that is about to be changed."""
        assert not self._closed, "what is understood is not changed afterwards"
        if self._changed is not None and var not in self._changed:
            self._changed[var] = _State.of(var)
        return var

    def _root(self, var: SizeVar) -> SizeVar:
        while var.link is not None:
            if var.link.link is not None and not self._closed:
                self._changing(var).link = var.link.link
            var = var.link
        return var

    # -- why sizes stay, and what they are for ------------------------------------------------------------------

    def hold(self, axis: Iterable[SizeVar], *holds: Hold) -> None:
        """Add reasons why an axis keeps its size."""
        for var in self.free_variables(axis):
            self._changing(var).holds |= frozenset(holds)

    def release(self, axis: Iterable[SizeVar], *whys: Why) -> None:
        """Take these reasons away from an axis, and leave all others."""
        for var in self.free_variables(axis):
            self._changing(var).holds = frozenset(hold for hold in var.holds if hold.why not in whys)

    def mark(self, axis: Iterable[SizeVar], role: AxisRole) -> None:
        """Note what an axis is used for."""
        for var in self.free_variables(axis):
            self._changing(var).roles |= {role}

    def name(self, axis: Iterable[SizeVar], symbol: str) -> None:
        """Note that an axis is a symbolic dim."""
        for var in self.free_variables(axis):
            self._changing(var).symbols |= {symbol}

    def _all_fixed(self, *axes: Iterable[SizeVar]) -> bool:
        return all(var.fixed or var.frozen for axis in axes for var in self.free_variables(axis))

    def _variable(self, size: int, *holds: Hold) -> SizeVar:
        assert not self._closed, "what is understood is not changed afterwards"
        self._variables.append(SizeVar(size, frozenset(holds)))
        return self._variables[-1]

    def new(self, size: int, *holds: Hold) -> Axis:
        """A fresh axis of one size variable; size 1 is the empty product, for a 1 carries no dim."""
        return () if size == 1 else (self._variable(size, *holds),)

    def _child(self, parent: SizeVar, size: int) -> Axis:
        """A part of a size variable, which inherits why it stays."""
        return self.new(size, *parent.holds)

    def settle(self) -> None:
        """Hand down why a size variable stays, and what it is used for, to the size variables it is made of."""
        for var in self._variables:
            root = self._root(var)
            if not var.holds <= root.holds:
                self._changing(root).holds |= var.holds
            if root.factors is not None or root.parts is not None:
                self._inherit(root)
        for left, right in self.equalities:
            both = [*self.free_variables(left), *self.free_variables(right)]
            roles = _SUMMED.intersection(role for var in both for role in var.roles)
            for var in both:
                self._changing(var).roles |= roles

    def expand(self, axis: Iterable[SizeVar]) -> Axis:
        """The axis as a product of root size variables, none of which is bound to a product."""
        axis = tuple(axis)
        for var in axis:
            if var.link is not None or var.factors is not None:
                break
        else:
            return axis  # as most are
        out: list[SizeVar] = []
        for var in axis:
            root = self._root(var)
            if root.factors is not None:
                out.extend(self.expand(root.factors))
            else:
                out.append(root)
        return tuple(out)

    def free_variables(self, axis: Iterable[SizeVar]) -> Iterator[SizeVar]:
        """The size variables an axis is made of in the end, sums opened."""
        for var in self.expand(axis):
            if var.parts is None:
                yield var
            else:
                for part in var.parts:
                    yield from self.free_variables(part)

    def segments(self, var: SizeVar) -> Iterator[Axis]:
        """The segments of a sum, those of sums among them opened."""
        for part in map(self.expand, var.parts or ()):
            if len(part) == 1 and part[0].parts is not None:
                yield from self.segments(part[0])
            else:
                yield part

    def evaluate(self, axis: Iterable[SizeVar], size: Callable[[SizeVar], int]) -> int:
        """Size of an axis when each free size variable has the size that `size` gives it."""
        total = 1
        for var in self.expand(axis):
            if var.parts is None:
                total *= size(var)
            else:
                total *= sum(self.evaluate(part, size) for part in var.parts)
        return total

    def same(self, left: Iterable[SizeVar], right: Iterable[SizeVar]) -> bool:
        """True if both axes are known to be one, without unifying anything."""
        a, b = self.expand(left), self.expand(right)
        if len(a) != len(b):
            return False
        for x, y in zip(a, b, strict=True):
            if x is y:
                continue
            if x.parts is None or y.parts is None or len(x.parts) != len(y.parts):
                return False
            if not all(self.same(p, q) for p, q in zip(x.parts, y.parts, strict=True)):
                return False
        return True

    def are_factors(self, left: Iterable[SizeVar], right: Iterable[SizeVar]) -> bool:
        """True if two axes were cut from one product, the left one in front."""
        pair = (*self.expand(left), *self.expand(right))
        products = (self.expand(var.factors) for var in self._variables if var.factors is not None)
        return any(pair in (p[i : i + len(pair)] for i in range(len(p))) for p in products)

    def total(self, parts: list[Axis]) -> Axis:
        """The axis that is the sum of `parts` (a Concat).

        Raises:
            Conflict: joined with itself again and again, it would have more parts than anything can walk over.
        """
        flat: list[Axis] = []
        for part in map(self.expand, parts):
            nested = part[0].parts if len(part) == 1 else None
            flat.extend(nested if nested is not None else [part])
        if len(flat) > max(_PARTS, len(parts)):
            raise Conflict(f"an axis that is a sum of {len(flat)} others")
        if len(flat) == 1:
            return flat[0]
        var = self._variable(sum(size_of(part) for part in flat))
        var.parts = flat
        return (var,)

    # -- cutting ----------------------------------------------------------------------------------------------

    def divide(self, axis: Iterable[SizeVar], trailing: int) -> tuple[Axis, Axis]:
        """Split an axis into (leading, trailing) factors, the last of size `trailing`.

        Raises:
            Conflict: if no refinement of the product has a cut there.
        """
        lead = list(self.expand(axis))
        trail: list[SizeVar] = []
        need = trailing
        while need > 1:
            if not lead:
                raise Conflict(f"{size_of(axis)} has no factor {trailing}", axes=axis)
            var = lead.pop()
            if need % var.size == 0:
                trail.insert(0, var)
                need //= var.size
            elif var.size % need == 0:
                first, last = self._factor(var, need)
                lead.extend(first)
                trail[:0] = last
                need = 1
            else:
                raise Conflict(f"a cut of {size_of(axis)} at {trailing} falls inside {var.size}", axes=axis)
        return tuple(lead), tuple(trail)

    def _factor(self, var: SizeVar, trailing: int) -> tuple[Axis, Axis]:
        """Bind one size variable to a product of two, the last of size `trailing`."""
        self._changing(var)
        if var.parts is None:
            first = self._child(var, var.size // trailing)
            trail: Axis | None = self._child(var, trailing)
        elif any(size_of(part) % trailing for part in var.parts):  # groups that reach over the ends of segments
            if self._all_fixed((var,)):
                var.holds |= {Hold(Why.FIXED_PARTS)}
            self.equalities.append((self.total(var.parts), (var,)))
            var.parts = None
            return self._factor(var, trailing)
        else:  # a sum is a product if every part has the factor: h*d + k*d = (h + k)*d
            leads: list[Axis] = []
            trail = None
            for part in var.parts:
                head, tail = self.divide(part, trailing)
                if trail is not None:
                    self.unify(tail, trail)
                leads.append(head)
                trail = tail
            if all(not self.expand(head) for head in leads):
                first = (self._variable(len(leads), Hold(Why.SEGMENTS)),)
            else:
                first = self.total(leads)
            var.parts = None
        assert trail is not None
        var.factors = (*first, *trail)
        return self.expand(first), self.expand(trail)

    def cut(self, axis: Iterable[SizeVar], at: int) -> tuple[Axis, Axis]:
        """Split an axis into two segments, the first of size `at` (0 < at < size).

        Raises:
            Conflict: if the axis is a product and the cut falls inside a row of it.
        """
        first, *rest = self.expand(axis)
        row = size_of(rest)
        if at % row:
            raise Conflict(f"a cut of {size_of(axis)} at {at} falls inside a row of {row}", axes=(first, *rest))
        at //= row
        self._changing(first)
        if first.parts is None:
            first.parts = [self._child(first, at), self._child(first, first.size - at)]
        parts = first.parts
        start = 0
        for index, part in enumerate(parts):
            end = start + size_of(part)
            if start < at < end:
                parts[index : index + 1] = [*self._segments(self.cut(part, at - start))]
                return self.cut(axis, at * row)
            if end == at:
                return (*self.total(parts[: index + 1]), *rest), (*self.total(parts[index + 1 :]), *rest)
            start = end
        raise Conflict(f"a cut at {at} is outside {first.size}", axes=(first,))

    def shuffled(self, axis: Iterable[SizeVar], segments: int) -> Axis | None:
        """One of equal segments of an axis that ends in as many fixed entries (channels after a shuffle), or None.

        No factor of the lead says where such a cut falls: a segment is as long as the lead, at every size.
        """
        variables = self.expand(axis)
        for place in range(len(variables) - 1, 0, -1):
            if not all(a.fixed or a.frozen or _GROUPED & a.roles for a in self.free_variables(variables[place:])):
                break
            if size_of(variables[place:]) == segments:
                dealt = variables[:place]
                chosen = any(var.is_held(Why.FILTERS) for var in self.free_variables(dealt))
                return dealt if chosen or not self._all_fixed(dealt) else None
        return None

    def _segments(self, axes: Iterable[Axis]) -> Iterator[Axis]:
        for axis in axes:
            expanded = self.expand(axis)
            if len(expanded) == 1 and expanded[0].parts is not None:
                yield from expanded[0].parts
            else:
                yield expanded

    # -- unifying ---------------------------------------------------------------------------------------------

    def unify(self, left: Iterable[SizeVar], right: Iterable[SizeVar]) -> None:
        """Make two axes one.

        Raises:
            Conflict: if their sizes differ or their cuts do not nest.
        """
        a, b = self.expand(left), self.expand(right)
        if a == b:
            return  # as most are where blocks are tied
        if size_of(a) != size_of(b):
            ratio = Fraction(size_of(b), size_of(a)) if size_of(a) else None
            raise Conflict(f"{shown(a)} is not {shown(b)}", ratio, axes=(*a, *b))
        try:
            self._unify([*reversed(a)], [*reversed(b)])
        except Conflict:
            if not self._all_fixed(a, b):
                raise
            self.equalities.append((a, b))

    def _unify(self, a: list[SizeVar], b: list[SizeVar]) -> None:
        """Unify two stacks of root size variables, first size variable on top."""
        while a and b:
            x, y = self._pop(a), self._pop(b)
            if x is y:
                continue
            if x.size == y.size:
                self._merge(x, y)
            elif x.size > y.size:
                self._match_front(x, y, a, b)
            else:
                self._match_front(y, x, b, a)

    def _pop(self, stack: list[SizeVar]) -> SizeVar:
        first, *rest = self.expand((stack.pop(),))
        stack.extend(reversed(rest))
        return first

    def _match_front(self, big: SizeVar, small: SizeVar, bigs: list[SizeVar], smalls: list[SizeVar]) -> None:
        if big.size % small.size:
            raise Conflict(f"{big.size} and {small.size} have no common refinement", axes=(big, small))
        lead, trail = self.divide((big,), big.size // small.size)
        bigs.extend(reversed((*lead, *trail)))
        smalls.append(small)

    def _merge(self, x: SizeVar, y: SizeVar) -> None:
        """Union of two roots of one size, neither bound to a product."""
        if x.parts is not None and y.parts is not None:
            self._unify_sums(x, y)
        if self._root(x) is self._root(y):
            return
        if x.parts is None:
            x, y = y, x
        self._changing(x)
        self._changing(y)
        y.link = x
        y.parts = None
        x.holds |= y.holds
        x.roles |= y.roles
        x.symbols |= y.symbols
        if x.parts is not None and x.holds:
            self._inherit(x)

    def _inherit(self, var: SizeVar) -> None:
        roles = var.roles & _HANDED_DOWN
        for free in self.free_variables((var,)):
            if not (var.holds <= free.holds and roles <= free.roles):
                self._changing(free)
                free.holds |= var.holds
                free.roles |= roles

    def _unify_sums(self, x: SizeVar, y: SizeVar) -> None:
        assert x.parts is not None and y.parts is not None
        while (ends := _ends(x)) != (others := _ends(y)):  # a cut may open a segment that was cut elsewhere
            for end in sorted(ends ^ others):
                self.cut((x,) if end in others else (y,), end)
        for p, q in zip(list(x.parts), list(y.parts), strict=True):
            self.unify(p, q)
