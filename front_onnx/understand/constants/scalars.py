"""Scalars that a width hides in: 1/sqrt(head_dim) on attention scores, head_dim^(-1/4) on queries and keys.

A scalar is tied to a size only where the graph says what it is for: it multiplies or divides the product of two
activations, or a tensor about to enter one, and is a plain root of the size that the product sums over; or it divides
a sum by as many as it adds up, where a mean is written out. What merely looks like the root of another width
(sqrt(hidden) on embeddings) is a suspicion and listed, not changed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from front_onnx.read.graph import Edge
from front_onnx.understand.atoms import Atom, Axis, size_of
from front_onnx.understand.numbers import Expression, Literal, Number, Site, literals, root_power

if TYPE_CHECKING:
    from front_onnx.understand.analysis import Analysis

__all__ = ["share_meanings", "suspects", "tie_scalars"]

_MOVING = frozenset(("Reshape", "Expand", "Unsqueeze", "Squeeze", "Transpose", "Cast", "Identity"))


def _scaled(analysis: Analysis) -> Iterator[tuple[int, Number, str]]:
    """(node, scalar, the tensor it scales) for every product or quotient of a tensor and a followed scalar."""
    for index, node in enumerate(analysis.graph.nodes):
        if node.op_type not in ("Mul", "Div") or len(node.input) != 2:
            continue
        for slot in (0, 1):
            number = analysis.scalar_at(index, slot)
            other = analysis.facts.get(node.input[1 - slot])
            if number is not None and isinstance(number.value, float) and other is not None and other.axes:
                yield index, number, node.input[1 - slot]


def tie_scalars(analysis: Analysis) -> None:
    """Bind the scalars of attention to the size they are a root of, and those of means to the size they divide by."""
    for index, number, tensor in _scaled(analysis):
        added = _added(analysis, tensor)
        if added is not None and isinstance(number, Literal) and not number.site.bindings:
            sign = 1 if analysis.graph.nodes[index].op_type == "Div" else -1
            if math.isclose(number.site.value, size_of(added) ** sign, rel_tol=1e-6):
                number.site.bind(added, power=sign)
        for axis in _summed(analysis, index, tensor):
            if isinstance(number, Literal):
                power = root_power(number.site.value, size_of(axis), number.site.error)
                if power is not None and not number.site.bindings:
                    number.site.bind(axis, power=power)
            elif isinstance(number, Expression) and root_power(number.value, size_of(axis)) is not None:
                for literal in literals(number):
                    if literal.value == size_of(axis) and not literal.site.bindings:
                        literal.site.bind(axis)


def _added(analysis: Analysis, tensor: str) -> Axis | None:
    """The size that a sum adds up whose result a tensor is, broadcast perhaps."""
    maker = _maker(analysis, tensor)
    return analysis.sums.get(maker) if maker is not None else None


def _maker(analysis: Analysis, tensor: str) -> int | None:
    """The node that makes a tensor, those skipped that only move it about."""
    maker = analysis.graph.producer.get(tensor)
    while maker is not None and analysis.graph.nodes[maker].op_type in _MOVING:
        maker = analysis.graph.producer.get(analysis.graph.nodes[maker].input[0])
    return maker


def _summed(analysis: Analysis, index: int, tensor: str) -> list[Axis]:
    """The size that a product of activations sums over, for its result or for an operand of it.

    For its result also that size times the heads: some divide by the root of the whole width.
    """
    maker = analysis.graph.producer.get(tensor)
    if maker in analysis.products:
        inner = analysis.products[maker]
        heads = [a for axis in analysis.facts[tensor].axes or () for a in analysis.algebra.expand(axis) if _heads(a)]
        return [inner, (*heads, *inner)]
    if maker is not None and Edge(maker, 0) in analysis.tables:
        return list(analysis.facts[tensor].axes or ())[-1:]  # embeddings times the root of their width
    if _feeds_tied_head(analysis, index):
        return list(analysis.facts[tensor].axes or ())[-1:]  # embeddings as output weights, times the same root
    axes = (analysis.algebra.expand(axis) for axis in analysis.facts[tensor].axes or ())
    behind = _maker(analysis, tensor)
    moved = [analysis.products[behind]] if behind in analysis.products else []
    return [axis for axis in axes if axis and all(_inner(analysis, atom) for atom in axis)] + moved


def _feeds_tied_head(analysis: Analysis, index: int) -> bool:
    """True if nothing but products with an embedding reads what a node makes."""
    graph = analysis.graph
    tables = {graph.read_by(edge) for edge in analysis.tables}
    readers = [edge for name in graph.nodes[index].output for edge in graph.consumers.get(name, ())]
    weights = [analysis.origin(Edge(edge.node, 1), 0) for edge in readers if graph.nodes[edge.node].op_type == "MatMul"]
    names = {graph.read_by(found[0]) for found in weights if found is not None}
    tied = {name for name in names if name in tables or analysis.transposed.get(name) in tables}
    return bool(readers) and len(weights) == len(readers) and None not in weights and names == tied


def _heads(atom: Atom) -> bool:
    return "batch" in atom.roles and not atom.fixed


def _inner(analysis: Analysis, atom: Atom) -> bool:
    atoms = analysis.algebra.free_atoms((atom,))
    return all("inner" in a.roles and (not a.fixed or a.fixed.startswith("axis ")) for a in atoms)  # a cache has it too


def share_meanings(analysis: Analysis, places: Iterable[tuple[Edge, ...]]) -> None:
    """A scalar means what the equal scalars in the same place of other blocks mean."""
    sites: dict[Edge, list[Site]] = {}
    for site in analysis.sites:
        sites.setdefault(Edge(site.node, site.slot), []).append(site)
    for edges in places:
        together = [site for edge in edges for site in sites.get(edge, ())]
        bound = next((site for site in together if site.bindings), None)
        if bound is None or any(site.value != bound.value for site in together) or not isinstance(bound.value, float):
            continue
        for site in together:
            if not site.bindings:
                site.bindings.extend(replace(binding, reader=None) for binding in bound.bindings)


def suspects(analysis: Analysis, changed: set[Atom]) -> Iterator[tuple[int, float, Axis]]:
    """(node, scalar, axis): unbound scalars that are a size that changes or its square root, on a tensor with it."""
    for index, number, tensor in _scaled(analysis):
        if not isinstance(number, Literal) or number.site.bindings:
            continue
        own = list(analysis.facts[tensor].axes or ())
        scores = _maker(analysis, tensor) in analysis.products
        # Scores may be scaled by a width that is no longer among their axes.
        for axis in [*own, *((atom,) for atom in changed if scores)]:
            size = size_of(axis)
            power = root_power(number.site.value, size, number.site.error)
            moves = not changed.isdisjoint(analysis.algebra.free_atoms(axis))
            whole = axis in own and any(math.isclose(number.site.value, n, rel_tol=1e-6) for n in (size, 1 / size))
            if moves and size > 4 and (whole or (power is not None and abs(power) == 0.5)):
                yield index, float(number.site.value), axis
