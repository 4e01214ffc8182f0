"""How the graph's own inputs and outputs change with its sizes: maps that take what the source reads or makes there."""

from __future__ import annotations

from functools import reduce

import numpy as np

from front_onnx.axes.size import Axis, size_of
from front_onnx.methods.method import Use
from front_onnx.plan.plan import Plan
from front_onnx.transform.spectral import dense_matrix

__all__ = ["decoders", "encoders"]


def encoders(plan: Plan) -> dict[str, dict[int, np.ndarray]]:
    """P [M, N] of every axis of a graph input that changes, by name and axis."""
    return _maps(plan, [info.name for info in plan.structure.graph.inputs], summed=False)


def decoders(plan: Plan) -> dict[str, dict[int, np.ndarray]]:
    """D [N, M] of every axis of a graph output that changes, by name and axis."""
    found = _maps(plan, plan.structure.graph.outputs, summed=True)
    return {name: {axis: matrix.T for axis, matrix in axes.items()} for name, axes in found.items()}


def _maps(plan: Plan, names: list[str], *, summed: bool) -> dict[str, dict[int, np.ndarray]]:
    facts = plan.structure.analysis.facts
    found: dict[str, dict[int, np.ndarray]] = {}
    for name in names:
        fact = facts.get(name)
        axes = {n: axis for n, axis in enumerate(fact.axes or ()) if _changes(plan, axis)} if fact is not None else {}
        if axes:
            found[name] = {number: _map(plan, name, number, axis, summed) for number, axis in axes.items()}
    return found


def _changes(plan: Plan, axis: Axis) -> bool:
    return plan.size(axis) != size_of(axis)


def _map(plan: Plan, name: str, number: int, axis: Axis, summed: bool) -> np.ndarray:
    """[M, N]: factors apart, segments of a sum apart."""
    algebra = plan.structure.analysis.algebra
    parts: list[np.ndarray] = []
    variables = algebra.expand(axis)
    for place, var in enumerate(variables):
        if var.parts is not None:
            segments = [_map(plan, name, number, segment, summed) for segment in algebra.segments(var)]
            rows, columns = sum(len(s) for s in segments), sum(s.shape[1] for s in segments)
            joined, row, column = np.zeros((rows, columns)), 0, 0
            for segment in segments:
                joined[row : row + len(segment), column : column + segment.shape[1]] = segment
                row, column = row + len(segment), column + segment.shape[1]
            parts.append(joined)
            continue
        target = plan.sizes.get(var, var.size)
        within = size_of(variables[:place]), size_of(variables[place + 1 :])
        use = Use(var, target, (), (name,), number, within, matrix=summed, summed=summed)
        parts.append(np.eye(var.size) if target == var.size else dense_matrix(plan.methods.width.port(use)))
    return reduce(np.kron, parts, np.ones((1, 1)))
