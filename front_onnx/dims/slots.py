"""Slots: entries that data attend over and that nobody counts in the width: prototypes, codebooks, memories, queries.

Shares of one along an axis (a softmax, or what is divided by its own sum) say how much of each entry is taken. Where a
weight scores the entries and a weight is summed over with the shares, its rows are the entries: softmax(x P') P. Where
both are products of activations, the entries are tokens, as of learned queries that attend and are attended to. A
hidden width has neither: an activation bends each of its elements by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from front_onnx.axes.size import Axis, SizeVar
from front_onnx.constants.degrees import STRAIGHT
from front_onnx.operators.record import Trait, record_of
from front_onnx.read.graph import Edge

if TYPE_CHECKING:
    from front_onnx.operators.analysis import Analysis

__all__ = ["slot_variables"]

_FAR = 24  # nodes that are followed on each side of the shares
_BESIDE = Trait.SHIFTS | Trait.BOUNDS | Trait.MAGNITUDE | Trait.MOVES  # between a sum and what is divided by it
_SCORING = STRAIGHT | Trait.ARITHMETIC | Trait.CHOOSES | Trait.ROOT | Trait.SHARES  # between a product and the shares


def slot_variables(analysis: Analysis) -> set[SizeVar]:
    """The sizes that count entries which data attend over, be they weights or learned tokens."""
    found = set()
    for scored, shares, axis in _shares(analysis):
        variables = analysis.algebra.expand(axis)
        if len(variables) != 1 or variables[0].parts is not None:
            continue
        weighted, products = _scored_by(analysis, scored)
        if _summed_with(analysis, shares, variables[0], weights=weighted, products=products):
            found.add(variables[0])
    return found


def _shares(analysis: Analysis) -> Iterator[tuple[str, str, Axis]]:
    """(scores, shares, the axis along which they are shares of one)."""
    graph = analysis.graph
    for index, node in enumerate(graph.nodes):
        fact = analysis.facts.get(node.output[0]) if node.output else None
        if fact is None or not fact.axes or fact.value is not None:
            continue
        if record_of(node).has(Trait.SOFTMAX) or node.op_type == "Hardmax":
            place = int(graph.attribute(index, "axis", -1))
            if -len(fact.axes) <= place < len(fact.axes):
                yield node.input[0], node.output[0], fact.axes[place]
        elif record_of(node).has(Trait.DIVIDES) and (axis := _own_sum(analysis, *node.input[:2])) is not None:
            yield node.input[0], node.output[0], axis


def _own_sum(analysis: Analysis, divided: str, by: str) -> Axis | None:
    """The axis over which a tensor is summed to get what it is divided by."""
    for _ in range(_FAR):
        index = analysis.graph.producer.get(by)
        if index is None:
            return None
        node = analysis.graph.nodes[index]
        if index in analysis.totals:
            return analysis.totals[index] if node.op_type == "ReduceSum" and node.input[0] == divided else None
        if not record_of(node).has(_BESIDE):
            return None
        by = next((name for name in node.input if name not in analysis.graph.constants), "")
    return None


def _scored_by(analysis: Analysis, tensor: str) -> tuple[bool, bool]:
    """Whether a product with a weight, and whether one of two activations, makes scores."""
    graph, waiting, seen = analysis.graph, [tensor], {tensor}
    weighted = products = False
    while waiting and len(seen) < _FAR:
        index = graph.producer.get(waiting.pop())
        if index is None:
            continue
        node = graph.nodes[index]
        if index in analysis.products or index in analysis.summing:
            products |= index in analysis.products
            weighted |= index in analysis.summing
        elif record_of(node).has(_SCORING) or node.op_type == "Exp":
            new = [name for name in node.input if name and name not in seen]
            seen.update(new)
            waiting += new
    return weighted, products


def _summed_with(analysis: Analysis, tensor: str, var: SizeVar, *, weights: bool, products: bool) -> bool:
    """True if a product sums over shares along an axis: with a weight, or with an activation."""
    graph, waiting, seen = analysis.graph, [tensor], {tensor}
    while waiting and len(seen) < _FAR:
        for edge in graph.consumers.get(waiting.pop(), ()):
            if _sums_over(analysis, edge, var):
                if (weights and edge.node in analysis.summing) or (products and edge.node in analysis.products):
                    return True
            elif _hands_on(analysis, edge, var):
                new = [name for name in graph.nodes[edge.node].output if name not in seen]
                seen.update(new)
                waiting += new
    return False


def _hands_on(analysis: Analysis, edge: Edge, var: SizeVar) -> bool:
    """True where shares are moved about, or scaled by what has no value for each of them: an activation is gated."""
    node = analysis.graph.nodes[edge.node]
    if record_of(node).has(Trait.SCALES):
        beside = Edge(edge.node, 1 - edge.slot)
        other = analysis.uses.get(beside) or analysis.facts.get(node.input[beside.slot])
        axes = other.axes or () if other is not None else ()
        return not any(var in analysis.algebra.free_variables(axis) for axis in axes)
    return edge.slot == 0 and record_of(node).has(STRAIGHT)


def _sums_over(analysis: Analysis, edge: Edge, var: SizeVar) -> bool:
    fact = analysis.facts.get(analysis.graph.nodes[edge.node].input[edge.slot])
    places = analysis.summed.get(edge, ())
    return fact is not None and any(analysis.algebra.expand((fact.axes or ())[place]) == (var,) for place in places)
