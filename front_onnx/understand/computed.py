"""Tables that are computed, not learned: they have to be what the target architecture would compute.

Recognised by exact formula and written anew: one value everywhere, 0 1 2 ... (positions), geometric series (rotary
frequencies), numbers per head (`slopes.py`), sines and cosines (`waves.py`). A constant that goes through a sine or
cosine and is none of these is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from front_onnx.read.graph import Edge, Graph
from front_onnx.read.tensor_data import machine_epsilon
from front_onnx.understand.slopes import rescaled
from front_onnx.understand.waves import find_waves, series, series_base

__all__ = ["counts_up", "feeds_root", "feeds_waves", "is_filled", "made_of_waves", "recomputed", "repeats"]

_STEPS = 12  # nodes between a frequency and its sine


def counts_up(array: np.ndarray) -> bool:
    """True if an array holds 0, 1, 2 ... in row-major order, so that it can be written at any size."""
    return array.size > 1 and np.array_equal(array.reshape(-1), np.arange(array.size))


def is_filled(array: np.ndarray) -> bool:
    """True if an array holds one value everywhere, so that it can be written at any size."""
    flat = array.reshape(-1)
    return flat.size > 0 and bool(flat[0] == flat[-1] and (flat == flat[0]).all())


def repeats(array: np.ndarray, axis: int) -> bool:
    """True if an array holds the same at every place of an axis (a mask that was stretched over heads)."""
    return array.shape[axis] > 1 and bool((array == array.take([0], axis)).all())


def recomputed(array: np.ndarray, dims: Sequence[int]) -> np.ndarray | None:
    """What the formula behind a table of floats gives at other dims, in double precision; None if it has none."""
    if array.size < 2 or len(dims) != array.ndim:
        return None
    close = max(1e-5, 4 * machine_epsilon(array.dtype))
    for formula in (_series, rescaled, _waves):
        found = formula(array, dims, close)
        if found is not None:
            return found
    return None


def _series(array: np.ndarray, dims: Sequence[int], close: float) -> np.ndarray | None:
    """Inverse frequencies along the one axis that is not 1."""
    if max(array.shape) != array.size or max(dims) != np.prod(dims):
        return None
    found = series_base(array.reshape(-1).astype(np.float64), close)
    if found is None:
        return None
    base, steps = found
    count = int(np.prod(dims))
    return series(base, max(1.0, count + steps - array.size), np.arange(count)).reshape(dims)


def _waves(array: np.ndarray, dims: Sequence[int], close: float) -> np.ndarray | None:
    """Waves along one axis, positions along all others."""
    changed = [place for place, size in enumerate(dims) if size != array.shape[place]]
    wide = [place for place, size in enumerate(array.shape) if size > 1]
    for place in dict.fromkeys([*(changed if len(changed) == 1 else []), wide[-1]]):
        rows = np.moveaxis(array, place, -1)
        found = find_waves(rows.reshape(-1, rows.shape[-1]), close)
        others = [size for at, size in enumerate(dims) if at != place]
        regrouped = len(wide) > 2 or (found is not None and found.line is not None)
        if found is None or (regrouped and any(at != place for at in changed)):
            continue
        return np.moveaxis(found.table(int(np.prod(others)), dims[place]).reshape(*others, dims[place]), -1, place)
    return None


def made_of_waves(array: np.ndarray) -> bool:
    """True if the rows of a table have the length that sines and cosines of the same angles give them."""
    if array.ndim < 2 or array.shape[-1] < 4:
        return False
    width = array.shape[-1]
    squares = (array.reshape(-1, width)[:64].astype(np.float64) ** 2).sum(axis=-1)
    return len(squares) > 2 and bool(np.isclose(squares[2:], width / 2, rtol=1e-4).all())


def feeds_waves(graph: Graph, edge: Edge) -> bool:
    """True if what reads a constant goes on to a sine or cosine within a few nodes."""
    seen = {reader.node for reader in graph.within(edge)}
    waiting = [(node, 0) for node in seen]
    while waiting:
        index, steps = waiting.pop()
        node = graph.nodes[index]
        if node.op_type in ("Sin", "Cos"):
            return True
        if steps < _STEPS and node.op_type not in ("Shape", "Size", "Softmax", "LayerNormalization"):
            for name in node.output:
                for reader in (inner for found in graph.consumers.get(name, ()) for inner in graph.within(found)):
                    if reader.node not in seen:
                        seen.add(reader.node)
                        waiting.append((reader.node, steps + 1))
    return False


def feeds_root(graph: Graph, edge: Edge) -> bool:
    """True if a constant is a variance: BatchNormalization takes its root, or a root follows the sum with epsilon."""
    node = graph.nodes[edge.node]
    if node.op_type == "BatchNormalization":
        return edge.slot == 4
    while node.op_type in ("Add", "Identity", "Cast", "Reshape", "Unsqueeze"):
        readers = {reader.node for reader in graph.consumers.get(node.output[0], ())}
        if len(readers) != 1:
            return False
        node = graph.nodes[readers.pop()]
    return node.op_type == "Sqrt"
