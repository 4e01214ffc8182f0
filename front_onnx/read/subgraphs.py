"""Graphs inside nodes, the bodies of If, Loop and Scan: their nodes share one numbering with the graph around them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

from onnx import AttributeProto, GraphProto, NodeProto

__all__ = [
    "Names",
    "NodeOrder",
    "Subgraph",
    "all_graphs",
    "are_unique",
    "graphs_of",
    "made_twice",
    "make_names_unique",
    "names_of",
    "number_nodes",
    "reads_of",
]

_GRAPHS = (AttributeProto.GRAPH, AttributeProto.GRAPHS)


@dataclass(frozen=True)
class Subgraph:
    """A graph and the numbers of its own nodes, in file order."""

    proto: GraphProto
    nodes: tuple[int, ...]

    @property
    def inputs(self) -> list[str]:
        """The names it is given."""
        return [v.name for v in self.proto.input]

    @property
    def outputs(self) -> list[str]:
        """The names it gives back."""
        return [v.name for v in self.proto.output]


@dataclass(eq=False)
class NodeOrder:
    """All nodes of a graph, those of a body right before the node it belongs to.

    Attributes:
        nodes: every node, by its number.
        graphs: the graph and every graph inside it, each before those in it.
        main: the graph itself.
        subgraphs: the bodies of a node, by its number and the attribute's name.
        owners: the node that the body of a node belongs to.
    """

    nodes: list[NodeProto] = field(default_factory=list)
    graphs: list[GraphProto] = field(default_factory=list)
    main: Subgraph = field(init=False)
    subgraphs: dict[int, dict[str, Subgraph]] = field(default_factory=dict)
    owners: dict[int, int] = field(default_factory=dict)

    def home(self, node: int) -> int:
        """The node of the main graph that a node belongs to: itself, or the one around it."""
        while node in self.owners:
            node = self.owners[node]
        return node

    def inside(self, node: int) -> Iterator[int]:
        """The nodes of a node's bodies, theirs included."""
        for body in self.subgraphs.get(node, {}).values():
            for inner in body.nodes:
                yield from self.inside(inner)
                yield inner

    def all_subgraphs(self) -> Iterator[Subgraph]:
        """Every body, each before the one around it."""
        for bodies in self.subgraphs.values():
            yield from bodies.values()


def number_nodes(graph: GraphProto) -> NodeOrder:
    """Number the nodes of a graph and of all bodies in it."""
    layout = NodeOrder()
    layout.main = _number(graph, layout)
    return layout


def _number(graph: GraphProto, layout: NodeOrder) -> Subgraph:
    numbers = []
    layout.graphs.append(graph)
    for node in graph.node:
        bodies = {name: _number(body, layout) for name, body in graphs_of(node)}
        number = len(layout.nodes)
        layout.nodes.append(node)
        numbers.append(number)
        if bodies:
            layout.subgraphs[number] = bodies
            layout.owners.update((inner, number) for body in bodies.values() for inner in body.nodes)
    return Subgraph(graph, tuple(numbers))


def graphs_of(node: NodeProto) -> Iterator[tuple[str, GraphProto]]:
    """The graphs that the attributes of a node hold, by the attribute's name."""
    for attr in node.attribute:
        kind = attr.type
        if kind == AttributeProto.GRAPH:
            yield attr.name, attr.g
        elif kind == AttributeProto.GRAPHS:
            yield from ((f"{attr.name}.{number}", graph) for number, graph in enumerate(attr.graphs))


def all_graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """A graph and every graph inside it."""
    yield graph
    for node in graph.node:
        for attr in node.attribute:
            if attr.type in _GRAPHS:
                for inner in (attr.g,) if attr.type == AttributeProto.GRAPH else attr.graphs:
                    yield from all_graphs(inner)


# -- names ----------------------------------------------------------------------------------------------------


class Names(NamedTuple):
    """The names of a graph's initializers, and those that it gives a meaning, initializers once each among them."""

    held: list[str]
    made: list[str]


def names_of(graph: GraphProto) -> list[Names]:
    """The names of a graph and of every graph inside it."""
    return [Names([t.name for t in inner.initializer], [*_made(inner)]) for inner in all_graphs(graph)]


def are_unique(names: Iterable[Names]) -> bool:
    """True if no name means one thing in one body and another elsewhere."""
    made = [name for graph in names for name in graph.made]
    return len(made) == len(set(made))


def made_twice(names: Iterable[Names]) -> str | None:
    """A name to which one graph gives two meanings: bodies may repeat each other's names, a graph never its own."""
    for held, made in names:
        if len(set(held)) + len(set(made)) == len(held) + len(made):
            continue
        tally = Counter((*held, *made))
        tally.subtract(set(held))  # counted in both
        found = next((name for name, times in tally.items() if times > 1), None)
        if found is not None:
            return found
    return None


def make_names_unique(graph: GraphProto) -> None:
    """Rename tensors of bodies whose names mean something else elsewhere: bodies side by side may share names."""
    _rename(graph, {}, {""})


def _rename(graph: GraphProto, outer: Mapping[str, str], taken: set[str]) -> None:
    names = dict(outer)
    for name in [*_made(graph)]:
        names[name] = name if name not in taken else next(n for i in count(2) if (n := f"{name}_{i}") not in taken)
        taken.add(names[name])
    for named in (*graph.initializer, *graph.input, *graph.output, *graph.value_info):
        named.name = names.get(named.name, named.name)
    for node in graph.node:
        for slots in (node.input, node.output):
            for slot, name in enumerate(slots):
                slots[slot] = names.get(name, name)
        for _, inner in graphs_of(node):
            _rename(inner, names, taken)


def _made(graph: GraphProto) -> Iterator[str]:
    """The names that a graph itself gives a meaning."""
    constants = {tensor.name for tensor in graph.initializer}
    yield from constants
    yield from (v.name for v in graph.input if v.name not in constants)
    yield from (name for node in graph.node for name in node.output if name)


def reads_of(node: NodeProto) -> set[str]:
    """All names that a node reads, those in its bodies included."""
    found = {name for name in node.input if name}
    for _, graph in graphs_of(node):
        for inner in graph.node:
            found |= reads_of(inner)
        found |= {value.name for value in graph.output}
    return found
