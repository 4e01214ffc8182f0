"""The algebra of axes: every axis is a product of atoms, every atom may be a sum of axes.

An **axis** is a tuple of atoms, a product in row-major order: 768 = 12 x 64 after one Reshape. `()` has size 1.
An **atom** is a size that nothing has cut yet, or one bound to a product (`factors`) or to a sum of axes (`parts`:
2304 = 768 + 768 + 768 after one Split). Unifying two axes unifies their atoms (union-find) and cuts them to a common
refinement first. Sizes are those of the source model, with a prime in place of each size known only at run time,
so that whether a cut is possible is always decidable; atoms are never identified by their size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate

from front_onnx.axes.atom import Atom, Axis, AxisRole, Conflict, size_of
from front_onnx.axes.holds import Hold, Why

__all__ = ["Algebra"]


_SUMMED = frozenset({AxisRole.CONTRACTED})  # roles of a whole axis, however it is made
_HANDED_DOWN = _SUMMED | {AxisRole.GROUPS}  # roles of what an atom is cut into later


def _shown(axis: Iterable[Atom]) -> str:
    """A size in words: that of symbolic dims is a prime which means nothing to anybody."""
    sized, words = 1, []
    for atom in axis:
        if atom.symbol is not None or AxisRole.UNKNOWN in atom.roles:
            words.append(atom.symbol or "a size known only at run time")
        else:
            sized *= atom.size
    return " x ".join([*([str(sized)] if sized > 1 or not words else []), *words])


def _ends(atom: Atom) -> set[int]:
    """Where the segments of a sum end."""
    return set(accumulate(map(size_of, atom.parts or ())))


@dataclass(frozen=True)
class _State:
    """What an atom was before it was changed."""

    link: Atom | None
    factors: tuple[Atom, ...] | None
    parts: list[Axis] | None
    holds: frozenset[Hold]
    roles: frozenset[AxisRole]
    symbols: frozenset[str]

    @classmethod
    def of(cls, atom: Atom) -> _State:
        parts = None if atom.parts is None else [*atom.parts]
        return cls(atom.link, atom.factors, parts, atom.holds, atom.roles, atom.symbols)

    def restore(self, atom: Atom) -> None:
        atom.link, atom.factors, atom.parts = self.link, self.factors, self.parts
        atom.holds, atom.roles, atom.symbols = self.holds, self.roles, self.symbols


class Algebra:
    """Makes, cuts and unifies atoms. Every method returns axes in expanded form (see `expand`)."""

    def __init__(self) -> None:
        self._atoms: list[Atom] = []
        self._changed: dict[Atom, _State] | None = None  # while something is attempted
        self._closed = False
        self.equalities: list[
            tuple[Axis, Axis]
        ] = []  # of axes of one size whose cuts do not nest (a rolled image side)

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Undo all that is done to atoms inside if it ends in a Conflict, which goes on to the caller.

        Raises:
            Conflict: what is done inside does not fit.
        """
        outer, self._changed = self._changed, {}
        atoms, equalities = len(self._atoms), len(self.equalities)
        try:
            yield
        except Conflict:
            for atom, state in self._changed.items():
                state.restore(atom)
            del self._atoms[atoms:], self.equalities[equalities:]
            raise
        else:
            if outer is not None:
                outer.update({atom: state for atom, state in self._changed.items() if atom not in outer})
        finally:
            self._changed = outer

    def close(self) -> None:
        """Let nothing be changed any more: what is understood is read from here on."""
        for atom in self._atoms:
            self._root(atom)
        self._closed = True

    def _changing(self, atom: Atom) -> Atom:
        """An atom that is about to be changed."""
        assert not self._closed, "what is understood is not changed afterwards"
        if self._changed is not None and atom not in self._changed:
            self._changed[atom] = _State.of(atom)
        return atom

    def _root(self, atom: Atom) -> Atom:
        while atom.link is not None:
            if atom.link.link is not None and not self._closed:
                self._changing(atom).link = atom.link.link
            atom = atom.link
        return atom

    # -- why sizes stay, and what they are for ------------------------------------------------------------------

    def hold(self, axis: Iterable[Atom], *holds: Hold) -> None:
        """Add reasons why an axis keeps its size."""
        for atom in self.free_atoms(axis):
            self._changing(atom).holds |= frozenset(holds)

    def release(self, axis: Iterable[Atom], *whys: Why) -> None:
        """Take these reasons away from an axis, and leave all others."""
        for atom in self.free_atoms(axis):
            self._changing(atom).holds = frozenset(hold for hold in atom.holds if hold.why not in whys)

    def mark(self, axis: Iterable[Atom], role: AxisRole) -> None:
        """Note what an axis is used for."""
        for atom in self.free_atoms(axis):
            self._changing(atom).roles |= {role}

    def name(self, axis: Iterable[Atom], symbol: str) -> None:
        """Note that an axis is a symbolic dim."""
        for atom in self.free_atoms(axis):
            self._changing(atom).symbols |= {symbol}

    def _all_fixed(self, *axes: Iterable[Atom]) -> bool:
        return all(atom.fixed or atom.frozen for axis in axes for atom in self.free_atoms(axis))

    def _atom(self, size: int, *holds: Hold) -> Atom:
        assert not self._closed, "what is understood is not changed afterwards"
        self._atoms.append(Atom(size, frozenset(holds)))
        return self._atoms[-1]

    def new(self, size: int, *holds: Hold) -> Axis:
        """A fresh axis of one atom; size 1 is the empty product, for a 1 carries no dim."""
        return () if size == 1 else (self._atom(size, *holds),)

    def _child(self, parent: Atom, size: int) -> Axis:
        """A part of an atom, which inherits why it stays."""
        return self.new(size, *parent.holds)

    def settle(self) -> None:
        """Hand down why an atom stays, and what it is used for, to the atoms it is made of."""
        for atom in self._atoms:
            root = self._root(atom)
            if not atom.holds <= root.holds:
                self._changing(root).holds |= atom.holds
            self._inherit(root)
        for left, right in self.equalities:
            both = [*self.free_atoms(left), *self.free_atoms(right)]
            roles = _SUMMED.intersection(role for atom in both for role in atom.roles)
            for atom in both:
                self._changing(atom).roles |= roles

    def expand(self, axis: Iterable[Atom]) -> Axis:
        """The axis as a product of root atoms, none of which is bound to a product."""
        out: list[Atom] = []
        for atom in axis:
            root = self._root(atom)
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
                raise Conflict(f"{size_of(axis)} has no factor {trailing}", axes=axis)
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
                raise Conflict(f"a cut of {size_of(axis)} at {trailing} falls inside {atom.size}", axes=axis)
        return tuple(lead), tuple(trail)

    def _factor(self, atom: Atom, trailing: int) -> tuple[Axis, Axis]:
        """Bind one atom to a product of two, the last of size `trailing`."""
        self._changing(atom)
        if atom.parts is None:
            first = self._child(atom, atom.size // trailing)
            trail: Axis | None = self._child(atom, trailing)
        elif any(size_of(part) % trailing for part in atom.parts):  # groups that reach over the ends of segments
            if self._all_fixed((atom,)):
                atom.holds |= {Hold(Why.FIXED_PARTS)}
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
                first = (self._atom(len(leads), Hold(Why.SEGMENTS)),)
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

    def shuffled(self, axis: Iterable[Atom], segments: int) -> Axis | None:
        """One of equal segments of an axis that ends in as many fixed entries (channels after a shuffle), or None.

        No factor of the lead says where such a cut falls: a segment is as long as the lead, at every size.
        """
        atoms = self.expand(axis)
        for place in range(len(atoms) - 1, 0, -1):
            if not all(a.fixed or a.frozen or AxisRole.GROUPS in a.roles for a in self.free_atoms(atoms[place:])):
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
            raise Conflict(f"{_shown(a)} is not {_shown(b)}", ratio, axes=(*a, *b))
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
            raise Conflict(f"{big.size} and {small.size} have no common refinement", axes=(big, small))
        lead, trail = self.divide((big,), big.size // small.size)
        bigs.extend(reversed((*lead, *trail)))
        smalls.append(small)

    def _merge(self, x: Atom, y: Atom) -> None:
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

    def _inherit(self, atom: Atom) -> None:
        roles = atom.roles & _HANDED_DOWN
        for free in self.free_atoms((atom,)):
            if not (atom.holds <= free.holds and roles <= free.roles):
                self._changing(free)
                free.holds |= atom.holds
                free.roles |= roles

    def _unify_sums(self, x: Atom, y: Atom) -> None:
        assert x.parts is not None and y.parts is not None
        while (ends := _ends(x)) != (others := _ends(y)):  # a cut may open a segment that was cut elsewhere
            for end in sorted(ends ^ others):
                self.cut((x,) if end in others else (y,), end)
        for p, q in zip(list(x.parts), list(y.parts), strict=True):
            self.unify(p, q)
