"""Tables that are looked up: which of them hold tokens, positions or types."""

from __future__ import annotations

import math

from front_onnx.axes.size import size_of
from front_onnx.constants.gradient import fed
from front_onnx.operators.analysis import Analysis
from front_onnx.operators.record import Trait, record_of, values_of
from front_onnx.read.graph import Edge
from front_onnx.roles.role import Role, Task

__all__ = ["Tables"]


class Tables:
    """The tables of a graph, and what indexes them."""

    def __init__(self, analysis: Analysis) -> None:
        self.analysis, self.graph = analysis, analysis.graph
        self.fed = fed(self.graph)

    def is_looked_up(self, edge: Edge) -> bool:
        """True for a table whose index does not depend on what is fed: with fixed sizes it is a list in the file."""
        node = self.graph.nodes[edge.node]
        if node.op_type != "Gather" or edge.slot != 0 or self.graph.attribute(edge.node, "axis") != 0:
            return False
        index = self.graph.constants.get(node.input[1])
        if index is not None:
            return bool(math.prod(index.dims) > 1)
        fact = self.analysis.facts.get(node.input[1])
        axes = fact.axes if fact is not None and fact.axes is not None else ()
        return node.input[1] not in self.fed and any(size_of(axis) > 1 for axis in axes)

    def role(self, edge: Edge) -> Role:
        """Positions count on; tokens are fed, and what most entries are for; types are one number unless fed."""
        sizes = [self.graph.constants[self.graph.read_by(e)].dims[0] for e in self.analysis.tables]
        index = self.graph.nodes[edge.node].input[1]
        kinds = self._made_of(index)
        if "counted" in kinds:
            return Role(Task.POSITIONS)
        if "fed" not in kinds:
            return Role(Task.TYPES)
        largest = self.graph.constants[self.graph.read_by(edge)].dims[0] == max(sizes)
        return Role(Task.TOKENS if largest else Task.TABLE)

    def _made_of(self, name: str) -> set[str]:
        """What an index is made of: numbers that are fed, numbers that count on, or one number everywhere."""
        found: set[str] = set()
        seen: set[str] = set()
        waiting = [name]
        while waiting:
            tensor = waiting.pop()
            maker = self.graph.producer.get(tensor)
            if tensor in seen or not tensor:
                continue
            seen.add(tensor)
            if tensor in self.graph.constants:
                array = self.graph.array(tensor)
                varied = array.size > 1 and bool((array != array.flat[0]).any())
                found.add("counted" if varied else "filled")
            elif maker is None:
                found.add("fed")
            elif (record := record_of(self.graph.nodes[maker])).has(Trait.COUNTS):
                found.add("counted")
            elif not record.has(Trait.MEASURES):
                waiting += values_of(self.graph.nodes[maker])
        return found
