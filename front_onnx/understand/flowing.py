"""Which sizes data flows through: those of tensors that depend on what is fed, and not on its shape alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from front_onnx.read.graph import Graph
    from front_onnx.understand.analysis import Analysis
    from front_onnx.understand.atoms import Atom

__all__ = ["fed_tensors", "flowing_atoms"]


def flowing_atoms(analysis: Analysis) -> set[Atom]:
    """The atoms of all tensors whose contents depend on an input's contents.

    Small networks over constants (position biases computed from coordinates) have sizes of their own, which no width
    of the model decides.
    """
    facts = [analysis.facts[name] for name in fed_tensors(analysis.graph) if name in analysis.facts]
    return {atom for fact in facts for axis in fact.axes or () for atom in analysis.algebra.free_atoms(axis)}


def fed_tensors(graph: Graph) -> set[str]:
    """All tensors whose contents depend on an input's contents, and not on its shape alone."""
    fed = {info.name for info in graph.inputs}
    fed.update(name for body in graph.layout.all_bodies() for name in body.inputs)
    for index, node in enumerate(graph.nodes):
        if node.op_type in ("Shape", "Size"):
            continue
        if index in graph.layout.bodies or not fed.isdisjoint(node.input):
            fed.update(name for name in node.output if name)
    return fed
