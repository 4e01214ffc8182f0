"""Tie what stands in the same place of every unit of a chain: one size there is one size variable.

Blocks are repeats of one module, so a size that is the same in the same place of two of them is the same size, unless
the graph contradicts. Otherwise one block could keep what the others change: nothing in a single block says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

from front_onnx.axes.size import Axis, Conflict, size_of
from front_onnx.blocks.chain import Chain
from front_onnx.operators.analysis import Analysis

__all__ = ["tensors_alike", "tie_tensors", "tie_values"]


def tensors_alike(analysis: Analysis, nodes: dict[int, tuple[int, ...]]) -> Iterator[tuple[str, ...]]:
    """The tensors in the same place of every unit: what corresponding nodes make, and the graph inputs they read."""
    graph = analysis.graph
    given = {info.name for info in graph.inputs}
    seen: set[tuple[str, ...]] = set()
    for there in nodes.values():
        made = zip(*(graph.nodes[node].output for node in there), strict=False)
        read = zip(*(graph.nodes[node].input for node in there), strict=False)
        for names in (*made, *(names for names in read if given.issuperset(names))):
            if len(set(names)) > 1 and names not in seen:
                seen.add(names)
                yield names


def tie_values(analysis: Analysis, chains: Iterable[Chain]) -> None:
    """Make the axes of corresponding tensors one where their sizes are one and the graph allows it.

    Weights in one place have the same axes already (`blocks.py`). What cannot be tied stays as it is: a plan that
    would give it different sizes is refused (`plan/alike.py`).
    """
    for chain in chains:
        for first, *others in tensors_alike(analysis, chain.nodes):
            for other in others:
                tie_tensors(analysis, first, other)


def tie_tensors(analysis: Analysis, first: str, other: str) -> None:
    """Make the axes of two tensors one, those of one size that the graph lets be one."""
    for x, y in _pairs(analysis, first, other):
        with suppress(Conflict), analysis.algebra.attempt():
            analysis.algebra.unify(x, y)


def _pairs(analysis: Analysis, first: str, other: str) -> Iterator[tuple[Axis, Axis]]:
    """The axes of two tensors that are not one yet and have one size; a symbolic dim is none but itself."""
    algebra = analysis.algebra
    axes = [fact.axes for name in (first, other) if (fact := analysis.facts.get(name)) is not None]
    if len(axes) < 2 or axes[0] is None or axes[1] is None or len(axes[0]) != len(axes[1]):
        return
    for x, y in zip(*axes, strict=True):
        alike = not algebra.same(x, y) and size_of(x) == size_of(y)
        if alike and not any(var.symbols for axis in (x, y) for var in algebra.free_variables(axis)):
            yield x, y
