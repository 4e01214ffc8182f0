"""What lossless growth gives back where a graph itself depends on a width: numbers that follow it, and lengths."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import sqrt

from front_onnx.axes.numbers import Site
from front_onnx.axes.size import AxisRole, SizeVar
from front_onnx.methods.method import Setting
from front_onnx.operators.record import Trait, record_of
from front_onnx.read.graph import Edge
from front_onnx.roles.trace import Trace
from front_onnx.streams.branches import last_writers
from front_onnx.streams.lengths import Length, ends_of
from front_onnx.streams.norms import Norm
from front_onnx.streams.scalars import scalar_reader

__all__ = ["Lengthened", "given_back", "lengthened"]


def given_back(setting: Setting, norms: Iterable[Norm]) -> dict[Edge, float]:
    """Gains of weights that give back what a number which follows a width does to their result.

    An embedding may be multiplied by the root of the width; products of two activations see to themselves.
    """
    structure = setting.structure
    analysis, graph = structure.analysis, structure.graph
    by_output = {norm.output: norm for norm in norms}
    everywhere = set(range(len(graph.nodes)))
    inside = {node for norm in by_output.values() for node in norm.nodes}
    found: dict[Edge, float] = {}
    for site in analysis.sites:
        ratio = _moved(setting, site)
        if ratio == 1:
            continue
        reader, power = scalar_reader(graph, Edge(site.node, site.slot))
        ratio **= power
        node = graph.nodes[reader.node]
        record = record_of(node)
        if reader.node in inside or not record.has(Trait.SCALES) or len(node.input) != 2:
            continue
        tensor = node.input[1 - reader.slot]
        if not analysis.is_data(tensor) or (record.has(Trait.DIVIDES) and reader.slot == 0):
            continue
        writers = last_writers(analysis, structure.constants, by_output, tensor, everywhere)
        for edge in writers or ():
            found[edge] = found.get(edge, 1.0) * (ratio if record.has(Trait.DIVIDES) else 1 / ratio)
    return found


def _moved(setting: Setting, site: Site) -> float:
    """By what a number of the file is multiplied because a width changes, apart from what a product sums over."""
    algebra = setting.structure.analysis.algebra

    def size(var: SizeVar) -> int:
        return var.size if AxisRole.INNER in var.roles else setting.size(var)

    moved = {float(binding.at(lambda axis: algebra.evaluate(axis, size))) for binding in site.bindings}
    value = float(site.value)
    return moved.pop() / value if len(moved) == 1 and value != 0 else 1.0


@dataclass(frozen=True)
class Lengthened:
    """What gives back that k copies make a vector sqrt(k) longer before it is divided by its length.

    Attributes:
        tensors: gains of decoders, by tensor and size variable.
        edges: gains of weights that are summed over with it.
        problems: where nothing gives it back.
    """

    tensors: Mapping[tuple[str, SizeVar], float]
    edges: Mapping[Edge, float]
    problems: tuple[str, ...] = ()


def lengthened(setting: Setting, lengths: Iterable[Length]) -> Lengthened:
    """Follow what is divided by its length, in a width that grows, to outputs and weights."""
    structure = setting.structure
    graph, contractions = structure.graph, Trace(structure.analysis).contractions
    tensors: dict[tuple[str, SizeVar], float] = {}
    edges: dict[Edge, float] = {}
    problems: dict[str, None] = {}
    for length in lengths:
        growing = [var for var in length.axis if setting.size(var) > var.size]
        if not growing:
            continue
        (var,) = growing if len(length.axis) == 1 else (None,)
        ends = ends_of(structure.analysis, (length,))
        readers = [contractions.get(edge.node) for edge in ends.readers]
        others = [*ends.others, *(edge.node for edge, r in zip(ends.readers, readers, strict=True) if r is None)]
        if var is None:
            others = [max(length.nodes)]
        for node in others:
            name = graph.nodes[node].name or graph.nodes[node].op_type
            problems[f"not exact, as {name} reads what was divided by its length, and entries are copied"] = None
        if var is None:
            continue
        gain = sqrt(setting.size(var) // var.size)
        tensors.update({(name, var): gain for name in ends.tensors})
        edges.update({reader.edge: gain for reader in readers if reader is not None})
    return Lengthened(tensors, edges, tuple(problems))
