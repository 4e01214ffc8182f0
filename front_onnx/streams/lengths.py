"""Tensors that are divided by their length (L2 norm) along the last axis, and where the results go.

More entries make a longer vector: with k copies of each, every entry of the result is 1 / sqrt(k) of what it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from front_onnx.axes.size import Axis
from front_onnx.operators.analysis import Analysis
from front_onnx.operators.record import Trait, record_of
from front_onnx.read.graph import Edge
from front_onnx.streams.local import between, computed, local_nodes, noise_like

__all__ = ["Ends", "Length", "ends_of", "find_lengths"]

_SUMS = ("ReduceL2", "ReduceSumSquare", "ReduceSum")
_OTHERS = ("Shape", "Expand", "Clip", *_SUMS)
_LAYOUT = Trait.VIEW | Trait.PICKS | Trait.REPEATS


@dataclass(frozen=True)
class Length:
    """A division by the length.

    Attributes:
        input: what is divided.
        output: the result, of length one.
        nodes: the nodes that do it.
        axis: the axis that is summed over.
    """

    input: str
    output: str
    nodes: frozenset[int]
    axis: Axis


@dataclass(frozen=True)
class Ends:
    """Where results of length one are used.

    Attributes:
        tensors: they, in other layouts too; outputs of the graph among them.
        readers: where nodes read them that sum over them with a weight.
        others: nodes that do something else with them.
    """

    tensors: frozenset[str]
    readers: tuple[Edge, ...]
    others: tuple[int, ...]


def find_lengths(analysis: Analysis) -> list[Length]:
    """The divisions by a length in a graph, in the order of its nodes."""
    found: dict[str, Length] = {}
    graph = analysis.graph
    for index, node in enumerate(graph.nodes):
        if node.op_type == "LpNormalization":
            axes = _axes(analysis, node.input[0])
            last = int(graph.attribute(index, "axis", -1))
            if axes and last in (-1, len(axes) - 1) and int(graph.attribute(index, "p", 2)) == 2:
                found[node.output[0]] = Length(node.input[0], node.output[0], frozenset((index,)), axes[-1])
        elif node.op_type in _SUMS:
            for start in _starts(analysis, node.input[0]):
                length = _written(analysis, start)
                if length is not None:
                    found[length.output] = length
                    break
    return list(found.values())


def ends_of(analysis: Analysis, lengths: Iterable[Length]) -> Ends:
    """Follow results of length one to what uses them."""
    graph = analysis.graph
    tensors: set[str] = set()
    readers, others = [], []
    waiting = [length.output for length in lengths]
    while waiting:
        name = waiting.pop()
        if name in tensors:
            continue
        tensors.add(name)
        for edge in graph.consumers.get(name, ()):
            node, record = graph.nodes[edge.node], record_of(graph.nodes[edge.node])
            beside = [other for slot, other in enumerate(node.input) if slot != edge.slot and other]
            if record.has(Trait.CONTRACTS) and not any(map(analysis.is_data, beside)):
                readers.append(edge)
            elif record.has(_LAYOUT) or (record.has(Trait.SCALES) and all(_is_scalar(analysis, n) for n in beside)):
                waiting.append(str(node.output[0]))
            elif not record.has(Trait.MEASURES):
                others.append(edge.node)
    return Ends(frozenset(tensors), tuple(readers), tuple(others))


def _axes(analysis: Analysis, name: str) -> list[Axis]:
    fact = analysis.facts.get(name)
    return [analysis.algebra.expand(axis) for axis in (fact.axes or () if fact is not None else ())]


def _is_scalar(analysis: Analysis, name: str) -> bool:
    fact = analysis.facts.get(name)
    held = analysis.graph.constants.get(name)
    return int(np.prod(held.dims)) == 1 if held is not None else fact is not None and fact.constant and not fact.axes


def _starts(analysis: Analysis, name: str) -> Iterator[str]:
    """What may be divided where a sum is taken: the tensor, what it is the square of, and what that was cast from."""
    graph = analysis.graph
    for _ in range(3):
        yield name
        maker = graph.producer.get(name)
        if maker is None or graph.nodes[maker].op_type not in ("Mul", "Pow", "Cast", "Abs", "Identity"):
            return
        name = str(graph.nodes[maker].input[0])


def _written(analysis: Analysis, start: str) -> Length | None:
    axes, graph = _axes(analysis, start), analysis.graph
    if not axes or not analysis.is_data(start):
        return None
    nodes = local_nodes(graph, start, _OTHERS)
    noise = noise_like(axes)
    made = computed(graph, start, nodes, noise) if nodes else None
    if made is None:
        return None
    wanted = noise / np.linalg.norm(noise, axis=-1, keepdims=True)
    for index in nodes:
        output = str(graph.nodes[index].output[0])
        alike = output in made and _axes(analysis, output) == axes and made[output].shape == wanted.shape
        if alike and np.allclose(made[output].astype(np.float64), wanted, rtol=1e-3, atol=1e-4):
            return Length(start, output, between(graph, start, output, nodes), axes[-1])
    return None
