"""What shares weights: blocks of a chain with some of the others, and chains with each other.

Pairs of equal blocks, or a few blocks gone through again; a model that is gone through with two inputs, or with a cache
and without.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from front_onnx.blocks.chain import Chain
from front_onnx.read.graph import Edge, Graph
from front_onnx.read.tensor_data import is_float, numpy_type

__all__ = ["chains_sharing", "common_units", "units_sharing"]

_ENDS = 64  # elements at either end of a tensor that are compared first


def units_sharing(graph: Graph, places: Mapping[Edge, Sequence[Edge]], count: int) -> int:
    """How many units belong together so that in each place of the longer units weights are all one or all different.

    1 where that is so already, or where no length does it.
    """
    held = [keys for edges in places.values() if (keys := _keys(graph, edges)) is not None]
    lengths = (n for n in range(1, count // 2 + 1) if count % n == 0)
    return next((n for n in lengths if all(_is_regular(keys, n) for keys in held)), 1)


def chains_sharing(graph: Graph, chains: Sequence[Chain]) -> list[list[int]]:
    """The numbers of the chains, those together that read the same weights block for block: they have one depth."""
    groups: list[list[int]] = []
    stacks: list[set[tuple[str, ...]]] = []
    for number, chain in enumerate(chains):
        own = {names for there in chain.places.values() if len({*(names := tuple(map(graph.read_by, there)))}) > 1}
        own = {names for names in own if all(is_float(numpy_type(graph.constants[name])) for name in names)}
        known = next((place for place, held in enumerate(stacks) if held & own), None)
        if known is None or chains[groups[known][0]].depth != chain.depth:
            groups.append([number])
            stacks.append(own)
        else:
            groups[known].append(number)
            stacks[known] |= own
    return groups


def common_units(graph: Graph, chain: Chain, other: Chain) -> tuple[range, range] | None:
    """Which units of two chains share weights, one by one in order; None if they share none, or in another order."""
    mine, theirs = _units_by_weight(graph, chain), _units_by_weight(graph, other)
    pairs = {(mine[name], theirs[name]) for name in mine.keys() & theirs.keys()}
    if len({b - a for a, b in pairs}) != 1:
        return None
    first, last = min(pairs), max(pairs)
    mine_shared, theirs_shared = (range(a, b + 1) for a, b in zip(first, last, strict=True))
    return (mine_shared, theirs_shared) if len(pairs) == len(mine_shared) else None


def _units_by_weight(graph: Graph, chain: Chain) -> dict[str, int]:
    """By weight, the number of the one unit that reads it."""
    rows = [names for there in chain.places.values() if len({*(names := [*map(graph.read_by, there)])}) == len(names)]
    weights = [names for names in rows if all(is_float(numpy_type(graph.constants[name])) for name in names)]
    return {name: number for names in weights for number, name in enumerate(names)}


def _is_regular(keys: Sequence[Hashable], together: int) -> bool:
    """True if units of some blocks hold the same weights, or each its own."""
    units = [tuple(keys[start : start + together]) for start in range(0, len(keys), together)]
    own = sum(len(set(unit)) for unit in units) == len(set(keys))
    return own or len(set(units)) == 1


def _keys(graph: Graph, edges: Sequence[Edge]) -> list[Hashable] | None:
    """What tells the weights in one place apart: their names, or what they hold; None for numbers."""
    names = [graph.read_by(edge) for edge in edges]
    tensors = [graph.constants[name] for name in names]
    if not all(tensor.dims and is_float(numpy_type(tensor)) for tensor in tensors):
        return None
    if len(set(names)) < len(names) or graph.model.are_apart(tuple(names)):
        return list(names)
    ends = [_ends(graph.array(name)) for name in names]
    if len(set(ends)) == len(ends):
        return list(names)
    firsts: dict[bytes, str] = {}
    for name, end in zip(names, ends, strict=True):
        other = firsts.setdefault(end, name)
        if not np.array_equal(graph.array(name), graph.array(other)):
            return list(names)  # alike at their ends alone
    return list(ends)


def _ends(array: np.ndarray) -> bytes:
    flat = array.reshape(-1)
    return flat[:_ENDS].tobytes() + flat[-_ENDS:].tobytes()
