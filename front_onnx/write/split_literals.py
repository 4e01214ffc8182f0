"""One number of the file with two meanings becomes two: the shape arithmetic between it and its readers is doubled.

Exporters share shape arithmetic, so that one literal may reach two Reshapes as the size of two dims. Where the dims get
different sizes, the readers that want another one get nodes of their own, and with them a literal of their own.
"""

from __future__ import annotations

import onnx

from front_onnx.operators.analysis import Analysis
from front_onnx.plan.numbers import Parting
from front_onnx.read.graph import Graph
from front_onnx.read.names import unused

__all__ = ["split_literals"]


def split_literals(analysis: Analysis, partings: list[Parting]) -> Graph | None:
    """The graph with the nodes between numbers and readers doubled; None if no number can be told apart.

    Numbers whose nodes overlap are left to the next call.
    """
    graph = analysis.graph
    proto = onnx.ModelProto()
    proto.CopyFrom(graph.model.proto)
    behind: dict[int, list[onnx.NodeProto]] = {}  # copies, by the place of the node they follow
    tensors, names = set(graph.producer) | set(graph.constants) | {""}, {node.name for node in graph.nodes}
    touched: set[int] = set()
    places = {number: place for place, number in enumerate(graph.order.main.nodes)}
    for parting in partings:
        for readers in parting.others:
            between = _between(analysis, parting.node, readers)
            outside = between <= places.keys() and readers <= places.keys()  # of every body
            if parting.node not in between or not outside or not touched.isdisjoint(between):
                continue
            touched |= between
            renamed: dict[str, str] = {}
            for index in sorted(between):
                for name in graph.nodes[index].output:
                    renamed[name] = unused(name, tensors)
                    tensors.add(renamed[name])
                copy = onnx.NodeProto()
                copy.CopyFrom(graph.nodes[index].proto)
                copy.name = unused(copy.name, names) if copy.name else ""
                names.add(copy.name)
                copy.input[:] = [renamed.get(name, name) for name in copy.input]
                copy.output[:] = [renamed[name] for name in copy.output]
                behind.setdefault(places[index], []).append(copy)
            for reader in readers:
                node = proto.graph.node[places[reader]]
                node.input[:] = [renamed.get(name, name) for name in node.input]
    if not touched:
        return None
    nodes = [made for index, node in enumerate(proto.graph.node) for made in (node, *behind.get(index, ()))]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del proto.graph.node[:]
    proto.graph.node.extend(copies)
    return Graph(graph.model.edited(proto))


def _between(analysis: Analysis, start: int, readers: frozenset[int]) -> set[int]:
    """The nodes of shape arithmetic on the way from a node to its readers, that node included."""
    graph = analysis.graph
    after = {start}
    for index in range(start + 1, max(readers) + 1):
        made = [analysis.facts[name] for name in graph.nodes[index].output if name in analysis.facts]
        followed = bool(made) and all(fact.value is not None for fact in made)
        if followed and any(graph.producer.get(name) in after for name in graph.nodes[index].input):
            after.add(index)
    wanted = {name for reader in readers for name in graph.nodes[reader].input}
    found: set[int] = set()
    for index in sorted(after - readers, reverse=True):
        if not wanted.isdisjoint(graph.nodes[index].output):
            found.add(index)
            wanted.update(graph.nodes[index].input)
    return found
