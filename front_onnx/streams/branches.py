"""What a repeated unit adds to the stream that passes it: the way through, the norms on it, and what joins it.

The way through leads from the unit's start to its end and only passes sums, norms, views and what changes nothing the
second time (Relu). What joins it at a sum is a branch. If all branches are zero and the norms on the way change
nothing, the unit does nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from front_onnx.constants.classify import Constants
from front_onnx.constants.kinds import Kind
from front_onnx.operators.analysis import Analysis
from front_onnx.operators.context import Carried
from front_onnx.operators.record import Trait, record_of, values_of
from front_onnx.read.graph import Edge
from front_onnx.read.node import Node
from front_onnx.roles.trace import Contraction
from front_onnx.streams.norms import Norm

__all__ = ["Layer", "Way", "find_layer", "find_way", "last_writers"]

_LAYER = 4  # nodes of one
_VIEWS = Trait.VIEW | Trait.REPEATS
_ZERO_TO_ZERO = _VIEWS | Trait.PICKS | Trait.LINEAR | Trait.MAGNITUDE | Trait.ZERO


@dataclass(frozen=True)
class Way:
    """The way through a unit, from its end back to its start.

    Attributes:
        branches: the tensors that join it.
        norms: the norms on it, the last one first.
        added: constants that are added on it.
        scaled: constants that it is multiplied by.
        last: True if nothing that could change values stands behind the last norm.
    """

    branches: tuple[str, ...] = ()
    norms: tuple[Norm, ...] = ()
    added: tuple[Edge, ...] = ()
    scaled: tuple[Edge, ...] = ()
    last: bool = True


def find_way(analysis: Analysis, norms: dict[str, Norm], start: str, end: str) -> Way | None:
    """The way through from `start` to `end` with the fewest norms; None if there is none.

    Args:
        analysis: the graph.
        norms: the norms of the graph, by their output.
        start: the tensor that a unit reads.
        end: the tensor that it makes.
    """
    return _Ways(analysis, norms, start).to(end)


class _Ways:
    def __init__(self, analysis: Analysis, norms: dict[str, Norm], start: str) -> None:
        self.analysis, self.graph, self.norms, self.start = analysis, analysis.graph, norms, start
        self.known: dict[str, Way | None] = {start: Way()}
        self.carried = {carried.back: carried for loop in analysis.loops for carried in loop.carried}

    def to(self, tensor: str) -> Way | None:
        if tensor not in self.known:
            self.known[tensor] = None
            self.known[tensor] = self._to(tensor)
        return self.known[tensor]

    def _to(self, tensor: str) -> Way | None:
        maker = self.graph.producer.get(tensor)
        if maker is None:
            return None
        if tensor in self.carried:
            return self._through(self.carried[tensor])
        norm = self.norms.get(tensor)
        if norm is not None:
            way = self._joined(norm.inputs, norm.added)
            return None if way is None else replace(way, norms=(norm, *way.norms), last=True)
        node, record = self.graph.nodes[maker], record_of(self.graph.nodes[maker])
        if record.has(Trait.SHIFTS) and node.op_type != "Sub":
            data = [name for name in node.input if self.analysis.is_data(name)]
            places = [slot for slot, name in enumerate(node.input) if not self.analysis.is_data(name)]
            fixed = [_behind(self.analysis, Edge(maker, slot)) for slot in places]
            return self._after(self._joined(tuple(data), tuple(fixed)))
        if record.has(Trait.MULTIPLIES) and len(node.input) == 2:
            slot = next((slot for slot in (0, 1) if not self.analysis.is_data(node.input[slot])), None)
            way = None if slot is None or Edge(maker, slot) not in self.analysis.uses else self.to(node.input[1 - slot])
            return None if way is None else self._after(replace(way, scaled=(*way.scaled, Edge(maker, slot or 0))))
        if record.has(_VIEWS):
            return self.to(node.input[0])
        if record.has(Trait.SETTLES):
            return self.to(node.input[0]) if self.made_by(self.start, node.op_type) else None
        return None

    def _through(self, carried: Carried) -> Way | None:
        """The way through a body that is run again and again."""
        before, inside = self.to(carried.given), find_way(self.analysis, self.norms, carried.read, carried.made)
        if before is None or inside is None or inside.norms or inside.scaled:
            return None
        joined = replace(before, branches=(*before.branches, *inside.branches), added=(*before.added, *inside.added))
        return self._after(joined)

    def _after(self, way: Way | None) -> Way | None:
        """A way with something behind its last norm."""
        return way if way is None or not way.norms else replace(way, last=False)

    def _joined(self, names: tuple[str, ...], added: tuple[Edge, ...]) -> Way | None:
        """The way through one of some tensors that are added up; the others join it."""
        ways = [
            (len(way.norms), number, way) for number, name in enumerate(names) if (way := self.to(name)) is not None
        ]
        if not ways:
            return None
        _, number, way = min(ways, key=lambda found: found[:2])
        others = tuple(name for place, name in enumerate(names) if place != number)
        return replace(way, branches=(*way.branches, *others), added=(*way.added, *added))

    def made_by(self, tensor: str, operator: str) -> bool:
        """True if a tensor comes from an operator, or from nothing but views of what does."""
        maker = self.graph.producer.get(tensor)
        while maker is not None and record_of(self.graph.nodes[maker]).has(_VIEWS):
            maker = self.graph.producer.get(self.graph.nodes[maker].input[0])
        return maker is not None and self.graph.nodes[maker].op_type == operator


@dataclass(frozen=True)
class Layer:
    """A unit that is one layer and no branch: a weight from the width to itself, a bias, what changes nothing twice.

    Attributes:
        weight: where its weight is read.
        bias: where its bias is read; None without one.
        centre: the place of its kernel that reads what stands where the result does; empty if it has none.
    """

    weight: Edge
    bias: Edge | None
    centre: tuple[int, ...] = ()


def find_layer(analysis: Analysis, contractions: Mapping[int, Contraction], start: str, end: str) -> Layer | None:
    """The one layer between two tensors, if it can pass on what it reads: then an identity does so."""
    graph = analysis.graph
    ways = _Ways(analysis, {}, start)
    name, bias = end, None
    for _ in range(_LAYER):
        maker = graph.producer.get(name)
        if maker is None:
            return None
        node, record = graph.nodes[maker], record_of(graph.nodes[maker])
        found = contractions.get(maker)
        if found is not None:
            axes = [analysis.algebra.expand(axis) for axis in analysis.uses[found.edge].axes or ()]
            square = {found.into, found.out} == {(0,), (1,)} and axes[0] == axes[1]
            added = [slot for slot in range(2, len(node.input)) if node.input[slot]]
            centre = _centre(analysis, maker, found.edge)
            if not square or centre is None or node.input[0] != start or (added and bias is not None):
                return None
            return Layer(found.edge, Edge(maker, added[0]) if added else bias, centre)
        if record.has(Trait.SHIFTS) and bias is None and len(node.input) == 2:
            fixed = [slot for slot in (0, 1) if node.input[slot] in graph.constants]
            if len(fixed) != 1:
                return None
            bias, name = Edge(maker, fixed[0]), str(node.input[1 - fixed[0]])
        elif record.has(Trait.SETTLES) and ways.made_by(start, node.op_type):
            name = str(node.input[0])
        else:
            return None
    return None


def _centre(analysis: Analysis, node: int, weight: Edge) -> tuple[int, ...] | None:
    """Where a kernel reads what stands where the result does: padding before it over dilation; None if nowhere."""
    graph = analysis.graph
    if not record_of(graph.nodes[node]).has(Trait.CONVOLVES):
        return ()
    sides = [int(size) for size in graph.constants[graph.read_by(weight)].dims[2:]]
    dilations = graph.attribute(node, "dilations") or [1] * len(sides)
    pads = list(graph.attribute(node, "pads") or [0] * 2 * len(sides))
    padding = graph.attribute(node, "auto_pad", "NOTSET")
    padding = padding.decode() if isinstance(padding, bytes) else padding
    if padding.startswith("SAME"):
        totals = [(side - 1) * step for side, step in zip(sides, dilations, strict=True)]
        pads = [(total + (padding == "SAME_LOWER")) // 2 for total in totals] * 2
    found = [divmod(pad, step) for pad, step in zip(pads, dilations, strict=False)]
    fits = all(rest == 0 and place < side for (place, rest), side in zip(found, sides, strict=True))
    return tuple(place for place, _ in found) if fits else None


def last_writers(
    analysis: Analysis, constants: Constants, norms: dict[str, Norm], tensor: str, inside: set[int]
) -> frozenset[Edge] | None:
    """The constants that make a tensor zero if they are zero; None if there are none.

    Args:
        analysis: the graph.
        constants: what its constants are.
        norms: the norms of the graph, by their output.
        tensor: the end of a branch.
        inside: the nodes of the unit.
    """
    return _Writers(analysis, constants, norms, inside).of(tensor)


class _Writers:
    def __init__(self, analysis: Analysis, constants: Constants, norms: dict[str, Norm], inside: set[int]) -> None:
        self.analysis, self.graph, self.constants = analysis, analysis.graph, constants
        self.norms, self.inside = norms, inside

    def of(self, tensor: str) -> frozenset[Edge] | None:
        maker = self.graph.producer.get(tensor)
        if maker is None or maker not in self.inside:
            return None
        norm = self.norms.get(tensor)
        if norm is not None and norm.plain and (norm.gain is not None or norm.bias is None):
            own = frozenset(self._behind(edge) for edge in (norm.gain, norm.bias) if edge is not None)
            return own or (None if norm.centred and norm.bias is not None else self._all(norm.inputs))
        node, record = self.graph.nodes[maker], record_of(self.graph.nodes[maker])
        fixed = [self._behind(Edge(maker, slot)) for slot, name in enumerate(node.input) if self._is_fixed(name)]
        data = [name for name in values_of(node) if name and self.analysis.is_data(name)]
        fixed = [edge for edge in fixed if not self._is_zero(edge)]
        learned = [edge for edge in fixed if self._is_learned(edge)]
        resampled = [edge for edge in fixed if edge in learned or self._is_taken_for(edge)]
        if record.has(Trait.CONTRACTS) and not record.has(Trait.RECURRENT):
            chosen = self._chosen(node) if not fixed else None
            if chosen is not None:
                return frozenset((chosen,))
            if not fixed and len(data) > 1:  # a product of activations is zero if one of them is
                return next((found for name in data if (found := self.of(name)) is not None), None)
            weight = [edge for edge in resampled if self._is_wide(edge)]
            return frozenset(resampled) if weight and len(resampled) == len(fixed) else None
        if record.has(Trait.NORMALISES) and record.parameters:
            said = {what: Edge(maker, slot) for slot, what in record.parameters.items() if slot < len(node.input)}
            own = frozenset(said[what] for what in ("gain", "bias") if what in said)
            return own if own and all(edge in self.analysis.uses for edge in own) else None
        if record.has(Trait.SHIFTS):
            return self._all(data, frozenset(resampled)) if len(resampled) == len(fixed) else None
        if record.has(Trait.MULTIPLIES):
            if learned:
                return frozenset(learned[:1])
            return next((found for name in data if (found := self.of(name)) is not None), None)
        if record.has(Trait.DIVIDES):
            return self.of(node.input[0]) if self.analysis.is_data(node.input[0]) else None
        if record.has(Trait.GATHERS) and fixed and fixed[0] in self.analysis.tables:
            return frozenset(fixed[:1]) if self._is_learned(fixed[0]) else None
        if record.has(Trait.CHOOSES | Trait.PRODUCT):
            return None
        if record.has(Trait.JOINS):
            return self._all(data)
        return self.of(node.input[0]) if record.has(_ZERO_TO_ZERO) and self._pads(maker) == 0 else None

    def _pads(self, index: int) -> float:
        """What a node puts beside its input, if it pads; nan if that is computed."""
        node = self.graph.nodes[index]
        if node.op_type != "Pad":
            return 0.0
        if len(node.input) < 3 or not node.input[2]:
            return float(self.graph.attribute(index, "value", 0.0))
        known = node.input[2] in self.graph.constants
        return float(self.graph.array(node.input[2]).reshape(-1)[0]) if known else float("nan")

    def _all(self, names: tuple[str, ...] | list[str], found: frozenset[Edge] = frozenset()) -> frozenset[Edge] | None:
        for name in names:
            writers = self.of(name)
            if writers is None:
                return None
            found |= writers
        return found or None

    def _behind(self, edge: Edge) -> Edge:
        return _behind(self.analysis, edge)

    def _chosen(self, node: Node) -> Edge | None:
        """The stack of weights of which data choose those that a node contracts with: those of experts."""
        for name in node.input:
            maker = self.graph.producer.get(name)
            while maker is not None and record_of(self.graph.nodes[maker]).has(_VIEWS):
                maker = self.graph.producer.get(self.graph.nodes[maker].input[0])
            if maker is None or not record_of(self.graph.nodes[maker]).has(Trait.GATHERS):
                continue
            stack = self._behind(Edge(maker, 0))
            if self._is_learned(stack) and self._is_wide(stack):
                return stack
        return None

    def _is_fixed(self, name: str) -> bool:
        return bool(name) and not self.analysis.is_data(name)

    def _is_zero(self, edge: Edge) -> bool:
        """True for a constant that adds nothing already."""
        name = self.graph.read_by(edge)
        record = record_of(self.graph.nodes[edge.node])
        added = record.has(Trait.SHIFTS) or (record.has(Trait.CONTRACTS) and edge.slot == 2)  # the bias of a layer
        return added and name in self.graph.constants and not np.any(self.graph.array(name))

    def _is_wide(self, edge: Edge) -> bool:
        dims: list[int] = list(self.graph.constants[self.graph.read_by(edge)].dims)
        return sum(size > 1 for size in dims) > 1

    def _is_taken_for(self, edge: Edge) -> bool:
        """True for what is resampled as if it were learned, though nothing says that it is."""
        return edge in self.analysis.uses and self.constants.of(self.graph.read_by(edge)).kind is Kind.UNKNOWN

    def _is_learned(self, edge: Edge) -> bool:
        return edge in self.analysis.uses and self.constants.of(self.graph.read_by(edge)).learned


def _behind(analysis: Analysis, edge: Edge) -> Edge:
    """Where a constant is read: by views before its use perhaps, or entry by entry in a body that runs for each."""
    graph = analysis.graph
    name = graph.nodes[edge.node].input[edge.slot]
    while name not in graph.constants:
        maker = graph.producer.get(name)
        if name in analysis.passed:
            edge, _ = analysis.passed[name]
        elif maker is not None and record_of(graph.nodes[maker]).has(_VIEWS):
            edge = Edge(maker, 0)
        else:
            break
        name = str(graph.nodes[edge.node].input[edge.slot])
    return edge
