"""Following activations through a graph: which contractions with a weight does a node input come from?

A contraction's output may be cut into pieces before it is used (query, key and value from one weight). What was
picked on the way is noted, so that a piece is known by its places along the weight's output axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from front_onnx.axes.size import Axis, size_of
from front_onnx.operators.analysis import Analysis
from front_onnx.operators.record import Trait, record_of, values_of
from front_onnx.read.graph import Edge

__all__ = ["Arrival", "Contraction", "Pick", "Trace"]

_ENDS = Trait.SOFTMAX | Trait.MEASURES | Trait.NO_GRADIENT  # nothing that a weight made gets through


@dataclass(frozen=True)
class Pick:
    """Entries start ... stop - 1 of an axis."""

    axis: Axis
    start: int
    stop: int


@dataclass(frozen=True)
class Contraction:
    """A node that sums over a weight.

    Attributes:
        node: its number.
        edge: where the weight is read, perhaps by a Transpose before the node.
        into: axes of the weight that are summed over.
        out: axes of the weight that are in the result, in its order; kernel sides are neither.
        counted_as_kept: True if these are axes of what is read at the edge; False if of what the node itself reads.
    """

    node: int
    edge: Edge
    into: tuple[int, ...]
    out: tuple[int, ...]
    counted_as_kept: bool = True


@dataclass(frozen=True)
class Arrival:
    """A contraction that a tensor comes from.

    Attributes:
        node: the contraction.
        picks: what was picked of its output, the pick next to the tensor first.
        bent: True if a nonlinearity lies between.
    """

    node: int
    picks: tuple[Pick, ...]
    bent: bool


class Trace:
    """The contractions of a graph, and ways back to them."""

    def __init__(self, analysis: Analysis) -> None:
        self.analysis, self.graph, self.algebra = analysis, analysis.graph, analysis.algebra
        self.contractions: dict[int, Contraction] = {}
        for index in range(len(self.graph.nodes)):
            for slot in reversed(range(len(self.graph.nodes[index].input))):  # the weight is mostly the second
                found = self._contraction(index, slot)
                if found is not None:
                    self.contractions[index] = found
                    break
        self.products = {i for i in analysis.products if i not in self.contractions}
        self._softmaxed: dict[str, bool] = {}

    def _contraction(self, index: int, slot: int) -> Contraction | None:
        fact, summed = self._fact(Edge(index, slot)), self.analysis.summed.get(Edge(index, slot))
        if summed is None or fact is None or fact.axes is None or not fact.constant:
            return None
        kernel = range(2, len(fact.axes)) if record_of(self.graph.nodes[index]).has(Trait.CONVOLVES) else range(0)
        summed = tuple(axis for axis in summed if axis not in kernel)
        places = [self.analysis.origin(Edge(index, slot), axis) for axis in range(len(fact.axes))]
        found = [place for place in places if place is not None]
        if len(found) != len(places) or len({edge for edge, _ in found}) != 1:
            return self._reshaped(index, slot, [fact.axes[axis] for axis in summed])
        if found[0][0] not in self.analysis.contractions:
            return None
        into = tuple(found[axis][1] for axis in summed)
        out = tuple(p for a, (_, p) in enumerate(found) if a not in summed and a not in kernel)
        return Contraction(index, found[0][0], into, out)

    def _reshaped(self, index: int, slot: int, summed: Sequence[Axis]) -> Contraction | None:
        """A contraction with a constant that is reshaped before: its axes are known by what they are made of."""
        edge = Edge(index, slot)
        while edge not in self.analysis.uses:
            maker = self.graph.producer.get(self.graph.nodes[edge.node].input[edge.slot])
            if maker is None or not record_of(self.graph.nodes[maker]).has(Trait.VIEW):
                return None
            edge = Edge(maker, 0)
        axes = [*map(self.algebra.expand, self.analysis.uses[edge].axes or ())]
        variables = [var for axis in axes for var in axis]
        gone = {var for axis in summed for var in self.algebra.expand(axis)}
        if len(set(variables)) != len(variables) or not gone:
            return None
        into = tuple(place for place, axis in enumerate(axes) if axis and gone.issuperset(axis))
        out = tuple(place for place, axis in enumerate(axes) if axis and gone.isdisjoint(axis))
        whole = len(into) + len(out) == sum(map(bool, axes))
        return Contraction(index, edge, into, out) if into and whole else None

    def _fact(self, edge: Edge):  # type: ignore[no-untyped-def]
        name = self.graph.nodes[edge.node].input[edge.slot]
        return self.analysis.uses.get(edge) or self.analysis.facts.get(name)

    def arrivals(self, name: str) -> list[Arrival]:
        """The contractions that a tensor comes from, nothing between but operators without weights that mix."""
        found: dict[Arrival, None] = {}
        seen = set()
        waiting: list[tuple[str, tuple[Pick, ...], bool]] = [(name, (), False)]
        while waiting:
            item = waiting.pop()
            tensor, picks, bent = item
            maker = self.graph.producer.get(tensor)
            if item in seen or maker is None or tensor in self.graph.constants:
                continue
            seen.add(item)
            if maker in self.contractions:
                found[Arrival(maker, picks, bent)] = None
                continue
            node = self.graph.nodes[maker]
            record = record_of(node)
            if maker in self.products or record.has(_ENDS):
                continue
            bent = bent or record.has(Trait.BENDS)
            pick = self.pick(maker, tensor)
            waiting += [(source, (*picks, pick) if pick else picks, bent) for source in values_of(node) if source]
        return list(found)

    def from_softmax(self, name: str) -> bool:
        """True if a tensor is attention: a softmax, perhaps masked, scaled or dropped out, before any contraction."""
        seen, waiting = set(), [name]
        while waiting:
            tensor = waiting.pop()
            maker = self.graph.producer.get(tensor)
            if tensor in seen or maker is None or maker in self.contractions or maker in self.products:
                continue
            seen.add(tensor)
            node = self.graph.nodes[maker]
            if record_of(node).has(Trait.SOFTMAX):
                return True
            waiting += values_of(node)
        return False

    def scores(self, name: str) -> list[int]:
        """The products of two activations that a tensor comes from."""
        seen, waiting, found = set(), [name], []
        while waiting:
            tensor = waiting.pop()
            maker = self.graph.producer.get(tensor)
            if tensor in seen or maker is None or maker in self.contractions:
                continue
            seen.add(tensor)
            if maker in self.products:
                found.append(maker)
                continue
            node = self.graph.nodes[maker]
            waiting += values_of(node)
        return found

    def readers(self, name: str) -> list[int]:
        """The contractions that read a tensor, no sum of two activations or other product between."""
        seen, waiting, found = set(), [name], set()
        while waiting:
            tensor = waiting.pop()
            if tensor in seen:
                continue
            seen.add(tensor)
            for edge in self.graph.consumers.get(tensor, ()):
                node = self.graph.nodes[edge.node]
                if edge.node in self.contractions:
                    found.add(edge.node)
                elif edge.node in self.products or record_of(node).has(_ENDS | Trait.BENDS):
                    continue
                elif not record_of(node).has(Trait.ARITHMETIC) or self.beside_constant(edge):
                    waiting += list(node.output)
        return sorted(found)

    def beside_constant(self, edge: Edge) -> bool:
        """True if a node's other operands do not depend on what is fed."""
        node = self.graph.nodes[edge.node]
        others = [name for slot, name in enumerate(node.input) if slot != edge.slot]
        return all(not name or name in self.graph.constants or self._is_fixed(name) for name in others)

    def _is_fixed(self, name: str) -> bool:
        fact = self.analysis.facts.get(name)
        return fact is not None and fact.constant

    def pick(self, maker: int, tensor: str) -> Pick | None:
        """What a Split, Gather or Slice takes of one axis."""
        node, record = self.graph.nodes[maker], record_of(self.graph.nodes[maker])
        if not record.has(Trait.PICKS):
            return None
        before, after = (self.analysis.facts.get(name) for name in (node.input[0], tensor))
        if before is None or after is None or before.axes is None or after.axes is None:
            return None
        if record.has(Trait.SLICES):
            return self._slice(maker, before.axes, after.axes)
        axis = int(self.graph.attribute(maker, "axis", 0)) % len(before.axes)
        whole = self.algebra.expand(before.axes[axis])
        if record.has(Trait.GATHERS):
            index = self.graph.constants.get(node.input[1])
            if index is None or index.dims:
                return None
            start = int(self.graph.array(node.input[1])) % size_of(whole)
            return Pick(whole, start, start + 1)
        start = 0
        for name in node.output:
            made = self.analysis.facts.get(name)
            if made is None or made.axes is None:
                return None
            stop = start + size_of(made.axes[axis])
            if name == tensor:
                return Pick(whole, start, stop)
            start = stop
        return None

    def _slice(self, maker: int, before: Sequence[Axis], after: Sequence[Axis]) -> Pick | None:
        node = self.graph.nodes[maker]
        given = [node.input[slot] if slot < len(node.input) else "" for slot in (1, 3)]
        if not all(name in self.graph.constants for name in given):
            return None
        starts, axes = (self.graph.array(name).reshape(-1).tolist() for name in given)
        if len(axes) != 1:
            return None
        axis = axes[0] % len(before)
        whole = self.algebra.expand(before[axis])
        start = starts[0] + (size_of(whole) if starts[0] < 0 else 0)
        return Pick(whole, start, start + size_of(after[axis]))

    def places(self, arrival: Arrival, contraction: Contraction) -> tuple[np.ndarray | None, Axis | None]:
        """Which entries of a weight's joined output axes arrive, and what they are: (places or None for all, axis).

        The axis is None where the entries make no product of dims.
        """
        axes = self.analysis.uses[contraction.edge].axes or ()
        whole = self.algebra.expand(tuple(var for place in contraction.out for var in axes[place]))
        found = np.arange(size_of(whole))
        left: Axis | None = whole
        for pick in reversed(arrival.picks):
            at = _within(whole, pick.axis)
            if at is None:
                continue
            before, after = size_of(whole[:at]), size_of(whole[at + len(pick.axis) :])
            kept = np.zeros((before, size_of(pick.axis), after), bool)
            kept[:, pick.start : pick.stop] = True
            found = found[kept.reshape(-1)[found]]
            part = self._part(pick)
            left = None if part is None or left != whole else (*whole[:at], *part, *whole[at + len(pick.axis) :])
        return (None if len(found) == size_of(whole) else found), left

    def _part(self, pick: Pick) -> Axis | None:
        """What is picked of an axis, as a product."""
        if pick.stop - pick.start == 1:
            return ()
        first, *rest = pick.axis
        row = size_of(rest)
        start = 0
        for part in self.algebra.segments(first):
            size = size_of(part) * row
            if (start, start + size) == (pick.start, pick.stop):
                return self.algebra.expand((*part, *rest))
            start += size
        return None


def _within(whole: Axis, part: Axis) -> int | None:
    """Where a product is a stretch of another."""
    return next((i for i in range(len(whole) - len(part) + 1) if whole[i : i + len(part)] == part), None)
