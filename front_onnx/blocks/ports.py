"""Ports: inputs and outputs of the graph that belong to one block each, keys and values of a cache, hidden states.

A port stands in one place of every unit, and its names count with the units. Depth changes the interface by them: the
ports of a unit go and come with it. An output may hang on a unit by a branch of nodes that lead nowhere else. Where the
last unit has none because what follows the chain makes it (a last hidden state, normalised), the output behind the
chain counts on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from front_onnx.axes.holds import Why
from front_onnx.axes.numbers import value_of
from front_onnx.axes.size import Conflict, size_of
from front_onnx.blocks.alike import tie_tensors
from front_onnx.blocks.chain import Chain
from front_onnx.blocks.segments import Flow
from front_onnx.read.graph import Edge
from front_onnx.read.names import Count, texts

__all__ = ["Port", "Ports", "families", "find_ports", "free_inputs", "with_heads"]


_LONGEST = 64  # nodes between a unit and an output at most


@dataclass(frozen=True)
class Port:
    """An input or output of the graph in one place of the units.

    Attributes:
        names: by unit; the last is missing where an output behind the chain takes its number.
        tensors: by unit, what is given there, without the Identity nodes before an output.
        count: how the names count.
    """

    names: tuple[str, ...]
    tensors: tuple[str, ...]
    count: Count

    @property
    def short(self) -> bool:
        """True if the last unit has none."""
        return len(self.names) < len(self.tensors)


@dataclass
class Ports:
    """All ports of a chain.

    Attributes:
        inputs: a port for each input that every unit has for itself.
        outputs: a port for each output that every unit makes.
        branches: by unit, the nodes that lead from it to its outputs and nowhere else.
        refused: (name, reason): inputs and outputs of single units that stand in the way of another depth.
    """

    inputs: list[Port] = field(default_factory=list)
    outputs: list[Port] = field(default_factory=list)
    branches: list[set[int]] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)


def _block_inputs(flow: Flow, chain: Chain) -> list[tuple[str, ...]]:
    """The graph inputs that units read for themselves, by place: one name for each unit."""
    given = {info.name for info in flow.graph.inputs}
    own = flow.private(chain.units[0])
    found: dict[tuple[str, ...], None] = {}
    for first, there in chain.nodes.items():
        for names in zip(*(flow.graph.nodes[node].input for node in there), strict=True):
            readers = {edge.node for edge in flow.graph.consumers[names[0]] if flow.makes_data(edge.node)}
            if given.issuperset(names) and first in own and (len(set(names)) > 1 or readers <= own):
                found[names] = None
    return list(found)


def families(flow: Flow, chains: Sequence[Chain]) -> list[list[tuple[str, ...]]]:
    """For each chain, the inputs that stand in one place of its blocks: those of its units, then those that are alike.

    Alike is an input of no other chain that has the sizes of a unit's input, and either a name that counts with its
    name, or no reader but the lead, and its place among the inputs: a block that differs has a cache like all others.
    """
    found = [_block_inputs(flow, chain) for chain in chains]
    taken = {name for blocks in found for names in blocks for name in names}
    others = [info.name for info in flow.graph.inputs if info.name not in taken]
    return [
        [
            (*names, *_counting(flow, chain, names, others), *_of_the_lead(flow, chain, names, blocks, others))
            for names in blocks
        ]
        for chain, blocks in zip(chains, found, strict=True)
    ]


def _counting(flow: Flow, chain: Chain, names: tuple[str, ...], others: Sequence[str]) -> list[str]:
    """Inputs of the same sizes whose names count with those of the units."""
    count = Count.of(names, chain.layers)
    alike = (name for name in others if _sizes(flow, name) == _sizes(flow, names[0]))
    return [name for name in alike if count is not None and count.number(name) is not None]


def _of_the_lead(
    flow: Flow, chain: Chain, names: tuple[str, ...], blocks: Sequence[tuple[str, ...]], others: Sequence[str]
) -> list[str]:
    """The input of the lead in this place, where names do not count: the first of its inputs of these sizes, ..."""
    if not chain.entry or Count.of(names, chain.layers) is not None:
        return []
    lead, sizes = flow.private(chain.entry), _sizes(flow, names[0])
    own = [name for name in others if _sizes(flow, name) == sizes and _only(flow, name, lead)]
    places = [there for there in blocks if _sizes(flow, there[0]) == sizes]
    return [own[places.index(names)]] if len(own) == len(places) else []


def _sizes(flow: Flow, name: str) -> list[int]:
    return [size_of(axis) for axis in flow.analysis.facts[name].axes or ()]


def _only(flow: Flow, name: str, nodes: set[int]) -> bool:
    """True if an input is read as data, and by these nodes alone."""
    readers = {edge.node for edge in flow.graph.consumers.get(name, ()) if flow.makes_data(edge.node)}
    return bool(readers) and readers <= nodes


def free_inputs(flow: Flow, chains: Sequence[Chain]) -> None:
    """Inputs that blocks have for themselves follow the blocks' weights: heads and their size in a cache."""
    algebra, uses, facts = flow.analysis.algebra, flow.analysis.uses, flow.analysis.facts
    for chain, inputs in zip(chains, families(flow, chains), strict=True):
        for first, *others in inputs:
            for other in others:
                tie_tensors(flow.analysis, first, other)
        inside = {a for edge in chain.places for axis in uses[edge].axes or () for a in algebra.free_variables(axis)}
        for name in (name for names in inputs for name in names):
            for var in (var for axis in facts[name].axes or () for var in algebra.free_variables(axis)):
                if var in inside and not var.symbols:
                    algebra.release((var,), Why.INPUT_AXIS, Why.PART)  # halves that are turned are parts of a key


