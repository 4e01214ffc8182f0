"""What all weights hold for each entry of a size variable: the rows by which entries are ranked and compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from front_onnx.axes.algebra import Algebra
from front_onnx.axes.size import Axis, SizeVar, size_of
from front_onnx.dims.structure import Structure
from front_onnx.read.graph import Edge
from front_onnx.read.tensor_data import is_float

__all__ = ["entries", "gram", "weighed"]


def entries(structure: Structure, var: SizeVar, edges: Iterable[Edge]) -> Iterator[tuple[np.ndarray, bool]]:
    """The weights that some edges read, as float64 [N, anything], one row for each of the N entries of a variable.

    Yields:
        Rows, and True if the weight is summed over along them (it reads the entries; the others make them).
    """
    analysis, seen = structure.analysis, set()
    for edge in edges:
        fact, name = analysis.uses.get(edge), structure.graph.read_by(edge)
        if fact is None or fact.value is not None or fact.axes is None or name not in structure.graph.constants:
            continue
        if structure.constants[edge].is_kept:
            continue
        array = structure.graph.array(name)
        if not is_float(np.dtype(array.dtype)) or array.ndim != len(fact.axes):
            continue
        for place, axis in enumerate(fact.axes):
            summed = analysis.contractions.get(edge) == place
            if (name, place, summed) not in seen:
                seen.add((name, place, summed))
                for rows in _rows(analysis.algebra, array, place, axis, var):
                    yield rows.astype(np.float64), summed


def weighed(structure: Structure, var: SizeVar, edges: Iterable[Edge]) -> Iterator[tuple[np.ndarray, bool]]:
    """The same, each weight divided by its root mean square: none says more because its values are larger."""
    for rows, summed in entries(structure, var, edges):
        size = np.sqrt(np.mean(rows**2)) if rows.size else 0.0
        yield (rows / size if size > 0 else rows), summed


def gram(rows: Iterable[np.ndarray], size: int) -> np.ndarray:
    """[size, size], the inner products of all entries over all weights, summed up one weight at a time."""
    total = np.zeros((size, size))
    for each in rows:
        total += each @ each.T
    return total


def _rows(algebra: Algebra, array: np.ndarray, place: int, axis: Axis, var: SizeVar) -> Iterator[np.ndarray]:
    """Where a variable stands in one axis of an array: each time, its entries as rows."""
    variables = algebra.expand(axis)
    if variables and variables[0].parts is not None:
        segments = [(*part, *variables[1:]) for part in algebra.segments(variables[0])]
        cuts = np.cumsum([size_of(segment) for segment in segments])[:-1]
        for piece, segment in zip(np.split(array, cuts, place), segments, strict=True):
            yield from _rows(algebra, piece, place, segment, var)
        return
    shape = (*array.shape[:place], *(each.size for each in variables), *array.shape[place + 1 :])
    factored = array.reshape(shape)
    for number, each in enumerate(variables):
        if each is var:
            yield np.moveaxis(factored, place + number, 0).reshape(var.size, -1)
        elif each.parts is not None:
            yield from _rows(algebra, factored, place + number, (each,), var)
