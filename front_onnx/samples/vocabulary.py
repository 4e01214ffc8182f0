"""Ids that look as if people had used them: few entries of a vocabulary make up most of what is written.

Vocabularies are ordered by frequency, roughly: byte pairs by their merges, word pieces by how often they were counted,
unigrams by their probability. What stands there for nobody's use has an embedding that was never learned, and lies near
the mean of all. So ids are drawn by the rank of what was learned, as words are used (Zipf 1949; Mandelbrot 1953).
"""

from __future__ import annotations

import numpy as np

from front_onnx.check.synthetic import lookups
from front_onnx.read.graph import Graph

__all__ = ["Vocabulary", "find_vocabulary"]

_LEAST = 1000  # entries of what is a vocabulary; fewer are kinds of things
_OFFSET = 30.0  # of ranks: the order is not that of frequencies, but near it
_NEAR = 0.5  # of the median distance from the mean: what is nearer was never learned
_LEARNED = 0.5  # of all entries, at least: else the table tells nothing
_ROWS = 1 << 14  # looked at at once


class Vocabulary:
    """Entries that are used, the most frequent first.

    Args:
        entries: ids, in order.
    """

    def __init__(self, entries: np.ndarray) -> None:
        self.entries = entries
        shares = 1.0 / (np.arange(len(entries)) + _OFFSET)
        self._up_to = np.cumsum(shares / shares.sum())

    def drawn(self, rng: np.random.Generator, shape: list[int]) -> np.ndarray:
        """Ids of a shape."""
        places = np.searchsorted(self._up_to, rng.random(shape), side="right")
        found: np.ndarray = self.entries[np.minimum(places, len(self.entries) - 1)]
        return found


def find_vocabulary(graph: Graph, name: str, rows: int) -> Vocabulary | None:
    """The vocabulary that an input of ids chooses from; None if it chooses from something else.

    Args:
        graph: whose input it is.
        name: of the input.
        rows: entries of the smallest table that it indexes.
    """
    if rows < _LEAST:
        return None
    for index, above in lookups(graph, name):
        table = graph.nodes[index].input[0]
        held = graph.constants.get(table)
        if above or held is None or len(held.dims) != 2 or held.dims[0] < rows:
            continue
        array = graph.array(table)
        if array.dtype.kind in "biu" or int(graph.attribute(index, "axis", 0) or 0) != 0:
            continue
        parts = [slice(start, min(start + _ROWS, rows)) for start in range(0, rows, _ROWS)]
        mean = np.sum([array[part].sum(0, dtype=np.float64) for part in parts], axis=0) / rows
        apart = np.concatenate([np.linalg.norm(array[part].astype(np.float32) - mean, axis=1) for part in parts])
        learned = np.flatnonzero(apart > _NEAR * np.median(apart))
        learned = learned[learned > 0]  # which may be padding
        return Vocabulary(learned) if np.isfinite(apart).all() and len(learned) > _LEARNED * rows else None
    return None