def find_ports(flow: Flow, chain: Chain) -> Ports:
    """The ports of a chain, and what forbids another depth."""
    return _finder(flow, chain).ports


def _finder(flow: Flow, chain: Chain) -> _Finder:
    """What finds the ports of a chain; the last block's head is a port like the others where that leaves none over.

    Elsewhere what is behind the chain is no part of it, however alike: a final head beside those of early exits.
    """
    found = _Finder(flow, chain, ()).run()
    if not found.ports.refused:
        return found
    ending = _Finder(flow, chain, chain.ends).run()
    return found if ending.ports.refused else ending


def with_heads(flow: Flow, chain: Chain) -> Chain:
    """A chain whose places are those of its blocks' own heads too: what makes an output of each block, with weights."""
    nodes: dict[int, list[int]] = {}
    places: dict[Edge, list[Edge]] = {}
    finder = _finder(flow, chain)
    for port in finder.ports.outputs if len(chain.units) > 1 and chain.loop is None else ():
        for names in () if port.short else zip([port.tensors[0]] * len(port.tensors), port.tensors, strict=True):
            finder.align(names, nodes, places)
    places = {edge: there for edge, there in places.items() if len({*there}) == len(chain.units)}
    try:
        with flow.analysis.algebra.attempt():
            for first, *others in places.values():
                for other in others:
                    flow.analysis.unify_readings(first, other)
    except Conflict:
        return chain
    heads = {node: tuple(there) for node, there in nodes.items() if node not in chain.nodes}
    own = {edge: tuple(there) for edge, there in places.items()}
    return replace(chain, nodes={**chain.nodes, **heads}, places={**chain.places, **own})


@dataclass
class _Output:
    """An output of the graph that one unit makes.

    Attributes:
        name: the output.
        tensor: what it is without Identity nodes.
        nodes: the nodes that lead from the unit to it and nowhere else.
        reads: the tensors of the unit it is made of.
    """

    name: str
    tensor: str
    nodes: set[int]
    reads: set[str]


