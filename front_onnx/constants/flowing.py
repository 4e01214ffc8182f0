"""Which sizes data flows through: those of tensors that depend on what is fed, and not on its shape alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from front_onnx.operators.record import Trait, record_of
from front_onnx.read.graph import Edge

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterator

    from front_onnx.axes.size import Axis, SizeVar
    from front_onnx.operators.analysis import Analysis

_FAR = 64  # nodes that are followed

__all__ = ["fed_by_parameters", "flowing_variables"]


def flowing_variables(analysis: Analysis, fed: Collection[str]) -> set[SizeVar]:
    """The size variables of all tensors whose contents depend on an input's contents: of those that are `fed`.

    Small networks over constants (position biases computed from coordinates) have sizes of their own, which no width
    of the model decides.
    """
    axes = [axis for name in fed if name in analysis.facts for axis in analysis.facts[name].axes or ()]
    axes += _between_weights(analysis, fed)
    return {var for axis in axes for var in analysis.algebra.free_variables(axis)}


def _between_weights(analysis: Analysis, tensors: Collection[str]) -> Iterator[Axis]:
    """The axes that two weights share in one product with data, or in a product that is a weight: ranks.

    x A B may be one node of three operands, or A B may be computed first.
    """
    graph = analysis.graph
    for edge, places in analysis.summed.items():
        node = graph.nodes[edge.node]
        fact = analysis.uses.get(edge) or analysis.facts.get(node.input[edge.slot])
        if fact is None or not fact.constant or not fact.axes:
            continue
        several = len(node.input) > 2 and node.output[0] in tensors
        if several or (_is_of_weights(analysis, edge.node) and _becomes_weight(analysis, node.output[0], tensors)):
            yield from (fact.axes[place] for place in places)


def _is_of_weights(analysis: Analysis, index: int) -> bool:
    """True for a product of two weights, and not of what a network makes of them."""
    edges = [Edge(index, slot) for slot in (0, 1)]
    return all(e in analysis.summed and analysis.origin(e, analysis.summed[e][0]) is not None for e in edges)


def _becomes_weight(analysis: Analysis, tensor: str, tensors: Collection[str]) -> bool:
    """True if a contraction with data reads a tensor, moved about or scaled at most."""
    graph, waiting, seen = analysis.graph, [tensor], {tensor}
    while waiting and len(seen) < _FAR:
        for edge in graph.consumers.get(waiting.pop(), ()):
            node = graph.nodes[edge.node]
            if edge in analysis.summed and node.output[0] in tensors:
                return True
            if record_of(node).has(Trait.MOVES | Trait.SCALES):
                new = [name for name in node.output if name not in seen]
                seen.update(new)
                waiting += new
    return False


def fed_by_parameters(analysis: Analysis) -> set[str]:
    """Tensors of a network that attends over its own parameters before it meets data: learned queries of a decoder.

    They are made of constants alone, and are activations all the same: what a softmax over a product of two of them
    is made of, and what is made of it.
    """
    graph, facts = analysis.graph, analysis.facts
    made = [
        index
        for index, node in enumerate(graph.nodes)
        if all((fact := facts.get(name)) is not None and fact.constant and fact.value is None for name in node.output)
    ]
    inside = set(made)
    softmaxes = [index for index in made if record_of(graph.nodes[index]).has(Trait.SOFTMAX)]
    behind: set[int] = set()
    waiting = [index for index in softmaxes if _attends(analysis, index, inside)]
    ahead = {name for index in waiting for name in graph.nodes[index].output}
    while waiting:
        for name in graph.nodes[waiting.pop()].input:
            maker = graph.producer.get(name)
            if maker in inside and maker not in behind:
                behind.add(maker)
                waiting.append(maker)
    for index in made:
        if not ahead.isdisjoint(graph.nodes[index].input):
            ahead.update(graph.nodes[index].output)
    return ahead | {name for index in behind for name in graph.nodes[index].output}


def _attends(analysis: Analysis, softmax: int, inside: Container[int]) -> bool:
    """True if a softmax is taken of a product of two tensors that weights were summed over for."""
    graph, waiting = analysis.graph, [softmax]
    found = 0
    for _ in range(_FAR):
        if not waiting:
            break
        for name in graph.nodes[waiting.pop()].input:
            maker = graph.producer.get(name)
            if maker is not None and maker in inside:
                found += record_of(graph.nodes[maker]).has(Trait.PRODUCT)
                waiting.append(maker)
    return found > 1
