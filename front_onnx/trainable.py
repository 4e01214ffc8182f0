"""Which constants of a graph are learned, and which are computed, counted or measured: what training may change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from front_onnx.constants.classify import UNREACHED, Constants, classify
from front_onnx.constants.copies import copies
from front_onnx.constants.kinds import Kind
from front_onnx.constants.sequences import continued
from front_onnx.dims.structure import Structure
from front_onnx.errors import FrontError
from front_onnx.operators.analysis import Analysis
from front_onnx.read.graph import Graph
from front_onnx.read.tensor_data import is_float, numpy_type
from front_onnx.understand import follow_axes, understand

__all__ = ["Learned", "find_learned"]


@dataclass(frozen=True)
class Learned:
    """What training may change.

    Attributes:
        names: float constants that are learned.
        others: other float constants, with the reason.
        statistics: those of the others that training updates without a gradient.
        unreached: those of the others that no gradient reaches, whatever they are.
        single: those of the others that are one number.
        copies: constants that hold another one with its axes in another order: (its name, the order, the shape).
    """

    names: frozenset[str]
    others: dict[str, str]
    statistics: frozenset[str]
    unreached: frozenset[str]
    single: frozenset[str]
    copies: dict[str, tuple[str, tuple[int, ...], tuple[int, ...]]]


def find_learned(graph: Graph) -> Learned:
    """Tell the learned constants of a graph from the others."""
    structure: Structure | None = None
    try:
        structure = understand(graph)
    except FrontError:  # no chains that could be told: nothing is said of the numbers of blocks
        constants = classify(follow_axes(graph)[0])
    else:
        constants = structure.constants
    names, others, statistics, unreached, single = set(), {}, set(), set(), set()
    for name, tensor in graph.constants.items():
        if graph.constant_name(name) != name or not is_float(numpy_type(tensor)):
            continue
        verdict = constants.of(name)
        if verdict.learned:
            names.add(name)
        elif constants.uses.reached(name):
            others[name] = verdict.evidence
            if verdict.kind is Kind.SCALE:
                single.add(name)
        else:
            others[name] = UNREACHED
            unreached.add(name)
        if constants.uses.is_statistic(name):
            statistics.add(name)
            others[name] = verdict.evidence
    if structure is not None:
        for name in _numbers_of_blocks(structure, constants):
            names.add(name)
            others.pop(name, None)
            single.discard(name)
    return Learned(
        frozenset(names),
        others,
        frozenset(statistics),
        frozenset(unreached),
        frozenset(single),
        _copies(constants.analysis, names),
    )


def _numbers_of_blocks(structure: Structure, constants: Constants) -> Iterator[str]:
    """Single numbers that differ from block to block and are no plain sequence: learned gains."""
    graph = structure.graph
    for chain in structure.chains:
        for edges in chain.places.values():
            names = [graph.read_by(edge) for edge in edges]
            arrays = [graph.array(name) for name in names]
            if len(names) < 2 or any(a.size != 1 or a.dtype.kind in "iub" for a in arrays):
                continue
            values = [float(a.reshape(-1)[0]) for a in arrays]
            reached = all(constants.uses.reached(name) for name in names)
            if reached and len(set(values)) > 1 and continued(values, chain.layers) is None:
                yield from names


def _copies(analysis: Analysis, names: set[str]) -> dict[str, tuple[str, tuple[int, ...], tuple[int, ...]]]:
    graph = analysis.graph
    found: dict[str, tuple[str, tuple[int, ...], tuple[int, ...]]] = {}
    for name, table in analysis.transposed.items():
        found[name] = (table, (1, 0), graph.array(name).shape)
    for plain, other, order in copies(analysis):
        name, origin = graph.read_by(plain), graph.read_by(other)
        taken = {copy[0] for copy in found.values()}  # no copy of a copy
        if name not in found and origin not in found and name not in taken:
            back = tuple(int(place) for place in np.argsort(order))
            found[name] = (origin, back, graph.array(name).shape)
    return {n: copy for n, copy in found.items() if n in names and copy[0] in names}
