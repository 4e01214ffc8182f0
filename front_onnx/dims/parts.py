"""Parts: what readers of an architecture call an inner size, by what the graph does with it.

A state is carried from step to step, channels are squeezed after their places were pooled and scale them all, they
are expanded for a convolution that takes each by itself, a convolution in the middle of a block has others, and a stem
convolves inputs before the first block.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from front_onnx.axes.size import SizeVar, size_of
from front_onnx.operators.record import Trait, record_of
from front_onnx.read.graph import Edge

if TYPE_CHECKING:
    from front_onnx.operators.analysis import Analysis

__all__ = ["MIDDLE", "STEM", "is_stem", "part_of"]

MIDDLE, STEM = "mid", "stem"

_FAR = 6  # nodes that are followed
_GIVEN_BACK = Trait.MOVES | Trait.BENDS | Trait.ARITHMETIC | Trait.BOUNDS | Trait.NORMALISES | Trait.CONTRACTS


def part_of(analysis: Analysis, var: SizeVar, edges: Iterable[Edge]) -> str | None:
    """The usual name of a size that is no width of the residual stream; None where none is known.

    Args:
        analysis: the graph, its axes followed.
        var: the size.
        edges: where weights that have it are read.
    """
    edges = list(edges)
    if any(record_of(analysis.graph.nodes[edge.node]).has(Trait.RECURRENT) for edge in edges):
        return "state"
    if any(_is_depthwise(analysis, var, edge) for edge in edges) and any(_expands(analysis, var, e) for e in edges):
        return "expand"
    if any(_is_squeezed(analysis, var, edge) for edge in edges):
        return "squeeze"
    if any(_is_over_places(analysis, edge) for edge in edges):
        return MIDDLE
    return None


def is_stem(analysis: Analysis, var: SizeVar, edges: Iterable[Edge], first: int) -> bool:
    """True for a size that nothing makes but convolutions before a node: the first of all blocks, or a linear one."""
    makers = [edge for edge in edges if _makes(analysis, var, edge)]
    return bool(makers) and all(_convolves(analysis, edge) and edge.node < first for edge in makers)


def _makes(analysis: Analysis, var: SizeVar, edge: Edge) -> bool:
    """True where a weight makes a size of another one."""
    fact = analysis.uses.get(edge)
    if edge not in analysis.contractions or fact is None or fact.axes is None:
        return False
    made = [at for at, axis in enumerate(fact.axes) if var in analysis.algebra.free_variables(axis)]
    return bool(made) and made != [analysis.contractions[edge]]


def _convolves(analysis: Analysis, edge: Edge) -> bool:
    return record_of(analysis.graph.nodes[edge.node]).has(Trait.CONVOLVES)


def _is_over_places(analysis: Analysis, edge: Edge) -> bool:
    """True where a convolution looks at more than one place."""
    fact = analysis.uses.get(edge)
    axes = fact.axes or () if fact is not None and edge.slot == 1 else ()
    return _convolves(analysis, edge) and any(size_of(axis) > 1 for axis in axes[2:])


def _is_depthwise(analysis: Analysis, var: SizeVar, edge: Edge) -> bool:
    """True where a convolution takes every channel of a size by itself."""
    fact = analysis.uses.get(edge)
    if not _convolves(analysis, edge) or edge.slot != 1 or fact is None or not fact.axes:
        return False
    groups = analysis.graph.attribute(edge.node, "group", 1)
    return groups == var.size > 1 and var in analysis.algebra.free_variables(fact.axes[0])


def _expands(analysis: Analysis, var: SizeVar, edge: Edge) -> bool:
    """True where a weight, at each place by itself, makes a size of a smaller one."""
    axes = analysis.uses[edge].axes or () if _makes(analysis, var, edge) else ()
    by_itself = sum(size_of(axis) > 1 for axis in axes) == 2
    return by_itself and size_of(axes[analysis.contractions[edge]]) < var.size


def _is_squeezed(analysis: Analysis, var: SizeVar, edge: Edge) -> bool:
    """True where a weight makes a size of pooled channels, and what is made of it scales the channels."""
    node = analysis.graph.nodes[edge.node]
    pooled = _makes(analysis, var, edge) and _is_pooled(analysis, _others(node.input, edge.slot))
    return pooled and _scales(analysis, node.output[0])


def _others(names: Sequence[str], slot: int) -> list[str]:
    return [name for at, name in enumerate(names) if at != slot]


def _is_pooled(analysis: Analysis, names: Sequence[str]) -> bool:
    """True if one of some tensors has lost its places, whatever moved or bent it then."""
    graph = analysis.graph
    for name in names:
        for _ in range(_FAR):
            index = graph.producer.get(name)
            if index is None or record_of(graph.nodes[index]).has(Trait.CONTRACTS | Trait.LOOKS_UP):
                break
            before = graph.nodes[index].input[0] if graph.nodes[index].input else ""
            if _is_larger(analysis, before, name):
                return True
            name = before
    return False


def _scales(analysis: Analysis, name: str) -> bool:
    """True if a tensor, through weights and activations, multiplies one that has places where it has none."""
    graph = analysis.graph
    waiting, seen = [(name, 0)], {name}
    while waiting:
        name, far = waiting.pop()
        for reader in graph.consumers.get(name, ()) if far < 2 * _FAR else ():
            node = graph.nodes[reader.node]
            if record_of(node).has(Trait.MULTIPLIES) and any(
                _is_larger(analysis, other, name) for other in _others(node.input, reader.slot)
            ):
                return True
            if record_of(node).has(_GIVEN_BACK):
                for made in node.output:
                    if made not in seen:
                        seen.add(made)
                        waiting.append((made, far + 1))
    return False


def _is_larger(analysis: Analysis, other: str, name: str) -> bool:
    """True if a tensor stretches another one over places."""
    shapes = [fact.axes if (fact := analysis.facts.get(each)) is not None else None for each in (other, name)]
    if None in shapes:
        return False
    large, small = (sum(bool(axis) for axis in shape or ()) for shape in shapes)
    return large > small
