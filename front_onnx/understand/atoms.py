"""The algebra of axes: every axis is a product of atoms, every atom may be a sum of axes.

An **axis** is a tuple of atoms, a product in row-major order: 768 = 12 x 64 after one Reshape. `()` has size 1.
An **atom** is a size that nothing has cut yet, or one bound to a product (`factors`) or to a sum of axes (`parts`:
2304 = 768 + 768 + 768 after one Split). Unifying two axes unifies their atoms (union-find) and cuts them to a common
refinement first. Sizes are those of the source model, with a prime in place of each size known only at run time,
so that whether a cut is possible is always decidable; atoms are never identified by their size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import accumulate

__all__ = ["Algebra", "Atom", "Axis", "Conflict", "size_of"]


_SUMMED = {"contracted"}  # roles of a whole axis, however it is made
_HANDED_DOWN = _SUMMED | {"groups"}  # roles of what an atom is cut into later


class Conflict(Exception):
    """Two axes that a rule wants equal cannot be, or a cut falls inside an atom.

    `ratio` is wanted / got where sizes differ: a size known only at run time may have been baked into the graph.
    """

    def __init__(self, message: str, ratio: Fraction | None = None) -> None:
        super().__init__(message)
        self.ratio = ratio


class Atom:
    """One size. `fixed` says why it keeps its size unless set by name, `frozen` why it can never change."""

    __slots__ = ("factors", "fixed", "frozen", "link", "parts", "roles", "size")

    def __init__(self, size: int, *, fixed: str | None = None) -> None:
        self.size = size
        self.link: Atom | None = None
        self.factors: tuple[Atom, ...] | None = None
        self.parts: list[Axis] | None = None
        self.fixed = fixed
        self.frozen: str | None = None
        self.roles: set[str] = set()

    def __repr__(self) -> str:
        return f"<{self.size}{'!' if self.frozen else '*' if self.fixed else ''}>"


Axis = tuple[Atom, ...]


def size_of(axis: Iterable[Atom]) -> int:
    """Size of an axis in the source model (with primes for sizes known only at run time)."""
    return math.prod(atom.size for atom in axis)


def _shown(axis: Iterable[Atom]) -> str:
    """A size in words: that of symbolic dims is a prime which means nothing to anybody."""
    sized, words = 1, []
    for atom in axis:
        names = [role.removeprefix("symbol:") for role in atom.roles if role.startswith("symbol:")]
        if names or "unknown" in atom.roles:
            words.append(names[0] if names else "a size known only at run time")
        else:
            sized *= atom.size
    return " x ".join([*([str(sized)] if sized > 1 or not words else []), *words])


def _ends(atom: Atom) -> set[int]:
    """Where the segments of a sum end."""
    return set(accumulate(map(size_of, atom.parts or ())))


def _root(atom: Atom) -> Atom:
    while atom.link is not None:
        if atom.link.link is not None:
            atom.link = atom.link.link
        atom = atom.link
    return atom


class Algebra:
    """Makes, cuts and unifies atoms. Every method returns axes in expanded form (see `expand`)."""

    def __init__(self) -> None:
        self._atoms: list[Atom] = []
        self.equalities: list[
            tuple[Axis, Axis]
        ] = []  # of axes of one size whose cuts do not nest (a rolled image side)

    def _all_fixed(self, *axes: Iterable[Atom]) -> bool:
        return all(atom.fixed or atom.frozen for axis in axes for atom in self.free_atoms(axis))

    def _atom(self, size: int, fixed: str | None = None) -> Atom:
        self._atoms.append(Atom(size, fixed=fixed))
        return self._atoms[-1]

    def new(self, size: int, *, fixed: str | None = None) -> Axis:
        """A fresh axis of one atom; size 1 is the empty product, for a 1 carries no dim."""
        return () if size == 1 else (self._atom(size, fixed),)

    def _child(self, parent: Atom, size: int) -> Axis:
        """A part of an atom, which inherits what fixes it."""
        child = self.new(size, fixed=parent.fixed)
        for atom in child:
            atom.frozen = parent.frozen
        return child

    def settle(self) -> None:
        """Hand down what fixes or freezes an atom, and what it is used for, to the atoms it is made of."""
        for atom in self._atoms:
            root = _root(atom)
            root.fixed, root.frozen = root.fixed or atom.fixed, root.frozen or atom.frozen
            self._inherit(root)
        for left, right in self.equalities:
            both = [*self.free_atoms(left), *self.free_atoms(right)]
            roles = _SUMMED.intersection(role for atom in both for role in atom.roles)
            for atom in both:
                atom.roles |= roles

    def expand(self, axis: Iterable[Atom]) -> Axis:
        """The axis as a product of root atoms, none of which is bound to a product."""
        out: list[Atom] = []
        for atom in axis:
            root = _root(atom)
            if root.factors is not None:
                out.extend(self.expand(root.factors))
            else:
                out.append(root)
        return tuple(out)

    def free_atoms(self, axis: Iterable[Atom]) -> Iterator[Atom]:
        """The atoms an axis is made of in the end, sums opened."""
        for atom in self.expand(axis):
            if atom.parts is None:
                yield atom
            else:
                for part in atom.parts:
                    yield from self.free_atoms(part)

    def segments(self, atom: Atom) -> Iterator[Axis]:
        """The segments of a sum, those of sums among them opened."""
        for part in map(self.expand, atom.parts or ()):
            if len(part) == 1 and part[0].parts is not None:
                yield from self.segments(part[0])
            else:
                yield part

    def evaluate(self, axis: Iterable[Atom], size: Callable[[Atom], int]) -> int:
        """Size of an axis when each free atom has the size that `size` gives it."""
        total = 1
        for atom in self.expand(axis):
            if atom.parts is None:
                total *= size(atom)
            else:
                total *= sum(self.evaluate(part, size) for part in atom.parts)
        return total

    def same(self, left: Iterable[Atom], right: Iterable[Atom]) -> bool:
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

    def are_factors(self, left: Iterable[Atom], right: Iterable[Atom]) -> bool:
        """True if two axes were cut from one product, the left one in front."""
        pair = (*self.expand(left), *self.expand(right))
        products = (self.expand(atom.factors) for atom in self._atoms if atom.factors is not None)
        return any(pair in (p[i : i + len(pair)] for i in range(len(p))) for p in products)

    def total(self, parts: list[Axis]) -> Axis:
        """The axis that is the sum of `parts` (a Concat)."""
        flat: list[Axis] = []
        for part in map(self.expand, parts):
            nested = part[0].parts if len(part) == 1 else None
            flat.extend(nested if nested is not None else [part])
        if len(flat) == 1:
            return flat[0]
        atom = self._atom(sum(size_of(part) for part in flat))
        atom.parts = flat
        return (atom,)

    # -- cutting ----------------------------------------------------------------------------------------------

    def divide(self, axis: Iterable[Atom], trailing: int) -> tuple[Axis, Axis]:
        """Split an axis into (leading, trailing) factors, the last of size `trailing`.

        Raises:
            Conflict: if no refinement of the product has a cut there.
        """
        lead = list(self.expand(axis))
        trail: list[Atom] = []
        need = trailing
        while need > 1:
            if not lead:
                raise Conflict(f"{size_of(axis)} has no factor {trailing}")
            atom = lead.pop()
            if need % atom.size == 0:
                trail.insert(0, atom)
                need //= atom.size
            elif atom.size % need == 0:
                first, last = self._factor(atom, need)
                lead.extend(first)
                trail[:0] = last
                need = 1
            else:
                raise Conflict(f"a cut of {size_of(axis)} at {trailing} falls inside {atom.size}")
        return tuple(lead), tuple(trail)

    def _factor(self, atom: Atom, trailing: int) -> tuple[Axis, Axis]:
        """Bind one atom to a product of two, the last of size `trailing`."""
        if atom.parts is None:
            first = self._child(atom, atom.size // trailing)
            trail: Axis | None = self._child(atom, trailing)
        elif any(size_of(part) % trailing for part in atom.parts):  # groups that reach over the ends of segments
            if self._all_fixed((atom,)):
                atom.fixed = "made of fixed parts"
            self.equalities.append((self.total(atom.parts), (atom,)))
            atom.parts = None
            return self._factor(atom, trailing)
        else:  # a sum is a product if every part has the factor: h*d + k*d = (h + k)*d
            leads: list[Axis] = []
            trail = None
            for part in atom.parts:
                head, tail = self.divide(part, trailing)
                if trail is not None:
                    self.unify(tail, trail)
                leads.append(head)
                trail = tail
            if all(not self.expand(head) for head in leads):
                first = (self._atom(len(leads), "the number of segments"),)
            else:
                first = self.total(leads)
            atom.parts = None
        assert trail is not None
        atom.factors = (*first, *trail)
        return self.expand(first), self.expand(trail)

    def cut(self, axis: Iterable[Atom], at: int) -> tuple[Axis, Axis]:
        """Split an axis into two segments, the first of size `at` (0 < at < size).

        Raises:
            Conflict: if the axis is a product and the cut falls inside a row of it.
        """
        first, *rest = self.expand(axis)
        row = size_of(rest)
        if at % row:
            raise Conflict(f"a cut at {at} falls inside a row of {row}")
        at //= row
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
        raise Conflict(f"a cut at {at} is outside {first.size}")

    def shuffled(self, axis: Iterable[Atom], segments: int) -> Axis | None:
        """One of equal segments of an axis that ends in as many fixed entries (channels after a shuffle), or None.

        No factor of the lead says where such a cut falls: a segment is as long as the lead, at every size.
        """
        atoms = self.expand(axis)
        for place in range(len(atoms) - 1, 0, -1):
            if not all(a.fixed or a.frozen or "groups" in a.roles for a in self.free_atoms(atoms[place:])):
                break
            if size_of(atoms[place:]) == segments:
                return None if self._all_fixed(atoms[:place]) else atoms[:place]
        return None

    def _segments(self, axes: Iterable[Axis]) -> Iterator[Axis]:
        for axis in axes:
            expanded = self.expand(axis)
            if len(expanded) == 1 and expanded[0].parts is not None:
                yield from expanded[0].parts
            else:
                yield expanded

    # -- unifying ---------------------------------------------------------------------------------------------

    def unify(self, left: Iterable[Atom], right: Iterable[Atom]) -> None:
        """Make two axes one.

        Raises:
            Conflict: if their sizes differ or their cuts do not nest.
        """
        a, b = list(self.expand(left)), list(self.expand(right))
        if size_of(a) != size_of(b):
            ratio = Fraction(size_of(b), size_of(a)) if size_of(a) else None
            raise Conflict(f"{_shown(a)} is not {_shown(b)}", ratio)
        try:
            self._unify(a[::-1], b[::-1])
        except Conflict:
            if not self._all_fixed(a, b):
                raise
            self.equalities.append((tuple(a), tuple(b)))

    def _unify(self, a: list[Atom], b: list[Atom]) -> None:
        """Unify two stacks of root atoms, first atom on top."""
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

    def _pop(self, stack: list[Atom]) -> Atom:
        first, *rest = self.expand((stack.pop(),))
        stack.extend(reversed(rest))
        return first

    def _match_front(self, big: Atom, small: Atom, bigs: list[Atom], smalls: list[Atom]) -> None:
        if big.size % small.size:
            raise Conflict(f"{big.size} and {small.size} have no common refinement")
        lead, trail = self.divide((big,), big.size // small.size)
        bigs.extend(reversed((*lead, *trail)))
        smalls.append(small)

    def _merge(self, x: Atom, y: Atom) -> None:
        """Union of two roots of one size, neither bound to a product."""
        if x.parts is not None and y.parts is not None:
            self._unify_sums(x, y)
        if _root(x) is _root(y):
            return
        if x.parts is None:
            x, y = y, x
        y.link = x
        y.parts = None
        x.fixed = x.fixed or y.fixed
        x.frozen = x.frozen or y.frozen
        x.roles |= y.roles
        if x.parts is not None and (x.fixed or x.frozen):
            self._inherit(x)

    def _inherit(self, atom: Atom) -> None:
        for free in self.free_atoms((atom,)):
            free.fixed = free.fixed or atom.fixed
            free.frozen = free.frozen or atom.frozen
            free.roles |= atom.roles & _HANDED_DOWN

    def _unify_sums(self, x: Atom, y: Atom) -> None:
        assert x.parts is not None and y.parts is not None
        while (ends := _ends(x)) != (others := _ends(y)):  # a cut may open a segment that was cut elsewhere
            for end in sorted(ends ^ others):
                self.cut((x,) if end in others else (y,), end)
        for p, q in zip(list(x.parts), list(y.parts), strict=True):
            self.unify(p, q)
