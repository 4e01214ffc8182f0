"""Which sizes data flows through: those of tensors that depend on what is fed, and not on its shape alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from front_onnx.operators.record import Trait, record_of

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from front_onnx.axes.size import SizeVar
    from front_onnx.operators.analysis import Analysis

_FAR = 64  # nodes that are followed

__all__ = ["fed_by_parameters", "flowing_variables"]


def flowing_variables(analysis: Analysis, fed: Iterable[str]) -> set[SizeVar]:
    """The size variables of all tensors whose contents depend on an input's contents: of those that are `fed`.

    Small networks over constants (position biases computed from coordinates) have sizes of their own, which no width
    of the model decides.
    """
    facts = (analysis.facts[name] for name in fed if name in analysis.facts)
    axes = {axis for fact in facts for axis in fact.axes or ()}
    return {var for axis in axes for var in analysis.algebra.free_variables(axis)}


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
