"""Which weight of one model goes where in another: pieces with one role in one place, and the sizes that follow.

A wrong match is worse than a missing one: what could be matched in several ways, or only at sizes that another match
contradicts, is reported and left alone.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from fractions import Fraction

from front_onnx.axes.size import Axis, SizeVar, size_of
from front_onnx.dims.structure import Structure
from front_onnx.errors import RequestError
from front_onnx.roles.piece import Piece
from front_onnx.roles.pieces import find_pieces
from front_onnx.roles.role import Role

__all__ = ["Match", "Matching", "match"]

_HEADS = ("heads", "kv_heads")


@dataclass(frozen=True, eq=False)
class Match:
    """A piece of the target and what it gets.

    Attributes:
        target: where it goes.
        source: where it comes from; None if the target keeps its own values.
        reason: why it does, or what it is tied to.
        tied: the tensor that it is the transpose of.
    """

    target: Piece
    source: Piece | None
    reason: str = ""
    tied: str | None = None


@dataclass(eq=False)
class Matching:
    """All pieces of the target, and the sizes that the source has to have for them.

    Attributes:
        matches: one for each piece of the target.
        unused: pieces of the source that go nowhere.
        depth: units of each chain of the source.
        sizes: new sizes of the source's dims, by size variable.
    """

    matches: list[Match]
    unused: list[Piece] = field(default_factory=list)
    depth: dict[int, int] = field(default_factory=dict)
    sizes: dict[SizeVar, int] = field(default_factory=dict)


def match(source: Structure, target: Structure, by_hand: Mapping[str, str | None] | None = None) -> Matching:
    """Match two models.

    Args:
        source: where weights come from.
        target: where they go.
        by_hand: a tensor of the source, or None, for a tensor of the target, or `tensor:role` for a part of one.
    """
    matcher = _Matcher(source, target, by_hand or {})
    matcher.refuse_unknown()
    return matcher.run()


class _Matcher:
    def __init__(self, source: Structure, target: Structure, by_hand: Mapping[str, str | None]) -> None:
        self.source, self.target, self.by_hand = source, target, by_hand
        self.ours, self.theirs = find_pieces(source), find_pieces(target)

    def run(self) -> Matching:
        """Match by role, then keep what agrees on sizes."""
        chains = self._chains()
        known = {piece.key: piece for piece in self.ours}
        found = [self._of(piece, known, chains) for piece in self.theirs if not self._tied(piece)]
        wishes: dict[SizeVar, Counter[int]] = defaultdict(Counter)
        for entry in found:
            for var, size in self._wishes(entry):
                wishes[var][size] += 1
        sizes = {var: max(counts, key=lambda size: (counts[size], -size)) for var, counts in wishes.items()}
        matches = [self._agreed(entry, sizes) for entry in found]
        used = {id(entry.source) for entry in matches if entry.source is not None}
        depth = {
            entry.source.chain: len(entry.target.tensors)
            for entry in matches
            if entry.source is not None and entry.source.chain is not None
        }
        kept = {var for entry in matches for var, _ in self._wishes(entry)}
        sizes = {var: size for var, size in sizes.items() if var in kept}
        self._follow(sizes)
        matches += self._with_tables(matches)
        return Matching(matches, [piece for piece in self.ours if id(piece) not in used], depth, sizes)

    def _chains(self) -> dict[str, str]:
        """Places of the target and those of the source they correspond to."""
        ours, theirs = len(self.source.chains), len(self.target.chains)
        places = {"outside 0": "outside 0", f"outside {theirs}": f"outside {ours}"}
        if ours == theirs:
            pairs = [(n, n) for n in range(theirs)]
            places |= {f"outside {n}": f"outside {n}" for n in range(theirs + 1)}
        else:
            roles = [[frozenset(p.role for p in pieces if p.chain == n) for n in range(count)]
                     for pieces, count in ((self.ours, ours), (self.theirs, theirs))]  # fmt: skip
            pairs = [(n, roles[0].index(r)) for n, r in enumerate(roles[1]) if roles[0].count(r) == 1]
            pairs = [(n, m) for n, m in pairs if roles[1].count(roles[1][n]) == 1]
        return places | {f"blocks {n + 1}": f"blocks {m + 1}" for n, m in pairs}

    def refuse_unknown(self) -> None:
        """Refuse what was said by hand of nothing that there is.

        Raises:
            RequestError: names it, and what it may have meant.
        """
        graph = self.target.graph
        known = {*graph.constants, *graph.outputs, *(info.name for info in graph.inputs)}
        for piece in self.theirs:
            known.update(name for tensor in piece.tensors for name in (tensor, f"{tensor}:{piece.role}"))
        for name in self.by_hand:
            if name not in known:
                near = get_close_matches(name, known, 1)
                raise RequestError("the target has no tensor of this name", got=name, wanted=", ".join(near) or None)

    def _tied(self, piece: Piece) -> bool:
        """True for an output layer that is stored as the transpose of a table: it goes where the table goes."""
        return piece.tensors[0] in self.target.analysis.transposed

    def _with_tables(self, matches: list[Match]) -> Iterator[Match]:
        tables = {entry.target.tensors[0]: entry for entry in matches}
        for piece in filter(self._tied, self.theirs):
            table = self.target.analysis.transposed[piece.tensors[0]]
            entry = tables.get(table)
            reason = f"tied to {table}"
            yield Match(piece, entry.source if entry is not None else None, reason, tied=table)

    def _of(self, piece: Piece, known: Mapping[tuple[str, Role], Piece], chains: Mapping[str, str]) -> Match:
        """The piece of the source with the role of one of the target."""
        for name in (f"{piece.tensors[0]}:{piece.role}", piece.tensors[0]):
            if name in self.by_hand:
                return self._chosen(piece, self.by_hand[name])
        where = chains.get(piece.where)
        if where is None:
            counts = (
                f"{len(self.source.chains)} chains of blocks in the source, {len(self.target.chains)} in the target"
            )
            return Match(piece, None, f"{counts}, and none of them is this one")
        if piece.role.alike > 1:
            return Match(piece, None, "nothing tells it from others of its role")
        source = known.get((where, piece.role))
        if source is None:
            stem = piece.role.stem
            alike = sum(p.where == where and p.role.stem == stem for p in self.ours)
            several = f"the source has {alike} of the role {stem}, and not this one"
            return Match(piece, None, several if alike else "the source has nothing of this role here")
        return self._fitting(piece, source)

    def _chosen(self, piece: Piece, name: str | None) -> Match:
        if name is None:
            return Match(piece, None, "left out by hand")
        tensor, _, role = name.partition(":") if not any(name == p.tensors[0] for p in self.ours) else (name, "", "")
        found = [p for p in self.ours if p.tensors[0] == tensor and role in ("", str(p.role))]
        if len(found) > 1:
            found = [p for p in found if p.role == piece.role]
        if len(found) != 1:
            return Match(piece, None, f"by hand: the source has {len(found)} pieces {name!r}")
        return self._fitting(piece, found[0])

    def _fitting(self, piece: Piece, source: Piece) -> Match:
        """A match, if the axes are made of dims of one kind and those that cannot be resized are as long."""
        if (piece.chain is None) != (source.chain is None):
            return Match(piece, None, "one of them is in every block, the other is not")
        if piece.axes is None or source.axes is None:
            return Match(piece, None, "how its axis is made of heads is not known")
        ours, theirs = ([axis for axis in p.axes or () if size_of(axis) > 1] for p in (source, piece))
        if len(ours) != len(theirs):
            return Match(piece, None, f"{len(ours)} axes in the source, {len(theirs)} in the target")
        for one, other in zip(ours, theirs, strict=True):
            reason = self._differs(one, other)
            if reason:
                return Match(piece, None, reason)
        return Match(piece, source)

    def _differs(self, one: Axis, other: Axis) -> str | None:
        pairs = self._pairs(one, other)
        if pairs is None:
            shown = f"{self.source.describe(one)} in the source, {self.target.describe(other)} in the target"
            return None if self._stays(one) and size_of(one) == size_of(other) else shown
        for mine, yours in pairs:
            kinds = self._kind(self.source, mine), self._kind(self.target, yours)
            if mine.size != yours.size and "fixed" in kinds:
                return f"{self.source.describe((mine,))} in the source, {yours.size} in the target"
            if len(set(kinds)) > 1 and "fixed" not in kinds and not set(kinds) <= {"inner", "residual"}:
                return f"{kinds[0]} in the source, {kinds[1]} in the target"
        return None

    def _pairs(self, one: Axis, other: Axis) -> list[tuple[SizeVar, SizeVar]] | None:
        """The size variables of two axes that correspond; None if the axes are made differently."""
        ours, theirs = self.source.analysis.algebra, self.target.analysis.algebra
        one, other = ours.expand(one), theirs.expand(other)
        if len(one) != len(other):
            return None
        out = []
        for mine, yours in zip(one, other, strict=True):
            if (mine.parts is None) != (yours.parts is None):
                return None
            if mine.parts is None or yours.parts is None:
                out.append((mine, yours))
                continue
            if len(mine.parts) != len(yours.parts):
                return None
            for part, there in zip(mine.parts, yours.parts, strict=True):
                inner = self._pairs(part, there)
                if inner is None:
                    return None
                out += inner
        return out

    def _stays(self, axis: Axis) -> bool:
        return all(self._kind(self.source, a) == "fixed" for a in self.source.analysis.algebra.free_variables(axis))

    def _kind(self, structure: Structure, var: SizeVar) -> str:
        dim = structure.by_variable.get(var)
        return "fixed" if dim is None else "heads" if dim.kind in _HEADS else dim.kind

    def _wishes(self, entry: Match) -> Iterator[tuple[SizeVar, int]]:
        """The sizes that the source's dims would need for a match."""
        if entry.source is None:
            return
        ours, theirs = ([axis for axis in p.axes or () if size_of(axis) > 1] for p in (entry.source, entry.target))
        for one, other in zip(ours, theirs, strict=True):
            for mine, yours in self._pairs(one, other) or ():
                yield mine, yours.size

    def _agreed(self, entry: Match, sizes: Mapping[SizeVar, int]) -> Match:
        for var, size in self._wishes(entry):
            if sizes[var] != size:
                dim = self.source.describe((var,))
                return Match(entry.target, None, f"{dim} would have to be {size} here and {sizes[var]} elsewhere")
        if entry.source is not None and entry.source.chain is not None:
            chains = [c[entry.source.chain if c is self.source.chains else entry.target.chain or 0]
                      for c in (self.source.chains, self.target.chains)]  # fmt: skip
            if chains[0].layers != chains[1].layers:
                return Match(entry.target, None, f"{chains[0].layers} layers in a unit, here {chains[1].layers}")
        return entry

    def _follow(self, sizes: dict[SizeVar, int]) -> None:
        """What goes nowhere follows the width of its chain, so that the source stays a model of one width."""
        for dim in self.source.dims:
            residual = self.source.residual_of(dim.chain)
            if dim.var in sizes or residual is None or dim.kind not in ("inner", "heads", "kv_heads") or dim.frozen:
                continue
            variables = self.source.analysis.algebra.expand(residual)
            ratio = Fraction(1)
            for var in variables:
                ratio *= Fraction(sizes.get(var, var.size), var.size)
            wanted = dim.var.size * ratio
            if wanted.denominator == 1:
                sizes[dim.var] = int(wanted)
