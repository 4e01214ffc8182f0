"""Weights of nodes that cannot be looked into: recurrent cells, fused attention, experts that are looked up.

What such a node makes is not affine in what it reads, but what its weight W makes of it is. So with what the target's
node reads, x', and what the source's reads, x,

    W' = P W D,    D = argmin sum |P W (x - D x')|^2    with ridge toward the weights that are there

the weight makes of x' what P W, with its outputs encoded, made of x. What a recurrent cell reads of itself is not known
before it is fitted: there x' is the source's state, encoded, as if the target were right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from front_onnx.axes.size import size_of
from front_onnx.calibration.held import Held
from front_onnx.calibration.layers import Layer
from front_onnx.calibration.places import Places
from front_onnx.calibration.solving import Sums
from front_onnx.dims.structure import Structure
from front_onnx.operators.record import Trait, record_of
from front_onnx.read.graph import Edge
from front_onnx.transform.contents import Original, Pending, Resampled
from front_onnx.transform.maps import Identity
from front_onnx.transform.weights import fill

__all__ = ["Opaque", "OpaqueRows", "Part", "find_opaque"]

_CELL = (1, 2)  # where a recurrent cell reads the weights of its input and of its state
_BIAS = 3


@dataclass(frozen=True)
class Part:
    """One weight of a node.

    Attributes:
        weight: where it is read, perhaps to be looked up first.
        axis: the axis of it that is summed over.
        read: the input that it is multiplied by; None for the node's own state, its first output, a step before.
        place: the axis of that tensor that is summed over.
    """

    weight: Edge
    axis: int
    read: Edge | None
    place: int


@dataclass(frozen=True)
class Opaque:
    """Weights of a node whose products are added up.

    Attributes:
        node: the node.
        parts: its weights.
        bias: what is added to the sum; None without one.
        directions: of a recurrent cell: the first axis of its weights; 0 for anything else.
    """

    node: int
    parts: tuple[Part, ...]
    bias: Edge | None
    directions: int = 0

    @property
    def weights(self) -> tuple[Edge, ...]:
        """Where its weights are read."""
        return tuple(part.weight for part in self.parts)

    def matrix(self, part: Part, weight: np.ndarray) -> np.ndarray:
        """[groups, K, N], float64, of a weight in the file's layout."""
        last = np.moveaxis(weight.astype(np.float64), part.axis, -1)
        return last.reshape(self.directions or 1, -1, last.shape[-1]).transpose(0, 2, 1)

    def in_file(self, part: Part, matrix: np.ndarray, like: np.ndarray) -> np.ndarray:
        """A weight in the file's layout, of [groups, K, N]; shape and type are those of another."""
        shape = np.moveaxis(np.empty(like.shape, np.bool_), part.axis, -1).shape
        last = matrix.transpose(0, 2, 1).reshape(shape)
        return np.ascontiguousarray(np.moveaxis(last, -1, part.axis).astype(like.dtype))

    def shifted(self, bias: np.ndarray, shift: np.ndarray) -> np.ndarray:
        """A bias in the file's layout with something added to it: [groups, N]."""
        whole = bias.astype(np.float64).reshape(shift.shape[0], -1)
        whole[:, : shift.shape[1]] += shift  # behind a recurrent cell's own bias is the one of its state
        return whole.reshape(bias.shape).astype(bias.dtype)


def find_opaque(structure: Structure, layers: Mapping[int, Layer]) -> list[Opaque]:
    """Weights that are summed over and belong to no layer, where it is known what they are multiplied by."""
    graph, analysis = structure.graph, structure.analysis
    known = {layer.weight for layer in layers.values()}
    found: dict[int, Opaque] = {}
    for edge in sorted(set(analysis.contractions) - known):
        if not structure.constants.of(graph.read_by(edge)).learned:
            continue
        reader = _reader(structure, edge)
        if reader is None or graph.order.home(reader.node) != reader.node:
            continue
        if record_of(graph.nodes[reader.node]).has(Trait.RECURRENT):
            if reader.node not in found and (cell := _cell(structure, reader.node)) is not None:
                found[reader.node] = cell
            continue
        groups = int(graph.attribute(reader.node, "group", 1) or 1)
        part = _part(structure, edge, reader) if groups == 1 else None
        if part is not None:
            bias = _bias(structure, edge, reader, part)
            found[len(graph.nodes) + len(found)] = Opaque(reader.node, (part,), bias)
    return sorted(found.values(), key=lambda each: each.node)


