"""The inputs and outputs of a graph being edited: those that belong to blocks come and go with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import onnx
from onnx import ValueInfoProto

from front_onnx.blocks.ports import Port
from front_onnx.read.graph import Graph
from front_onnx.read.names import Count, texts

__all__ = ["BlockPort", "Interface", "PortGroup"]


@dataclass(frozen=True)
class BlockPort:
    """An input or output that a block of a chain which grew has for itself.

    Attributes:
        chain: the number of the chain.
        unit: which of the target's units it belongs to.
        names: what the source's units have there, by unit.
    """

    chain: int
    unit: int
    names: tuple[str, ...]


class PortGroup:
    """The inputs of a graph, or its outputs.

    Attributes:
        tensors: the tensors they are, by name, in order.
        like: for names that the source has not, or has for something else, the source's name for what is like it.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self.tensors = {name: name for name in names}
        self.like: dict[str, str] = {}
        self._blocks: dict[str, BlockPort] = {}

    @property
    def blocks(self) -> dict[str, BlockPort]:
        """The names that belong to blocks of chains which grew."""
        return {name: self._blocks[tensor] for name, tensor in self.tensors.items() if tensor in self._blocks}

    @property
    def changed(self) -> bool:
        """True if a name is new, gone, or stands for another tensor."""
        return list(self.tensors.items()) != [(name, name) for name in self.names]

    def drop(self, ports: Sequence[Port], units: int) -> None:
        """Drop the names of the last units; what counts on behind them moves back."""
        known = [self._known(port) for port in ports]
        gone = {name for names in known for name in names[len(names) - units :]}
        self.tensors = {name: tensor for name, tensor in self.tensors.items() if name not in gone}
        self._move(ports, known, -units)

    def extend(self, chain: int, ports: Sequence[Port], tensors: Sequence[Sequence[str]]) -> None:
        """Give each port of a chain further names, for one tensor each; what counts on behind them moves ahead.

        Names are inserted behind those of the unit before: as many in a row as stand there in a row.
        """
        units = len(tensors[0]) if tensors else 0
        known = [self._known(port) for port in ports]
        self._move(ports, known, units)
        new: dict[str, list[tuple[str, str]]] = {}
        for port, names, more in zip(ports, known, tensors, strict=True):
            count = port.count.beginning(names[0])
            new[names[-1]] = [(count.at(len(names) + unit), tensor) for unit, tensor in enumerate(more)]
            self.like |= {name: port.names[-1] for name, _ in new[names[-1]]}
            for unit, tensor in enumerate((*port.tensors[: len(names)], *more)):
                self._blocks[tensor] = BlockPort(chain, unit, port.names)
        ordered: dict[str, str] = {}
        row: list[str] = []
        for name in [*self.tensors, None]:
            if row and name not in new:
                ordered.update(new[last][unit] for unit in range(units) for last in row)
                row = []
            if name is not None:
                ordered[name] = self.tensors[name]
                row += [name] if name in new else []
        self.tensors = ordered

    def _known(self, port: Port) -> list[str]:
        """The names of a port: an edit of another chain may have moved them."""
        like = texts(port.names[0])
        return [
            next(name for name, known in self.tensors.items() if known == tensor and texts(name) == like)
            for tensor in port.tensors[: len(port.names)]
        ]

    def _move(self, ports: Sequence[Port], known: Sequence[Sequence[str]], units: int) -> None:
        """Move the names behind those of ports that count alike."""
        last: dict[Count, int] = {}
        for port, names in zip(ports, known, strict=True):
            count = replace(port.count, first="")
            last[count] = max(last.get(count, 0), count.number(names[-1]) or 0)
        moved: dict[str, str] = {}
        for name, tensor in self.tensors.items():
            new = name
            for count, end in last.items():
                new = count.moved(new, end, units)
            if new != name:
                self.like[new] = self.like.get(name, name)
            moved[new] = tensor
        self.tensors = moved


class Interface:
    """Inputs and outputs while blocks come and go; tensors are called as in the source until they are `named`."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.inputs = PortGroup([info.name for info in graph.proto.input])
        self.outputs = PortGroup(graph.outputs)

    def rebind(self, tensors: Mapping[str, str]) -> None:
        """Let outputs that are some tensors be others."""
        for name, tensor in self.outputs.tensors.items():
            self.outputs.tensors[name] = tensors.get(tensor, tensor)

    def named(self) -> dict[str, str]:
        """The name that each tensor of an input or output has to have; an output may need an Identity."""
        names = {tensor: name for name, tensor in self.inputs.tensors.items()}
        for name, tensor in sorted(self.outputs.tensors.items(), key=lambda pair: pair[0] != pair[1]):
            names.setdefault(tensor, name)
        return names

    def declare(self, graph: onnx.GraphProto) -> None:
        """Write both lists, with the types and shapes of the source."""
        for group, infos in ((self.inputs, graph.input), (self.outputs, graph.output)):
            if group.changed:
                made = list(self._declared(group, {info.name: info for info in infos}))
                del infos[:]
                infos.extend(made)

    @staticmethod
    def _declared(group: PortGroup, source: dict[str, ValueInfoProto]) -> Iterator[ValueInfoProto]:
        for name in group.tensors:
            info = ValueInfoProto()
            info.CopyFrom(source[group.like.get(name, name)])
            info.name = name
            yield info
