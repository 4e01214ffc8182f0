"""New blocks that do nothing yet: where they stand, and what in them is zero."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from front_onnx.blocks.chain import Chain
from front_onnx.dims.structure import Structure
from front_onnx.methods.method import Draft
from front_onnx.read.graph import Edge
from front_onnx.roles.trace import Trace
from front_onnx.streams.branches import Layer, Way, find_layer, find_way, last_writers
from front_onnx.streams.norms import Norm, find_norms
from front_onnx.transform.contents import Content, Eye, Filled

__all__ = ["Growing", "sources"]


def sources(structure: Structure, number: int, target: int) -> list[int]:
    """The block that each of `target` blocks is a copy of; the second of two equal ones is new.

    A new block stands behind the one that it is a copy of, unless something that is no weight tells the blocks apart:
    then every block has to keep its place, and the new ones stand behind all others.
    """
    chain = structure.chains[number]
    count = len(chain.units)
    if _in_order(structure, chain):
        return [min(unit, count - 1) for unit in range(target)]
    return [unit * count // target for unit in range(target)]


def _in_order(structure: Structure, chain: Chain) -> bool:
    """True if something that is no weight differs from block to block."""
    graph = structure.graph
    for edges in chain.places.values():
        names = [graph.read_by(edge) for edge in edges]
        if len(set(names)) == 1 or structure.constants[edges[0]].is_resampled:
            continue
        first, *others = (graph.array(name) for name in names)
        if not all(np.array_equal(first, other) for other in others):
            return True
    return False


@dataclass
class Growing:
    """The blocks of one chain that are added, and what makes them do nothing.

    Attributes:
        plan: what is planned so far.
        number: of the chain.
        norms: the norms of the graph, by their output.
    """

    plan: Draft
    number: int
    norms: dict[str, Norm]

    @classmethod
    def all(cls, plan: Draft) -> Iterator[Growing]:
        """Every chain that grows."""
        norms = {norm.output: norm for norm in find_norms(plan.structure.analysis)}
        for number, chain in enumerate(plan.structure.chains):
            if chain.loop is None and plan.units[number] > len(chain.units):
                yield cls(plan, number, norms)

    @property
    def chain(self) -> Chain:
        """The chain."""
        return self.plan.structure.chains[self.number]

    @cached_property
    def new(self) -> list[int]:
        """The places of the new blocks."""
        places = sources(self.plan.structure, self.number, self.plan.units[self.number])
        return [unit for unit, source in enumerate(places) if unit and source == places[unit - 1]]

    @cached_property
    def way(self) -> Way | None:
        """The way through the last block, which all are like."""
        if len(self.chain.ends) > 1:
            return None
        return find_way(self.plan.structure.analysis, self.norms, self.chain.start_of(-1), self.chain.end)

    @cached_property
    def layer(self) -> Layer | None:
        """The one layer that each block is, if nothing passes it by."""
        if len(self.chain.ends) > 1:
            return None
        analysis = self.plan.structure.analysis
        found = find_layer(analysis, Trace(analysis).contractions, self.chain.start_of(-1), self.chain.end)
        return found if found is None or self._shared((found.weight,)) is None else None

    def pass_on(self, unit: int, layer: Layer) -> None:
        """Let a block that is one layer be the identity."""
        graph = self.plan.structure.graph
        axes = self.plan.structure.analysis.uses[layer.weight].axes or ()
        name = graph.read_by(layer.weight)
        dims = tuple(self.plan.size(axis) for axis in axes)
        kind, names = graph.constants[name].data_type, self._names(layer.weight)
        self.put(unit, layer.weight, Eye(dims, kind, layer.centre, f"{name} of {unit}", names, unit))
        if layer.bias is not None:
            self.fill(unit, layer.bias, 0.0)

    @cached_property
    def writers(self) -> frozenset[Edge] | None:
        """What in the last block has to be zero, so that nothing is added to the stream; None if it cannot be."""
        found = self._last_writers()
        if found is None or not found <= self._places.keys():  # what stands before all blocks is none of one's own
            return None
        return found if self._shared(found) is None else None

    @property
    def filled(self) -> str:
        """Why there is nothing in a new block that could be zero: for what was planned without `writers`."""
        found = self._last_writers()
        shared = None if found is None else self._shared(found)
        return "nothing learned alone decides what a new block adds" if shared is None else f"blocks share {shared}"

    def _shared(self, edges: Iterable[Edge]) -> str | None:
        """A weight that several blocks read in a place, one that is no single value in every entry by chance."""
        graph = self.plan.structure.graph
        for edge in sorted(edges):
            names = self._names(edge)
            if len(set(names)) < len(names) and np.ptp(graph.array(graph.read_by(edge))) > 0:
                return graph.read_by(edge)
        return None

    def _last_writers(self) -> frozenset[Edge] | None:
        if self.way is None:
            return None
        structure = self.plan.structure
        inside = set(structure.flow.private(self.chain.units[-1]))
        on_way = (*self.way.added, *self.way.scaled)
        if any(edge not in structure.analysis.uses for edge in on_way):
            return None  # computed from constants: no weight alone decides it
        found = frozenset(self.way.added)
        for branch in self.way.branches:
            writers = last_writers(structure.analysis, structure.constants, self.norms, branch, inside)
            if writers is None:
                return None
            found |= writers
        return found

    def empty(self, unit: int) -> None:
        """Let a block add nothing."""
        if self.way is None or self.writers is None:
            return
        for edge in self.writers:
            self.fill(unit, edge, 0.0)
        for edge in self.way.scaled:
            self.fill(unit, edge, 1.0)

    def fill(self, unit: int, edge: Edge, value: float) -> None:
        """Let what an edge of the last block reads hold one value, in another block."""
        graph = self.plan.structure.graph
        axes = self.plan.structure.analysis.uses[edge].axes or ()
        dims = tuple(self.plan.size(axis) for axis in axes)
        name = graph.read_by(edge)
        kind = graph.constants[name].data_type
        self.put(unit, edge, Filled(dims, kind, value, f"{name} of {unit}", self._names(edge), unit))

    def put(self, unit: int, edge: Edge, content: Content) -> None:
        """Let what an edge of the last block reads have a content, in another block."""
        if unit < len(self.chain.units):
            self.plan.contents[self._places[edge][unit]] = content
        else:
            self.plan.clones.setdefault((self.number, unit), {})[edge] = content

    def _names(self, edge: Edge) -> tuple[str, ...]:
        """The tensors that stand where an edge of the last block reads one, in all blocks."""
        return tuple(map(self.plan.structure.graph.read_by, self._places.get(edge, ())))

    @cached_property
    def _places(self) -> dict[Edge, tuple[Edge, ...]]:
        return {edges[-1]: edges for edges in self.chain.places.values()}
