"""A graph being edited: nodes that keep their place in the source, nodes that are added, names that are taken."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping

import onnx
from onnx import NodeProto

from front_onnx.errors import FrontError
from front_onnx.read.graph import Edge, Graph, label
from front_onnx.read.names import unused
from front_onnx.read.subgraphs import number_nodes, reads_of
from front_onnx.write.interface import Interface

__all__ = ["Draft"]


class Draft:
    """An editable copy of a graph.

    Attributes:
        proto: the model being made; its node list is written by `finish`.
        nodes: nodes of the source that are still there, by their number.
        added: (number of the source node it follows, its template's number, node, (chain, unit)), in order.
        interface: the graph's inputs and outputs.
        copies: tensors that were added or renamed, and the source's tensors they are like.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.proto = onnx.ModelProto()
        self.proto.CopyFrom(graph.model.proto)
        self.layout = number_nodes(self.proto.graph)
        self.nodes: dict[int, NodeProto] = dict(enumerate(self.layout.nodes))
        self.added: list[tuple[int, int, NodeProto, tuple[int, int]]] = []
        self.interface = Interface(graph)
        self.tensors = set(graph.producer) | set(graph.constants) | {v.name for v in graph.proto.input}
        self.tensors |= {name for body in self.layout.all_subgraphs() for name in body.inputs}
        self.names = {node.name for node in graph.nodes}
        self.copies: dict[str, str] = {}

    def all_nodes(self) -> Iterable[NodeProto]:
        """Every node of the draft, unordered."""
        yield from self.nodes.values()
        for _, _, node, _ in self.added:
            yield node

    def reading(self) -> Iterable[tuple[NodeProto, int, Edge, tuple[int, int] | None]]:
        """(node, slot, edge of the source it stands for, (chain, unit) if added) for every node input."""
        for number, node in self.nodes.items():
            for slot in range(len(node.input)):
                yield node, slot, Edge(number, slot), None
        for _, template, node, unit in self.added:
            for slot in range(len(node.input)):
                yield node, slot, Edge(template, slot), unit

    def new_tensor(self, name: str) -> str:
        """An unused tensor name like the given one, from now on taken."""
        name = unused(name, self.tensors)
        self.tensors.add(name)
        return name

    def new_node_name(self, name: str) -> str:
        """An unused node name like the given one; nodes without a name stay so."""
        if name:
            name = unused(name, self.names)
            self.names.add(name)
        return name

    def rename(self, names: Mapping[str, str], nodes: Iterable[NodeProto]) -> None:
        """Let nodes read other tensors."""
        for node in nodes:
            for slot, name in enumerate(node.input):
                if name in names:
                    node.input[slot] = names[name]

    def settle(self) -> None:
        """Give inputs and outputs their names, and write both lists."""
        self.interface.declare(self.proto.graph)
        names = self.interface.named()
        outputs = self.interface.outputs.tensors
        for name in sorted({*names.values(), *outputs} & self.tensors - set(names)):
            names[name] = self.new_tensor(name)  # another tensor has the name
        moved = {tensor: name for tensor, name in names.items() if tensor != name}
        nodes = list(self.all_nodes()) if moved else []
        for node in nodes:
            for slot, tensor in enumerate(node.output):
                node.output[slot] = moved.get(tensor, tensor)
        self.rename(moved, nodes)
        like = {name: self.copies.get(tensor, tensor) for tensor, name in moved.items()}
        self.copies = {name: old for name, old in self.copies.items() if name not in moved} | like
        for name, tensor in outputs.items():
            if names[tensor] != name:
                node = onnx.helper.make_node("Identity", [names[tensor]], [name], name=self.new_node_name("Identity"))
                self.added.append((len(self.graph.nodes), -1, node, (-1, -1)))
                self.copies[name] = self.copies.get(names[tensor], tensor)

    def finish(self) -> None:
        """Write the node list in topological order, near the source's, without nodes that nothing needs any more."""
        self._finish_bodies()
        entries = [((i, 0, 0), self.nodes[i]) for i in self.layout.main.nodes if i in self.nodes]
        entries += [((after, i + 1, 0), node) for i, (after, _, node, _) in enumerate(self.added)]
        entries.sort(key=lambda entry: entry[0])
        ordered = _topological([node for _, node in entries])
        main = self.graph.order.main.nodes
        dead = [main[i] for i in _dead([self.graph.order.nodes[i] for i in main], self.graph.outputs)]
        dead_before = {id(self.nodes[i]) for i in dead if i in self.nodes}
        dead_now = _dead(ordered, self.interface.outputs.tensors)
        kept = [n for i, n in enumerate(ordered) if i not in dead_now or id(n) in dead_before]
        copies = [_copy(node) for node in kept]
        del self.proto.graph.node[:]
        self.proto.graph.node.extend(copies)

    def _finish_bodies(self) -> None:
        """Take the nodes that are gone out of the bodies, and keep their order topological."""
        for body in self.layout.all_subgraphs():
            ordered = _topological([self.nodes[i] for i in body.nodes if i in self.nodes])
            if [*map(id, ordered)] != [id(self.nodes.get(i)) for i in body.nodes]:
                copies = [*map(_copy, ordered)]
                del body.proto.node[:]
                body.proto.node.extend(copies)


def _copy(node: NodeProto) -> NodeProto:
    out = NodeProto()
    out.CopyFrom(node)
    return out


def _topological(nodes: list[NodeProto]) -> list[NodeProto]:
    """Nodes so that each comes after what it reads, otherwise in the given order.

    Raises:
        FrontError: there is no such order.
    """
    producer = {name: i for i, node in enumerate(nodes) for name in node.output if name}
    waiting = [{producer[name] for name in reads_of(node) if name in producer} - {i} for i, node in enumerate(nodes)]
    readers: dict[int, list[int]] = {}
    for i, needs in enumerate(waiting):
        for need in needs:
            readers.setdefault(need, []).append(i)
    ready = [i for i, needs in enumerate(waiting) if not needs]
    out: list[NodeProto] = []
    while ready:
        index = heapq.heappop(ready)
        out.append(nodes[index])
        for reader in readers.get(index, ()):
            waiting[reader].discard(index)
            if not waiting[reader]:
                heapq.heappush(ready, reader)
    if len(out) < len(nodes):
        first = next(node for node, needs in zip(nodes, waiting, strict=True) if needs)
        raise FrontError(
            "the resized graph would not hold together, so nothing was written: what a node reads depends on it",
            node=label(first),
            hint="this depth is not understood well enough, please report it; --width alone may do",
        )
    return out


def _dead(nodes: list[NodeProto], outputs: Iterable[str]) -> set[int]:
    """Nodes that no output depends on."""
    wanted = set(outputs)
    dead = set()
    for index in range(len(nodes) - 1, -1, -1):
        if wanted.isdisjoint(nodes[index].output):
            dead.add(index)
        else:
            wanted |= reads_of(nodes[index])
    return dead
