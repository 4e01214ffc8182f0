"""A table that is looked up and also is the matrix of the last layer: one set of numbers for two objectives.

With rows h of what the layer reads, y of what it is to make, and T0 [V, d], what the table is as an embedding, both as
parts of their own squares,

    |h T^T - y|^2 / |y|^2 + |T - T0|^2 / |T0|^2

is least for the T of a ridge regression toward T0: the normal equations of the second part are a multiple of the
identity, |y|^2 / |T0|^2. All layers between are fitted again to the table that this gives (`fitting.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from front_onnx.calibration.held import Held
from front_onnx.calibration.layers import Layer, readers
from front_onnx.calibration.solving import Sums
from front_onnx.dims.structure import Structure
from front_onnx.operators.record import Trait, record_of
from front_onnx.read.graph import Edge

__all__ = ["fit_both", "tied_names"]


def tied_names(structure: Structure, held: Held, layer: Layer) -> tuple[str, ...]:
    """The target's constants that hold the table of a layer; none if it is tied to no table, or to more than tables.

    Args:
        structure: the source.
        held: the weights of the target.
        layer: one that makes an output of a table's entries.

    Returns:
        The layer's own weight first, then the table, where that is another constant: its transpose.
    """
    name = held.name(layer.weight)
    if layer.groups > 1 or layer.batch or layer.convolves or layer.batch_norm is not None or layer.view is not None:
        return ()
    table = structure.analysis.transposed.get(structure.graph.read_by(layer.weight))
    if table is None:
        others = [edge for edge in readers(held.graph, name) if edge.node != held.mine(layer.node)]
        return (name,) if others and _all_look_up(held, others) and len(readers(held.graph, name)) > 1 else ()
    looked_up = [edge for edge in structure.analysis.tables if structure.graph.read_by(edge) == table]
    other = held.name(looked_up[0])
    alone = list(structure.analysis.transposed.values()).count(table) == 1 and not held.is_shared(name)
    if not alone or not _all_look_up(held, readers(held.graph, other)):
        return ()
    return (name, other) if np.array_equal(held.array(name), held.array(other).T) else ()


def fit_both(sums: Sums, place: int, matrix: np.ndarray, *, centred: bool) -> np.ndarray:
    """The matrix [1, K, V] that serves the layer and the table; `matrix`: T0, as the layer reads it."""
    gram, _ = sums.moments(place, centred=centred)
    level = sums.square[place] / sums.count / max(float((matrix**2).sum()), 1e-30)
    return sums.solve(
        place, matrix, centred=centred, ridge=level * gram.shape[1] / max(float(np.trace(gram[0])), 1e-30)
    )


def _all_look_up(held: Held, edges: Sequence[Edge]) -> bool:
    return all(record_of(held.graph.nodes[edge.node]).has(Trait.LOOKS_UP) and edge.slot == 0 for edge in edges)
