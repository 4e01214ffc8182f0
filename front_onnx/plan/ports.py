"""How tensors change with the sizes of a graph: maps that take what the source has there to what the target has.

Inputs and outputs of the graph above all; what lies between has the maps of the weights around it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import numpy as np

from front_onnx.axes.size import Axis, SizeVar, size_of
from front_onnx.methods.method import Use
from front_onnx.plan.plan import Plan
from front_onnx.read.graph import Edge
from front_onnx.transform.spectral import dense_matrix, selection

__all__ = ["decoders", "encoders", "maps"]

_Near = Callable[[SizeVar], tuple[Edge, ...]]


def encoders(plan: Plan) -> dict[str, dict[int, np.ndarray]]:
    """P [M, N] of every axis of a graph input that changes, by name and axis."""
    return _maps(plan, [info.name for info in plan.structure.graph.inputs], summed=False)


def decoders(plan: Plan) -> dict[str, dict[int, np.ndarray]]:
    """D [N, M] of every axis of a graph output that changes, by name and axis."""
    found = _maps(plan, plan.structure.graph.outputs, summed=True)
    return {name: {axis: matrix.T for axis, matrix in axes.items()} for name, axes in found.items()}


def maps(plan: Plan, name: str, *, summed: bool, near: _Near = lambda var: ()) -> dict[int, np.ndarray]:
    """The map [M, N] of every axis of a tensor that changes, by axis: P, or the transpose of D if it is summed over.

    Args:
        plan: the plan.
        name: the tensor, by its name in the source.
        summed: True for what takes the target's values back.
        near: the readings of weights that share the map of a size variable with the tensor, where blocks have their
            own.
    """
    fact = plan.structure.analysis.facts.get(name)
    axes = {n: axis for n, axis in enumerate(fact.axes or ()) if _changes(plan, axis)} if fact is not None else {}
    return {number: _map(plan, name, number, axis, summed, near) for number, axis in axes.items()}


def _maps(plan: Plan, names: list[str], *, summed: bool) -> dict[str, dict[int, np.ndarray]]:
    found = {name: maps(plan, name, summed=summed) for name in names}
    return {name: axes for name, axes in found.items() if axes}


def _changes(plan: Plan, axis: Axis) -> bool:
    return plan.size(axis) != size_of(axis)


def _map(plan: Plan, name: str, number: int, axis: Axis, summed: bool, near: _Near) -> np.ndarray:
    """[M, N]: factors apart, segments of a sum apart."""
    algebra = plan.structure.analysis.algebra
    parts: list[np.ndarray] = []
    variables = algebra.expand(axis)
    for place, var in enumerate(variables):
        if var.parts is not None:
            segments = [_map(plan, name, number, segment, summed, near) for segment in algebra.segments(var)]
            rows, columns = sum(len(s) for s in segments), sum(s.shape[1] for s in segments)
            joined, row, column = np.zeros((rows, columns)), 0, 0
            for segment in segments:
                joined[row : row + len(segment), column : column + segment.shape[1]] = segment
                row, column = row + len(segment), column + segment.shape[1]
            parts.append(joined)
            continue
        target = plan.sizes.get(var, var.size)
        if target != var.size and var in plan.structure.depths:
            parts.append(_blocks(plan, var, target, summed))
            continue
        within = size_of(variables[:place]), size_of(variables[place + 1 :])
        use = Use(var, target, near(var), (name,), number, within, matrix=summed, summed=summed)
        parts.append(np.eye(var.size) if target == var.size else dense_matrix(plan.methods.width.port(use)))
    return reduce(np.kron, parts, np.ones((1, 1)))


def _blocks(plan: Plan, var: SizeVar, target: int, summed: bool) -> np.ndarray:
    """[M, N] of an axis that has an entry for each block of a body that is run again and again.

    A block that is one of the source's has its entry; back comes, for each of the source's, that of the first one.
    """
    chain = plan.structure.chains[plan.structure.depths[var]]
    edge = next(iter(chain.places), None)
    if edge is None:  # blocks without weights of their own
        return np.eye(target, var.size)
    names = (plan.structure.graph.read_by(edge),) * var.size
    found = plan.methods.depth.depth((edge,), names, target, matrix=edge in plan.structure.analysis.contractions)
    chosen = selection(found)
    if chosen is None:
        return dense_matrix(found)
    matrix: np.ndarray = (chosen.indices[:, None] == np.arange(var.size)).astype(np.float64)
    if summed:
        matrix *= np.cumsum(matrix, axis=0) == 1
    return matrix