def _reader(structure: Structure, edge: Edge) -> Edge | None:
    """Where a weight is multiplied by something: it may be moved or looked up before."""
    graph = structure.graph
    while not record_of(graph.nodes[edge.node]).has(Trait.CONTRACTS):
        readers = graph.consumers.get(graph.nodes[edge.node].output[0], ())
        if len(readers) != 1 or not record_of(graph.nodes[edge.node]).has(Trait.MOVES):
            return None
        edge = readers[0]
    return edge


def _part(structure: Structure, edge: Edge, reader: Edge) -> Part | None:
    """A weight and the one tensor that has the axis that it is summed over."""
    analysis = structure.analysis
    axis = analysis.contractions[edge]
    summed = analysis.algebra.expand((analysis.uses[edge].axes or ())[axis])
    found = []
    for slot, name in enumerate(structure.graph.nodes[reader.node].input):
        fact = analysis.facts.get(name)
        if slot != reader.slot and name and analysis.is_data(name) and fact is not None and fact.axes is not None:
            own = [analysis.algebra.expand(each) for each in fact.axes]
            places = [place for place, each in enumerate(own) if each == summed and size_of(each) > 1]
            found += [(Edge(reader.node, slot), place) for place in places[-1:]]
    return Part(edge, axis, *found[0]) if len(found) == 1 else None


def _bias(structure: Structure, edge: Edge, reader: Edge, part: Part) -> Edge | None:
    """A bias of the same node with one number for each column of a weight."""
    analysis, graph = structure.analysis, structure.graph
    axes = analysis.uses[edge].axes or ()
    wanted = [analysis.algebra.expand(axis) for n, axis in enumerate(axes) if n != part.axis]
    if edge.node != reader.node or reader.slot + 1 >= len(graph.nodes[reader.node].input):
        return None
    bias = graph.stored(Edge(reader.node, reader.slot + 1))
    if bias not in analysis.uses or not structure.constants.of(graph.read_by(bias)).learned:
        return None
    held = [analysis.algebra.expand(axis) for axis in analysis.uses[bias].axes or ()]
    return bias if held == wanted else None


def _cell(structure: Structure, node: int) -> Opaque | None:
    graph, analysis = structure.graph, structure.analysis
    names = graph.nodes[node].input
    edges = [graph.stored(Edge(node, slot)) for slot in _CELL]
    if any(edge not in analysis.uses or analysis.is_data(graph.read_by(edge)) for edge in edges):
        return None
    parts = [Part(edges[0], 2, Edge(node, 0), 2)]
    if graph.nodes[node].output[0]:
        parts.append(Part(edges[1], 2, None, 3))
    bias = graph.stored(Edge(node, _BIAS)) if len(names) > _BIAS and names[_BIAS] else None
    if bias is not None and (bias not in analysis.uses or not structure.constants.of(graph.read_by(bias)).learned):
        bias = None
    directions = size_of((analysis.uses[edges[0]].axes or ())[0])
    return Opaque(node, tuple(parts), bias, directions)


