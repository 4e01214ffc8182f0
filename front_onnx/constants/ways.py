"""Ways of a tensor: what it goes into with nothing between that is not linear in it, and what it is made of."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from typing import TYPE_CHECKING

from front_onnx.axes.size import size_of
from front_onnx.constants.degrees import STRAIGHT
from front_onnx.operators.record import Trait, record_of
from front_onnx.read.graph import Edge

if TYPE_CHECKING:
    from front_onnx.operators.analysis import Analysis

__all__ = ["Ways"]

_FAR = 48  # tensors that are followed
_ENDS = Trait.NORMALISES | Trait.CONTRACTS | Trait.MEASURES | Trait.GATHERS | Trait.NO_GRADIENT  # a tensor begins anew


class Ways:
    """What a tensor goes into, nothing between that is not linear in it."""

    def __init__(self, analysis: Analysis, products: Container[int]) -> None:
        self.analysis, self.graph, self._products = analysis, analysis.graph, products
        self._roots: dict[str, frozenset[str]] = {}

    def products(self, tensor: str) -> Iterator[Edge]:
        """The operands of products of two activations that a tensor becomes."""
        return self._into(tensor, lambda edge: edge.node in self._products and edge.slot < 2)

    def contractions(self, tensor: str) -> Iterator[Edge]:
        """The operands of contractions with a weight that a tensor becomes, moved about and scaled at most."""
        return self._into(
            tensor, lambda edge: record_of(self.graph.nodes[edge.node]).has(Trait.CONTRACTS) and edge.slot < 2
        )

    def _into(self, tensor: str, ends: Callable[[Edge], bool]) -> Iterator[Edge]:
        waiting, seen = [tensor], {tensor}
        while waiting and len(seen) < _FAR:
            name = waiting.pop()
            for edge in self.graph.consumers.get(name, ()):
                node = self.graph.nodes[edge.node]
                if ends(edge):
                    yield edge
                elif self._is_linear(edge, name):
                    new = [made for made in node.output if made not in seen]
                    seen.update(new)
                    waiting += new

    def _is_linear(self, edge: Edge, name: str) -> bool:
        """True where an operator hands a tensor on: moved, scaled by what is not made of it, rotated, with a bias."""
        node = self.graph.nodes[edge.node]
        record = record_of(node)
        if record.has(Trait.SHIFTS | Trait.JOINS):
            return self._same_roots(name, node.input)
        if record.has(Trait.SCALES):
            return (record.has(Trait.MULTIPLIES) or edge.slot == 0) and not self.is_gate(edge.node)
        return record.has(STRAIGHT) and edge.slot == 0

    def _same_roots(self, name: str, others: Iterable[str]) -> bool:
        """True if what a tensor is added to or joined with is made of the same: a rotation, a bias."""
        mine = self.roots(name)
        return all(self.roots(o) <= mine or o in self.graph.constants for o in others)

    def is_gate(self, index: int) -> bool:
        """True for a product of a tensor and a function of itself, element by element: an activation."""
        node = self.graph.nodes[index]
        if not record_of(node).has(Trait.MULTIPLIES):
            return False
        left, right = node.input
        if not self.roots(left) & self.roots(right):
            return False
        shapes = [self.analysis.facts[name].axes if name in self.analysis.facts else None for name in (left, right)]
        if any(not axes for axes in shapes):
            return False
        return all(size_of(axes[-1]) > 1 for axes in shapes if axes)

    def made_by_gate(self, tensor: str) -> bool:
        """True if a tensor is what an activation makes, moved about at most."""
        maker = self.graph.producer.get(tensor)
        while maker is not None and record_of(self.graph.nodes[maker]).has(STRAIGHT):
            maker = self.graph.producer.get(self.graph.nodes[maker].input[0])
        return maker is not None and self.is_gate(maker)

    def roots(self, tensor: str) -> frozenset[str]:
        """The results of contractions, and inputs, that a tensor is computed of element by element."""
        if tensor not in self._roots:
            found: set[str] = set()
            waiting, seen = [tensor], {tensor}
            while waiting:
                name = waiting.pop()
                maker = self.graph.producer.get(name)
                if name in self.graph.constants:
                    continue
                if maker is None or self._is_root(maker) or len(seen) > _FAR:
                    found.add(name)
                    continue
                for other in self.graph.nodes[maker].input:
                    if other and other not in seen:
                        seen.add(other)
                        waiting.append(other)
            self._roots[tensor] = frozenset(found)
        return self._roots[tensor]

    def _is_root(self, index: int) -> bool:
        if index in self._products or index in self.analysis.summing:
            return True
        return record_of(self.graph.nodes[index]).has(_ENDS)
