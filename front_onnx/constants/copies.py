"""Weights that a file holds twice, once with their axes in another order: the copies change together.

Exporters fold a Transpose of a weight into a second constant (weights that are standardised before they are used).
"""

from __future__ import annotations

from contextlib import suppress
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np

from front_onnx.axes.size import Conflict, size_of
from front_onnx.read.arrays import is_uniform

if TYPE_CHECKING:
    from collections.abc import Iterator

    from front_onnx.operators.analysis import Analysis
    from front_onnx.read.graph import Edge

__all__ = ["copies", "tie_copies", "tie_measured", "tie_transposed"]

_SMALLEST = 16  # elements from which equal contents are no accident


def tie_copies(analysis: Analysis) -> None:
    """Make the axes of weights one that hold the same in another order, where one of them is summed over by no node."""
    for plain, other, order in copies(analysis):
        axes, others = analysis.uses[plain].axes or (), analysis.uses[other].axes or ()
        wide = [axis for axis in axes if size_of(axis) > 1]
        with suppress(Conflict), analysis.algebra.attempt():
            for axis, place in zip((a for a in others if size_of(a) > 1), order, strict=True):
                analysis.algebra.unify(axis, wide[place])


def copies(analysis: Analysis) -> Iterator[tuple[Edge, Edge, tuple[int, ...]]]:
    """(a reading, another, order): what the first one reads, its axes in the order, is what the other one reads."""
    graph = analysis.graph
    groups: dict[tuple[int, ...], dict[str, Edge]] = {}
    for edge, fact in analysis.uses.items():
        sizes = sorted(size for axis in fact.axes or () if (size := size_of(axis)) > 1)
        if fact.value is None and len(sizes) > 1 and np.prod(sizes) >= _SMALLEST:
            groups.setdefault(tuple(sizes), {}).setdefault(graph.read_by(edge), edge)
    summed = {graph.read_by(edge) for edge in (*analysis.contractions, *analysis.tables)}
    for found in groups.values():
        for name in sorted(found.keys() - summed):
            for other in sorted(found.keys() - {name}):
                order = _order(graph.array(name), graph.array(other))
                if order is not None:
                    yield found[name], found[other], order


def _order(array: np.ndarray, other: np.ndarray) -> tuple[int, ...] | None:
    """The order of axes in which the first holds what the second holds; None if they are equal as they are."""
    a, b = np.squeeze(array), np.squeeze(other)
    if a.dtype != b.dtype or a.dtype.kind != "f" or a.flat[0] != b.flat[0] or a.flat[-1] != b.flat[-1]:
        return None
    for order in permutations(range(a.ndim)):
        turned = a.transpose(order)
        if order != tuple(range(a.ndim)) and turned.shape == b.shape and bool((turned == b).all()):
            return order if (a != a.flat[0]).any() else None
    return None


def tie_measured(analysis: Analysis) -> None:
    """A constant that is there for its shape may be a copy of a weight in another shape: then it has its axes."""
    weights = [edge for edge, fact in analysis.uses.items() if fact.value is None]
    measured = [edge for edge in weights if analysis.only_measured(analysis.graph.read_by(edge))]
    for edge in measured:
        name = analysis.graph.read_by(edge)
        alike = (e for e in weights if e not in measured and _is_copy(analysis, name, analysis.graph.read_by(e)))
        other = next(alike, None) if not is_uniform(analysis.graph.array(name)) else None
        if other is not None:
            wholes = (tuple(a for axis in analysis.uses[e].axes or () for a in axis) for e in (edge, other))
            with suppress(Conflict), analysis.algebra.attempt():
                analysis.algebra.unify(*wholes)


def _is_copy(analysis: Analysis, name: str, other: str) -> bool:
    sizes = (int(np.prod(analysis.graph.constants[n].dims)) for n in (name, other))
    if len(set(sizes)) > 1:
        return False
    a, b = analysis.graph.array(name), analysis.graph.array(other)
    return a.dtype == b.dtype and bool((a.reshape(-1) == b.reshape(-1)).all())


def tie_transposed(analysis: Analysis) -> None:
    """An output layer tied to an embedding may be stored as its transpose: then it is tied like the rest."""
    tables = {analysis.graph.read_by(edge): edge for edge in analysis.tables}
    for edge in list(analysis.contractions):
        name = analysis.graph.read_by(edge)
        for table, other in tables.items():
            if name != table and _is_transpose(analysis, name, table):
                axes, others = analysis.uses[edge].axes or (), analysis.uses[other].axes or ()
                with suppress(Conflict), analysis.algebra.attempt():
                    for x, y in zip(axes, others[::-1], strict=True):
                        analysis.algebra.unify(x, y)
                    analysis.transposed[name] = table


def _is_transpose(analysis: Analysis, name: str, other: str) -> bool:
    dims, swapped = analysis.graph.constants[name].dims, analysis.graph.constants[other].dims
    if len(dims) != 2 or list(dims) != list(swapped)[::-1]:
        return False
    a, b = analysis.graph.array(name), analysis.graph.array(other)
    return a.dtype == b.dtype and bool((a[:, 0] == b[0]).all() and (a == b.T).all() and (a != a[0, 0]).any())
