"""Weights that a file holds twice, once with their axes in another order: the copies change together.

Exporters fold a Transpose of a weight into a second constant (weights that are standardised before they are used).
"""

from __future__ import annotations

from contextlib import suppress
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np

from front_onnx.understand.atoms import Conflict, size_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from front_onnx.read.graph import Edge
    from front_onnx.understand.analysis import Analysis

__all__ = ["copies", "tie_copies"]

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