class _Finder:
    def __init__(self, flow: Flow, chain: Chain, main: Sequence[str]) -> None:
        self.flow, self.graph, self.chain = flow, flow.graph, chain
        self.ends = {*chain.ends}
        self.ports = Ports(branches=[set() for _ in chain.units])
        self.main = flow.behind(*(main or [self._main_output()]))
        self.place: dict[str, tuple[int, object]] = {}  # tensors of units: the unit, and where in it
        own = flow.private(chain.units[0])
        for first, there in chain.nodes.items():
            for unit, node in enumerate(there if first in own and len(set(there)) == len(there) else ()):
                for slot, name in enumerate(self.graph.nodes[node].output):
                    self.place[name] = (unit, (first, slot))

    def _main_output(self) -> str:
        """What the chain is for: of the outputs behind its end the one with the most layers."""
        reached = {*self.chain.ends}
        for index, names in enumerate(self.flow.inputs):
            if not reached.isdisjoint(names):
                reached.update(self.graph.nodes[index].output)
        depths = self.flow.depths_behind(set())
        behind = [name for name in self.graph.outputs if name in reached]
        return max(behind, key=lambda name: depths.get(name, 0), default=self.chain.end)

    def run(self) -> _Finder:
        """Inputs first: an output may be one of them, passed on."""
        for names in _block_inputs(self.flow, self.chain):
            self._input(names)
        families: dict[tuple[object, tuple[str, ...]], list[list[_Output]]] = {}
        for name in self.graph.outputs:
            found = self._output(name)
            if found is not None:
                unit, place, output = found
                empty: list[list[_Output]] = [[] for _ in self.chain.units]
                families.setdefault((place, texts(name)), empty)[unit].append(output)
        for (place, _), family in families.items():
            self._sort(place, family)
        return self

    def _input(self, names: tuple[str, ...]) -> None:
        count = Count.of(names, self.chain.layers)
        if count is None or len(set(names)) < len(names):
            self.ports.refused.append((names[-1], "it belongs to one block, and the inputs of blocks do not count"))
            return
        for unit, name in enumerate(names):
            self.place[name] = (unit, ("input", names))
        self.ports.inputs.append(Port(names, names, count))

    def _output(self, name: str) -> tuple[int, object, _Output] | None:
        """The unit that makes an output, alone, and its place; None if that is no single unit."""
        tensor, nodes = name, set()
        while (index := self.graph.producer.get(tensor)) is not None and self.graph.nodes[index].op_type == "Identity":
            nodes.add(index)
            tensor = self.graph.nodes[index].input[0]
        reads: set[str] = set()
        branch = self._branch(tensor, reads)
        units = {self.place[read][0] for read in reads}
        handed = units != {len(self.chain.units) - 1} and self.ends.issuperset(reads)  # on, through the last unit
        if branch is None or len(units) != 1 or handed:
            return None
        place = self._computed(tensor, branch, {})
        return units.pop(), place, _Output(name, tensor, (nodes - self.main) | branch, reads)

    def _branch(self, tensor: str, reads: set[str]) -> set[int] | None:
        """The nodes between units and an output, and what they read of units; None if they are too many."""
        branch: set[int] = set()
        waiting = [tensor]
        while waiting:
            name = waiting.pop()
            index = self.graph.producer.get(name)
            if name in self.place:
                reads.add(name)
            elif index is not None and index not in self.main and index not in branch:
                branch.add(index)
                waiting += self.flow.inputs[index]
            if len(branch) > _LONGEST:
                return None
        return branch

    def _computed(self, tensor: str, branch: set[int], known: dict[str, object]) -> object:
        """What a tensor is, in terms of places in a unit and of what all units share."""
        if tensor in self.place:
            return self.place[tensor][1]
        index = self.graph.producer.get(tensor)
        if index is None or index not in branch:
            return tensor
        if tensor not in known:
            node = self.graph.nodes[index]
            attributes = tuple(sorted(a.SerializeToString(deterministic=True) for a in node.attribute))
            operands: list[object] = []
            for slot, name in enumerate(node.input):
                fact = self.flow.analysis.uses.get(Edge(index, slot)) or self.flow.analysis.facts.get(name)
                if fact is not None and fact.value is not None:
                    operands.append(tuple(value_of(number) for number in fact.value.flat))
                elif self._is_own(name, branch):
                    operands.append(tuple(self.graph.constants[name].dims))
                else:
                    operands.append(self._computed(self.graph.constant_name(name), branch, known))
            known[tensor] = hash((node.op_type, attributes, list(node.output).index(tensor), *operands))
        return known[tensor]

    def _is_own(self, name: str, branch: set[int]) -> bool:
        """True for a weight that nothing outside of a branch reads: every block may have a head of its own."""
        own = name in self.graph.constants and name == self.graph.constant_name(name)  # no copy that an Identity makes
        return own and all(edge.node in branch for edge in self.graph.consumers[name])

    def align(self, names: tuple[str, str], nodes: dict[int, list[int]], places: dict[Edge, list[Edge]]) -> None:
        """Note which nodes and readings of constants between a unit and an output stand where those of another do."""
        waiting, seen = [names], set[tuple[str, str]]()
        while waiting:
            names = waiting.pop()
            first, other = (self.graph.producer.get(name) for name in names)
            if names in seen or names[0] in self.place or first is None or other is None or first in self.main:
                continue
            seen.add(names)
            nodes.setdefault(first, []).append(other)
            inputs = zip(self.graph.nodes[first].input, self.graph.nodes[other].input, strict=True)
            for here, there, pair in zip(self.graph.reads[first], self.graph.reads[other], inputs, strict=True):
                if here in self.flow.analysis.uses and there in self.flow.analysis.uses:
                    places.setdefault(here, []).append(there)
                else:
                    waiting.append(pair)

    def _sort(self, place: object, family: list[list[_Output]]) -> None:
        """Outputs in one place are a port if they count through the chain; what the chain's end makes stays there."""
        *before, last = family
        present = [here[0] for here in family if here]
        port = self._port(place, family, [output.name for output in present])
        if port is not None and all(len(here) < 2 for here in family):
            self.ports.outputs.append(port)
            for unit, here in enumerate(family):
                self.ports.branches[unit].update(*(output.nodes for output in here))
        elif any(before) or any(not self.ends.issuperset(output.reads) for output in last):
            reason = "it leaves the graph from a block, and the outputs of blocks do not count"
            self.ports.refused.append((present[0].name, reason))

    def _port(self, place: object, family: list[list[_Output]], names: list[str]) -> Port | None:
        units, layers = len(self.chain.units), self.chain.layers
        if len(names) == units and (units > 1 or family[0][0].tensor not in self.ends):
            count = Count.of(names, layers)
            return Port(tuple(names), tuple(here[0].tensor for here in family), count) if count else None
        direct = isinstance(place, tuple) and place[0] in self.chain.nodes
        if len(names) != units - 1 or not names or family[-1] or not direct:
            return None
        there = self.chain.nodes[place[0]]  # type: ignore[index]
        tensors = tuple(self.graph.nodes[node].output[place[1]] for node in there)  # type: ignore[index]
        count = self._counted_on(names)
        return Port(tuple(names), tensors, count) if count is not None else None

    def _counted_on(self, names: Sequence[str]) -> Count | None:
        """How names count if an output behind the chain counts on."""
        for name in self.graph.outputs:
            count = Count.of([*names, name]) if texts(name) == texts(names[0]) else None
            if count is not None and count.step == self.chain.layers:
                found = self._output(name)
                if found is None or self.ends.issuperset(found[2].reads):
                    return count
        return None
