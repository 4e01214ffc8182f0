"""The weights of a target by the readings of its source: where blocks are gone, nodes have other names and readers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from front_onnx.calibration.layers import readers
from front_onnx.errors import FrontError
from front_onnx.read.graph import Edge, Graph

__all__ = ["Held"]


class Held:
    """The weights of a target.

    Args:
        graph: the target's graph.
        before: the source's.
        arrays: the target's weights by name, which are changed in place.

    Attributes:
        changed: those that were.
    """

    def __init__(self, graph: Graph, before: Graph, arrays: dict[str, np.ndarray]) -> None:
        self.graph, self.before, self.arrays = graph, before, arrays
        self.changed: dict[str, np.ndarray] = {}
        ends = (graph.producer[name] for name in graph.outputs if name in graph.producer)
        self._ends = {_reading(graph, index): index for index in ends}  # they make what another node did in the source

    def there(self, index: int) -> int | None:
        """The target's node of a source's: by what it makes, or reads where that is an output; None if it is gone."""
        found = self.graph.producer.get(_made(self.before, index))
        return found if found is not None else self._ends.get(_reading(self.before, index))

    def mine(self, index: int) -> int:
        """The target's node of a source's node that is there."""
        found = self.there(index)
        assert found is not None, f"the target has no node for {self.before.nodes[index].name}"
        return found

    def tensor(self, name: str) -> str | None:
        """The target's name of what a node of the source makes; None if the node is gone."""
        index = self.before.producer.get(name)
        found = self.there(index) if index is not None else None
        if index is None or found is None:
            return None
        return str(self.graph.nodes[found].output[list(self.before.nodes[index].output).index(name)])

    def operand(self, edge: Edge) -> str:
        """What the target reads where the source's node reads something."""
        return str(self.graph.nodes[self.mine(edge.node)].input[edge.slot])

    def name(self, edge: Edge) -> str:
        """The target's constant where the source reads one, perhaps to cast it first.

        A node that casts a weight of the source may be gone where the one that reads the result is not.
        """
        between = 0
        while self.there(edge.node) is None:
            edge = self._there(self.before.consumers[_made(self.before, edge.node)])
            between += 1
        here = Edge(self.mine(edge.node), edge.slot)
        for _ in range(between):
            here = Edge(self.graph.producer[self.graph.nodes[here.node].input[here.slot]], 0)
        return self.graph.read_by(self.graph.stored(here))

    def _there(self, edges: Sequence[Edge]) -> Edge:
        """The first of some readings of the source that the target has."""
        return next((edge for edge in edges if self.there(edge.node) is not None), edges[0])

    def array(self, name: str) -> np.ndarray:
        """What a constant of the target holds."""
        found = self.arrays.get(name)
        return found if found is not None else self.graph.array(name)

    def is_shared(self, name: str) -> bool:
        """True for a constant that is read in several places."""
        return len(readers(self.graph, name)) > 1

    def put(self, edge: Edge, values: np.ndarray) -> None:
        """Change the constant that is read where the source reads one, in its own shape and type."""
        name = self.name(edge)
        held = self.array(name)
        self.store(name, values.reshape(held.shape).astype(held.dtype))

    def store(self, name: str, array: np.ndarray) -> None:
        """Change a constant.

        Raises:
            FrontError: the values are not finite.
        """
        if not np.isfinite(array).all():
            raise FrontError("a fitted weight is not finite", got=name)
        self.arrays[name] = self.changed[name] = array


def _reading(graph: Graph, index: int) -> tuple[str, tuple[str, ...]]:
    """An operator and what it reads."""
    return graph.nodes[index].op_type, tuple(graph.nodes[index].input)


def _made(graph: Graph, index: int) -> str:
    """What a node makes, by which it is known in both graphs."""
    return next(str(name) for name in graph.nodes[index].output if name)
