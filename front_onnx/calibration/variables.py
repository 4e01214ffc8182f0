"""Where a size variable stands in a graph: what it meets, and which entry of it each place of an axis is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from front_onnx.axes.algebra import Algebra
from front_onnx.axes.size import Axis, SizeVar, size_of
from front_onnx.calibration.layers import readers
from front_onnx.dims.structure import Structure
from front_onnx.operators.analysis import Analysis
from front_onnx.operators.record import Trait, record_of
from front_onnx.streams.norms import Norm

__all__ = ["entry_of", "has_variable", "is_linear"]

_LINEAR = Trait.VIEW | Trait.PICKS | Trait.REPEATS | Trait.JOINS | Trait.SHIFTS | Trait.LINEAR | Trait.MEASURES


def is_linear(structure: Structure, norms: Sequence[Norm], var: SizeVar) -> bool:
    """True if a size variable meets nothing but linear layers, sums and norms, so that it may have any map."""
    graph, analysis, algebra = structure.graph, structure.analysis, structure.analysis.algebra

    def places(name: str) -> list[tuple[int, Axis]]:
        fact = analysis.facts.get(name)
        axes = (fact.axes or ()) if fact is not None else ()
        found = ((n, algebra.expand(axis)) for n, axis in enumerate(axes))
        return [(n, axis) for n, axis in found if var in algebra.free_variables(axis)]

    if any(places(info.name) for info in graph.inputs):
        return False
    contracted = {edge.node for edge in analysis.contractions}
    of_norms = {node for norm in norms if algebra.expand(norm.axis) == (var,) and norm.plain for node in norm.nodes}
    shared = {graph.read_by(e) for n in norms for e in (n.gain, n.bias) if e is not None}
    if any(len(readers(graph, name)) > 1 for name in shared if has_variable(analysis, name, var)):
        return False
    for index, node in enumerate(graph.nodes):
        touched = [place for name in (*node.input, *node.output) if name for place in places(name)]
        if not touched:
            continue
        if any(axis != (var,) for _, axis in touched):
            return False
        record = record_of(node)
        if index in of_norms or (record.has(Trait.CONTRACTS) and not record.has(Trait.RECURRENT | Trait.BENDS)):
            if record.has(Trait.CONVOLVES) and int(graph.attribute(index, "group", 1) or 1) > 1:
                return False
            if record.has(Trait.PRODUCT) and index not in contracted and index not in of_norms:
                both = [name for name in node.input if name and places(name)]
                if len(both) > 1 and not any(not analysis.is_data(name) for name in both):
                    return False
            continue
        if record.has(Trait.SCALES):
            if sum(bool(places(name) or has_variable(analysis, name, var)) for name in node.input) > 1:
                return False
            continue
        if not record.has(_LINEAR):
            return False
    return True


def has_variable(analysis: Analysis, name: str, var: SizeVar) -> bool:
    """True if a constant has a size variable, wherever it is read."""
    facts = (analysis.uses.get(edge) for edge in analysis.graph.consumers.get(name, ()))
    axes = (axis for fact in facts if fact is not None for axis in fact.axes or ())
    return any(var in analysis.algebra.free_variables(axis) for axis in axes)


def entry_of(algebra: Algebra, axis: Axis, var: SizeVar) -> np.ndarray:
    """[size of the axis]: the entry of a variable that each place belongs to; -1 where it stands for none."""
    variables = algebra.expand(axis)
    found = np.full(size_of(variables), -1)
    if not variables:
        return found
    if variables[0].parts is not None and len(variables) == 1:
        return np.concatenate([entry_of(algebra, segment, var) for segment in algebra.segments(variables[0])])
    shape = tuple(each.size for each in variables)
    for place, each in enumerate(variables):
        inner = np.full(each.size, -1)
        if each is var:
            inner = np.arange(each.size)
        elif each.parts is not None:
            inner = entry_of(algebra, (each,), var)
        if np.any(inner >= 0):
            found = inner[np.unravel_index(np.arange(len(found)), shape)[place]]
    return found
