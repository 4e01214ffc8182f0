"""How constants are used: what operators read them as weights, and what they share axes with.

A constant is read as a weight where an operator says so: it is summed over, looked up by data, scales or shifts a
norm, as it is or after being moved, cast or standardised. What is added to or multiplied with activations may be
anything; it is told by its axes, which weights have too.
"""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING

from front_onnx.axes.size import SizeVar, size_of
from front_onnx.constants.gradient import WHOLE, fed, reaching
from front_onnx.operators.record import Operator, Trait, record_of
from front_onnx.read.graph import Edge

if TYPE_CHECKING:
    from front_onnx.operators.analysis import Analysis

__all__ = ["Uses"]

_PLAIN = Trait.VIEW | Trait.ARITHMETIC  # element by element, or moved about
# What hands its input on as the same weight: moved, cast or standardised.
_HANDS_ON = Trait.MOVES | Trait.JOINS | Trait.NORMALISES | Trait.SCALES


class Uses:
    """What reads each constant, and as what.

    Attributes:
        edges: the node inputs that read a constant, by its name, those in bodies included.
        gradient: the node inputs that a gradient comes back from.
        influence: the node inputs that outputs depend on.
        weights: constants that some operator reads as weights.
        tables: those of them that data look up, and that nothing reads otherwise.
        strong: all the others.
        inline: True for a file that has its weights in Constant nodes.
    """

    def __init__(self, analysis: Analysis) -> None:
        self.analysis, self.graph = analysis, analysis.graph
        self.edges: dict[str, list[Edge]] = {}
        for name in self.graph.constants:
            for edge in self.graph.consumers.get(name, ()):
                self.edges.setdefault(self.graph.constant_name(name), []).extend(self.graph.within(edge))
        self.gradient = reaching(self.graph)
        self.influence = reaching(self.graph, gradient=False)
        self.fed = fed(self.graph)
        found = self._weights()
        self.tables = {name for name, records in found.items() if all(r.has(Trait.LOOKS_UP) for r in records)}
        self.weights = set(found)
        self.strong = self.weights - self.tables
        self.inline = 2 * sum(name in self.graph.initializers for name in self.strong) < len(self.strong)

    @cached_property
    def raw(self) -> set[str]:
        """Float inputs, and what is made of them and constants element by element or by moving them about."""
        found = {v.name for v in self.graph.inputs if v.type.tensor_type.elem_type not in WHOLE}
        for node in self.graph.nodes:
            if record_of(node).has(_PLAIN) and any(name in found for name in node.input):
                rest = [name for name in node.input if name not in found]
                if all(name in self.graph.constants for name in rest):
                    found.update(node.output)
        return found

    @cached_property
    def _counted(self) -> Counter[SizeVar | int]:
        """How many weights have each size variable (or size, where axes could not be followed)."""
        found: Counter[SizeVar | int] = Counter()
        for name in self.weights:
            found.update(size for size in self.graph.constants[name].dims if size > 1)
            for edge in self.edges.get(name, ()):
                found.update(self._features(edge))
        return found

    def reached(self, name: str) -> bool:
        """True if training could reach a constant."""
        return any(edge in self.gradient for edge in self.edges.get(name, ()))

    def matters(self, name: str) -> bool:
        """True if outputs depend on the values of a constant."""
        return any(edge in self.influence for edge in self.edges.get(name, ()))

    def is_statistic(self, name: str) -> bool:
        """True for the running mean or variance of a batch norm."""
        return any(map(self._is_statistic, self.edges.get(name, ())))

    def _is_statistic(self, edge: Edge) -> bool:
        return self._record(edge).parameters.get(edge.slot) in ("mean", "variance")

    def _record(self, edge: Edge) -> Operator:
        return record_of(self.graph.nodes[edge.node])

    def is_setting(self, edge: Edge) -> bool:
        """True where a number is compared with, or sets something: it matters and no gradient comes back."""
        return edge in self.influence and edge not in self.gradient

    def is_plain(self, edge: Edge) -> bool:
        """True where the operator does not say that a constant is a weight."""
        node, record = self.graph.nodes[edge.node], self._record(edge)
        if record.has(Trait.LOOKS_UP):
            return edge.slot != 0 or all(map(self._constant_only, node.input[1:2]))
        if record.has(Trait.PRODUCT):
            others = [name for slot, name in enumerate(node.input[:2]) if slot != edge.slot]
            return edge.slot == 0 and all(self._constant_only(name) for name in others)
        return not record.has(Trait.PARAMETERS)

    def _constant_only(self, name: str) -> bool:
        """True for a tensor that is made of constants alone."""
        return name in self.graph.constants or name not in self.fed

    def _weights(self) -> dict[str, list[Operator]]:
        """By constant, the operators that read it as a weight, as it is or after being moved, cast or standardised."""
        found: dict[str, list[Operator]] = {}
        for name, edges in self.edges.items():
            for edge in edges:
                if self._is_weight(edge):
                    found.setdefault(name, []).append(self._record(edge))
        for index, node in enumerate(self.graph.nodes):
            for edge, name in zip(self.graph.reads[index], node.input, strict=True):
                if name not in self.graph.constants and self._is_weight(edge):
                    for origin in self._behind(name):
                        found.setdefault(origin, []).append(record_of(node))
        return found

    def _is_weight(self, edge: Edge) -> bool:
        return edge in self.influence and not self.is_plain(edge) and not self._is_statistic(edge)

    def _behind(self, name: str) -> set[str]:
        """The constants that a tensor is made of which no input flows into."""
        found, waiting, seen = set(), [name], {name}
        while waiting:
            name = waiting.pop()
            if name in self.graph.constants:
                found.add(self.graph.constant_name(name))
            elif name not in self.fed and name in self.graph.producer:
                index = self.graph.producer[name]
                for slot, other in enumerate(self.graph.nodes[index].input):
                    if Edge(index, slot) in self.influence and self._moves(index, slot) and other not in seen:
                        seen.add(other)
                        waiting.append(other)
        return found

    def _moves(self, index: int, slot: int) -> bool:
        """True where an operator hands its input on as the same weight: it is moved, cast or standardised."""
        record = record_of(self.graph.nodes[index])
        return (slot == 0 or record.has(Trait.JOINS)) and record.has(_HANDS_ON)

    def _features(self, edge: Edge) -> set[SizeVar | int]:
        """The size variables of a reading, but those of size 1; its sizes where axes could not be followed."""
        fact = self.analysis.uses.get(edge)
        if self.analysis.troubles or fact is None or fact.axes is None:
            name = self.graph.nodes[edge.node].input[edge.slot]
            return (
                {size for size in self.graph.constants[name].dims if size > 1}
                if name in self.graph.constants
                else set()
            )
        return {var for axis in fact.axes for var in self.analysis.algebra.free_variables(axis) if size_of((var,)) > 1}

    def shares_an_axis(self, name: str) -> bool:
        """True if a weight has an axis of a constant, beside those that sum over it: coordinates have none."""
        edges, own = self.edges.get(name, []), Counter[SizeVar | int]()
        for edge in edges:
            if self._record(edge).has(Trait.PRODUCT):
                for other in (Edge(edge.node, slot) for slot in range(2) if slot != edge.slot):
                    if other in self.analysis.uses:
                        own.update(self._features(other))
        return any(self._counted[var] > own[var] for edge in edges for var in self._features(edge))

    def meets_raw_input(self, name: str) -> bool:
        """True if a constant only meets inputs of the graph as they are fed: it normalises them."""
        for edge in self.edges.get(name, ()):
            node = self.graph.nodes[edge.node]
            others = [other for slot, other in enumerate(node.input) if slot != edge.slot]
            if not record_of(node).has(Trait.ARITHMETIC) or any(other not in self.raw for other in others):
                return False
        return True

    def is_multiplied(self, name: str) -> bool:
        """True if something is multiplied by a constant, or chosen by it."""
        return any(self._record(e).has(Trait.MULTIPLIES | Trait.CHOOSES) for e in self.edges.get(name, ()))

    def is_bias_or_gain(self, name: str) -> bool:
        """True if a constant meets data along an axis that both have, element by element."""
        for edge in self.edges.get(name, ()):
            node, mine = self.graph.nodes[edge.node], self.analysis.uses.get(edge)
            if not record_of(node).has(Trait.ARITHMETIC) or mine is None:
                continue
            held = {var for axis in mine.axes or () for var in self.analysis.algebra.free_variables(axis)}
            for other in (o for slot, o in enumerate(node.input) if slot != edge.slot):
                fact = self.analysis.facts.get(other)
                if fact is None or fact.constant or fact.value is not None or other not in self.fed:
                    continue
                if held & {var for axis in fact.axes or () for var in self.analysis.algebra.free_variables(axis)}:
                    return True
        return False