class OpaqueRows:
    """What one node's weights read in the target, and what those of the source make.

    Args:
        opaque: the weights.
        held: the target's weights.
        places: what stands for what; a node stands for that of the block that its weights are taken from.
        contents: what the plan says that weights of the target are, by name.
    """

    def __init__(self, opaque: Opaque, held: Held, places: Places, contents: Mapping[str, Pending]) -> None:
        self.opaque, self.held, self.places = opaque, held, places
        self.there = places.node(opaque.node)
        self._contents = contents

    def reads(self) -> list[str]:
        """What is read of the target."""
        return [self.held.operand(part.read) for part in self.opaque.parts if part.read is not None]

    def wants(self) -> list[str]:
        """What is read of the source."""
        return [self._theirs(part) for part in self.opaque.parts]

    def why(self) -> str | None:
        """Why the weights stay; None if they need not."""
        every = [*self.opaque.weights, *([self.opaque.bias] if self.opaque.bias is not None else [])]
        for edge in every:
            if self.held.is_shared(self.held.name(edge)):
                return f"{self.held.name(edge)} is read in several places"
        if any(self._open(part) is None for part in self.opaque.parts):
            return "what it is made of is mixed"
        return None

    def _theirs(self, part: Part) -> str:
        node = self.places.graph.nodes[self.there]
        return str(node.output[0] if part.read is None else node.input[part.read.slot])

    def _open(self, part: Part) -> np.ndarray | None:
        """[groups, K of the source, N of the target]: the source's weight with its outputs encoded."""
        name = self.held.name(part.weight)
        content = self._contents.get(name)
        if content is None or isinstance(content, Original):
            return self.opaque.matrix(part, self.held.array(name))
        if not isinstance(content, Resampled) or content.transposed or content.patch is not None or content.before:
            return None
        axes = [*content.axes]
        axes[part.axis] = Identity(axes[part.axis].source)
        found: dict[str, np.ndarray] = {}
        fill(self.places.graph, {name: replace(content, axes=tuple(axes))}, found.__setitem__)
        return self.opaque.matrix(part, found[name])

    def before(self) -> np.ndarray:
        """[groups, K, N]: the target's weights, one below the other."""
        parts = [self.opaque.matrix(part, self.held.array(self.held.name(part.weight))) for part in self.opaque.parts]
        return np.concatenate(parts, axis=1)

    def put(self, fitted: np.ndarray, shift: np.ndarray | None) -> None:
        """Give the target other weights, one below the other, and something more in its bias."""
        start = 0
        for part in self.opaque.parts:
            name = self.held.name(part.weight)
            like = self.held.array(name)
            rows = like.shape[part.axis]
            self.held.store(name, self.opaque.in_file(part, fitted[:, start : start + rows], like))
            start += rows
        if shift is not None and self.opaque.bias is not None:
            name = self.held.name(self.opaque.bias)
            self.held.store(name, self.opaque.shifted(self.held.array(name), shift))

    def add_to(
        self,
        sums: Callable[[int], Sums],
        mine: Iterator[dict[str, np.ndarray]],
        theirs: Iterator[dict[str, np.ndarray]],
        counts: Callable[[str, int, tuple[int, ...]], np.ndarray | None],
    ) -> None:
        """Take in all batches, each into the sums of its number; `counts` says what does of a tensor of the source."""
        opened = [self._open(part) for part in self.opaque.parts]
        state = str(self.places.graph.nodes[self.opaque.node].output[0])
        encoder = self.places.encoder(state)
        for number, (own, others) in enumerate(zip(mine, theirs, strict=True)):
            rows, wanted = [], []
            for part, matrix in zip(self.opaque.parts, opened, strict=True):
                theirs_ = others[self._theirs(part)]
                ours = encoder(theirs_) if part.read is None else own[self.held.operand(part.read)]
                rows.append(self._rows(part, ours))
                read = self._rows(part, theirs_).astype(np.float64)
                assert matrix is not None
                wanted.append(np.matmul(read.transpose(1, 0, 2), matrix).transpose(1, 0, 2))
            if len({len(each) for each in rows}) == 1 and len(rows[0]) == len(wanted[0]) and len(rows[0]):
                first = others[self._theirs(self.opaque.parts[0])]
                flags = counts(self._theirs(self.opaque.parts[0]), number, first.shape)
                at: slice | np.ndarray = slice(None)
                if flags is not None:
                    at = self._rows(self.opaque.parts[0], np.broadcast_to(flags, first.shape))[:, 0, 0]
                sums(number).add(np.concatenate(rows, axis=2)[at], {0: np.sum(wanted, axis=0)[at]})

    def _rows(self, part: Part, data: np.ndarray) -> np.ndarray:
        """[any, groups, K]."""
        if not self.opaque.directions:
            last = np.moveaxis(data, part.place, -1)
            return last.reshape(-1, 1, last.shape[-1])
        if part.read is not None:  # [steps, batch, K], the same for both directions
            data = np.repeat(data[:, None], self.opaque.directions, axis=1)
        else:
            data = self._earlier(data)
        return data.transpose(0, 2, 1, 3).reshape(-1, data.shape[1], data.shape[3])

    def _earlier(self, states: np.ndarray) -> np.ndarray:
        """The state that each step starts from, of [steps, directions, batch, K]; zero before the first."""
        way = self.places.graph.attribute(self.there, "direction", "forward")
        way = way.decode() if isinstance(way, bytes) else way
        found = np.zeros_like(states)
        for direction in range(states.shape[1]):
            if way == "reverse" or direction == 1:
                found[:-1, direction] = states[1:, direction]
            else:
                found[1:, direction] = states[:-1, direction]
        return found
