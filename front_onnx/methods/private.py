"""Which size variables are private to the units of a chain, so that each unit may have maps of its own for them."""

from __future__ import annotations

from functools import cached_property

from front_onnx.axes.size import SizeVar
from front_onnx.dims.structure import Dim, Structure
from front_onnx.operators.record import Trait, record_of
from front_onnx.read.graph import Edge

__all__ = ["Private"]


class Private:
    """The size variables that no tensor carries across the border of a unit, and that one chain alone has.

    The hidden units of a feed-forward layer and, mostly, heads: their order is nobody else's business. A residual width
    is everybody's, and heads are where all units share a table of position biases.
    """

    def __init__(self, structure: Structure) -> None:
        self.structure = structure

    def chain(self, var: SizeVar) -> int | None:
        """The chain to whose units a size variable is private; None if it is not."""
        dim = self.structure.by_variable.get(var)
        if dim is None or var in self._crossing:
            return None
        homes = {self.unit(edge) for edge in dim.edges}
        chains = {home[0] if home is not None else None for home in homes}
        return chains.pop() if len(chains) == 1 else None

    def readings(self, var: SizeVar, edges: tuple[Edge, ...]) -> list[Edge]:
        """The readings of weights that have to agree with some of them on the map of a size variable.

        For one reading of a private variable those in the same unit, else all.
        """
        dim: Dim | None = self.structure.by_variable.get(var)
        every = sorted(set(dim.edges if dim is not None else edges))
        if len({self.unit(edge) for edge in edges}) > 1 or self.chain(var) is None:
            return every
        return [edge for edge in every if self.unit(edge) == self.unit(edges[0])]

    def unit(self, edge: Edge) -> tuple[int, int] | None:
        """The chain and the unit that an edge is in, if any; the entry block is unit -1, the exit block -2."""
        return self._units.get(self.structure.graph.order.home(edge.node))

    @cached_property
    def _owned(self) -> dict[tuple[int, int], set[int]]:
        flow = self.structure.flow
        return {
            (number, unit): flow.private(segments)
            for number, chain in enumerate(self.structure.chains)
            for unit, segments in ((-1, chain.entry), (-2, chain.exit), *enumerate(chain.units))
            if segments
        }

    @cached_property
    def _units(self) -> dict[int, tuple[int, int]]:
        return {node: unit for unit, nodes in self._owned.items() for node in nodes}

    @cached_property
    def _crossing(self) -> set[SizeVar]:
        """The size variables of all tensors that cross the border of a unit."""
        graph, flow, facts = self.structure.graph, self.structure.flow, self.structure.analysis.facts
        names: set[str] = set()
        for nodes in self._owned.values():
            names.update(flow.entering(nodes))
            for name in (name for node in nodes for name in graph.nodes[node].output):
                readers = {
                    graph.order.home(edge.node)
                    for edge in graph.consumers.get(name, ())
                    if not record_of(graph.nodes[edge.node]).has(Trait.MEASURES)
                }
                if not readers <= nodes or name in graph.outputs:
                    names.add(name)
        axes = (axis for name in names if name in facts for axis in facts[name].axes or ())
        return {var for axis in axes for var in self.structure.analysis.algebra.free_variables(axis)}
