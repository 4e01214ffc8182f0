"""Tables that are computed, not learned: they have to be what the target architecture would compute.

Recognised and written anew: one value everywhere, 0 1 2 ... (positions), and the frequencies of rotary embeddings, a
geometric series base^(-i/n). A constant that goes through a sine or cosine and is none of these is refused.
"""

from __future__ import annotations

import numpy as np

from front_onnx.read.graph import Edge, Graph

__all__ = ["counts_up", "feeds_root", "feeds_waves", "geometric_base", "is_filled", "repeats"]

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


def geometric_base(array: np.ndarray) -> float | None:
    """b, if the array is b^(-i/n) for i = 0 ... n-1: the inverse frequencies of rotary embeddings."""
    flat = array.reshape(-1).astype(np.float64)
    if flat.size < 2 or flat[0] != 1 or not (flat > 0).all() or flat[1] >= 1:
        return None
    base = float(flat[1] ** -flat.size)
    base = round(base) if abs(base - round(base)) < 1e-5 * base else base  # bases are round numbers, files hold floats
    wanted = base ** (-np.arange(flat.size) / flat.size)
    return base if np.allclose(flat, wanted, rtol=1e-4, atol=0) else None


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
