"""Streams: tensors of one width that are added up, so that what one of them holds in a channel all have to hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from front_onnx.axes.size import SizeVar
from front_onnx.dims.structure import Structure
from front_onnx.operators.record import Trait, record_of
from front_onnx.read.graph import Edge, Graph
from front_onnx.streams.lengths import Length
from front_onnx.streams.norms import Norm

__all__ = ["Impossible", "Scaling", "Sums", "before", "said"]

_LINEAR = Trait.VIEW | Trait.PICKS | Trait.REPEATS | Trait.JOINS | Trait.CHOOSES | Trait.GATHERS | Trait.SLICES
_CONSTANT_READERS = Trait.CONTRACTS | Trait.GATHERS


class Impossible(Exception):
    """Extras cannot hold what they would have to; the message says why."""


@dataclass(frozen=True)
class Scaling:
    """A multiplication of a stream by constants, one for each channel."""

    before: str
    after: str
    edge: Edge


class Sums:
    """The tensors of one size variable, joined where they are added up.

    Args:
        structure: the source.
        norms: those that take means over it.
        lengths: where it is divided by its length.
        var: the size variable.

    Attributes:
        parent: by tensor, one that it is joined with; itself for the one that stands for all (`root`).
        scalings: where a stream is multiplied channel by channel, in their order, and by where the scale is read.
        gains, biases: those of norms, by where they are read.
        landings: by a constant that is added just before a norm, the tensor of the stream.
        plain: streams whose channels are bent one by one, by one of their tensors, and what bends them.

    Raises:
        Impossible: a norm has no gain, or the width is cut out of another axis.
    """

    def __init__(self, structure: Structure, norms: Iterable[Norm], lengths: Iterable[Length], var: SizeVar) -> None:
        self.analysis, self.graph = structure.analysis, structure.graph
        self.norms, self.lengths, self.var = list(norms), list(lengths), var
        self.centred = any(norm.centred for norm in self.norms)
        self.parent: dict[str, str] = {}
        self.scalings: list[Scaling] = []
        self.gains: dict[Edge, Norm] = {norm.gain: norm for norm in self.norms if norm.gain is not None}
        self.biases: dict[Edge, Norm] = {norm.bias: norm for norm in self.norms if norm.bias is not None}
        self.scales: dict[Edge, Scaling] = {}
        self.landings: dict[Edge, str] = {}
        self.plain: dict[str, str] = {}  # streams whose channels are bent one by one: extras are copies; by what
        self._collect()

    def _collect(self) -> None:
        inside = {node for norm in self.norms for node in norm.nodes}
        inside |= {node for length in self.lengths for node in length.nodes}
        for length in self.lengths:
            self.parent.setdefault(length.input, length.input)
            self.parent.setdefault(length.output, length.output)
        for norm in self.norms:
            if not norm.plain or norm.gain is None:
                raise Impossible(f"a norm has no gain of its own ({said(self.graph, norm)})")
            self._join(before(norm))
            self.parent.setdefault(norm.output, norm.output)
            for edge in norm.added:
                self.landings[edge] = before(norm)[0]
        for index in range(len(self.graph.nodes)):
            if index not in inside:
                self._meet(index)

    def _meet(self, index: int) -> None:
        node, record = self.graph.nodes[index], record_of(self.graph.nodes[index])
        made = [name for name in node.output if name and self._has(name)]
        data = [name for name in node.input if name and self.analysis.is_data(name) and self._has(name)]
        if any(self._alone(name) for name in made) and not all(self._alone(name) for name in data):
            raise Impossible(f"the width is cut out of another axis at {node.name or node.op_type}")
        made = [name for name in made if self._alone(name)]  # in another axis, nothing is asked of extras
        fixed = [Edge(index, slot) for slot, name in enumerate(node.input) if name and not self.analysis.is_data(name)]
        mine = [edge for edge in fixed if self.reads(edge)]
        for name in made:
            self.parent.setdefault(name, name)
        if not made or not (data or mine):
            return
        if record.has(_CONSTANT_READERS) and not (record.has(Trait.GATHERS) and data):
            if data and record.has(Trait.CONVOLVES) and any(self._depthwise(edge) for edge in fixed):
                self._bend((*data, *made), f"{node.name or node.op_type} filters each channel by itself")
            elif data and not mine and not record.has(Trait.CONVOLVES):
                self._join((*data, *made))  # a sum over something else, the same for all channels
            return
        if not data:
            return
        if record.has(Trait.SHIFTS) or record.has(_LINEAR):
            if (
                record.has(Trait.SHIFTS)
                and len(data) + len(mine) < len([n for n in node.input if n])
                and not self.centred
            ):
                self._bend((*data, *made), f"{node.name or node.op_type} adds one number to all channels")
            self._join((*data, *made))
        elif record.has(Trait.SCALES) and len(data) == 1 and not mine:
            self._join((*data, *made))
        elif record.has(Trait.SCALES) and len(data) == 1 and not record.has(Trait.DIVIDES):
            scaling = Scaling(data[0], made[0], mine[0])
            self.parent.setdefault(data[0], data[0])
            self.scalings.append(scaling)
            self.scales[mine[0]] = scaling
        elif record.has(Trait.LINEAR) or (record.has(Trait.ZERO) and not self.centred):
            self._join((*data, *made))  # zeros stay zeros
        else:
            self._bend((*data, *made), f"{node.name or node.op_type} ({node.op_type}) bends each channel by itself")

    def _bend(self, names: Iterable[str], why: str) -> None:
        """Let the extras of a stream be copies: only of them is what is done to each channel a copy again."""
        names = tuple(names)
        self._join(names)
        self.plain.setdefault(names[0], why)

    def _depthwise(self, edge: Edge) -> bool:
        return edge not in self.analysis.contractions and self.reads(edge)

    def _join(self, names: Iterable[str]) -> None:
        first, *others = map(self.root, names)
        for root in others:
            self.parent[root] = self.root(first)

    def root(self, name: str) -> str:
        """The tensor that stands for all that a tensor is joined with."""
        self.parent.setdefault(name, name)
        while self.parent[name] != name:
            self.parent[name] = self.parent[self.parent[name]]
            name = self.parent[name]
        return name

    def _axes(self, name: str) -> list[tuple[SizeVar, ...]]:
        fact = self.analysis.facts.get(name)
        return [self.analysis.algebra.expand(axis) for axis in (fact.axes or () if fact is not None else ())]

    def _has(self, name: str) -> bool:
        return any(self.var in set(self.analysis.algebra.free_variables(axis)) for axis in self._axes(name))

    def _alone(self, name: str) -> bool:
        held = [axis for axis in self._axes(name) if self.var in set(self.analysis.algebra.free_variables(axis))]
        return held in ([], [(self.var,)])

    def reads(self, edge: Edge) -> bool:
        """True if what an edge reads has this width as an axis of its own."""
        fact = self.analysis.uses.get(edge)
        if fact is None:
            return self._has(self.graph.nodes[edge.node].input[edge.slot])
        return any(self.analysis.algebra.expand(axis) == (self.var,) for axis in fact.axes or ())

    def landing(self, edge: Edge) -> str | None:
        """The tensor of the stream that a constant is written into, through what only constants make."""
        names = list(self.graph.nodes[edge.node].output)
        seen = set()
        while names:
            name = names.pop()
            if name in seen:
                continue
            seen.add(name)
            if self.analysis.is_data(name):
                if name in self.parent:
                    return str(name)
                continue
            names += [out for e in self.graph.consumers.get(name, ()) for out in self.graph.nodes[e.node].output]
        return None


def said(graph: Graph, norm: Norm) -> str:
    """The name of a norm's last node."""
    node = graph.nodes[max(norm.nodes)]
    return str(node.name or node.op_type)


def before(norm: Norm) -> tuple[str, ...]:
    """The stream that a norm reads; one without a name where the operator looks up and adds what it normalises."""
    return norm.inputs or (f"before {norm.output}",)
