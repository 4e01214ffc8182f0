"""Adding and removing units of a chain: depth, in the graph.

Depth shrinks by dropping the last units and grows by copying the last one; the weights of all units are resampled
anyway, so which ones are kept carries no meaning. Earlier units stay because others may read shape arithmetic from
them. What stands outside and reads the last unit reads the new last unit. Inputs and outputs of the graph that belong
to units (`blocks/ports.py`) go and come with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from onnx import NodeProto

from front_onnx.blocks.chain import Chain
from front_onnx.blocks.ports import find_ports
from front_onnx.errors import UnsupportedError
from front_onnx.plan.plan import Plan
from front_onnx.read.graph import label
from front_onnx.read.names import continued, prefix, renumbered
from front_onnx.write.draft import Draft

__all__ = ["resize_chain"]


def resize_chain(draft: Draft, plan: Plan, number: int) -> None:
    """Give chain `number` of the plan its number of units.

    Raises:
        UnsupportedError: something outside uses what a unit computes, or an input or output of the graph belongs to
            a unit and does not count with it.
    """
    chain, target = plan.structure.chains[number], plan.units[number]
    if target == len(chain.units) or chain.loop is not None:
        return
    editor = _Editor(draft, plan, number, chain)
    editor.refuse_taps()
    if target < len(chain.units):
        editor.shrink(target)
    else:
        editor.grow(target)


class _Editor:
    def __init__(self, draft: Draft, plan: Plan, number: int, chain: Chain) -> None:
        self.draft, self.plan, self.number, self.chain = draft, plan, number, chain
        self.graph = plan.structure.graph
        self.flow = plan.structure.flow
        self.ports = find_ports(self.flow, chain)
        self.own = [self.flow.private(unit) | more for unit, more in zip(chain.units, self.ports.branches, strict=True)]
        self.inside = set().union(*self.own)
        self.numbered = {name for port in self.ports.outputs for name in port.names}

    def refuse_taps(self) -> None:
        """Only the end of the last unit may be used as data outside; shapes may be read anywhere."""
        for name, reason in self.ports.refused:
            readers = [edge.node for edge in self.graph.consumers.get(name, ())]
            raise self._refusal(f"{name}: {reason}", self.graph.producer.get(name, min(readers, default=0)))
        needed = self.flow.behind(*self.graph.outputs)
        for unit, own in enumerate(self.own):
            for index in own:
                for name in self.graph.nodes[index].output:
                    if name in self.chain.ends:
                        continue
                    if name in self.graph.outputs and name not in self.numbered:
                        raise self._refusal(f"output {name} leaves the graph from block {unit}", index)
                    for edge in self.graph.consumers.get(name, ()):
                        home = self.graph.order.home(edge.node)
                        if home in needed and home not in self.inside:
                            reader = label(self.graph.nodes[edge.node])
                            raise self._refusal(f"{reader} reads what block {unit} makes", index)

    def _refusal(self, why: str, index: int) -> UnsupportedError:
        return UnsupportedError(
            f"the depth of {self.chain.name} cannot change: {why}",
            node=label(self.graph.nodes[index]),
            got=self.plan.depths[self.number][1],
            wanted=self.chain.depth,
        )

    def _outside(self, also_inside: Iterable[int] = ()) -> list[NodeProto]:
        inside = self.inside | set(also_inside)
        return [node for index, node in self.draft.nodes.items() if index not in inside]

    # -- shrinking --------------------------------------------------------------------------------------------

    def shrink(self, target: int) -> None:
        """Drop the last units; who read them reads the same place of the last one that is left."""
        names: dict[str, str] = {}
        for there in self.chain.nodes.values():
            for unit in range(target, len(there)):
                for slot, name in enumerate(self.graph.nodes[there[unit]].output):
                    if target:
                        names[name] = self.graph.nodes[there[target - 1]].output[slot]
        last = self.chain.units[target - 1][-1].ends if target else self.chain.starts
        names |= zip(self.chain.ends, last, strict=True)
        gone = len(self.chain.units) - target
        if any(gone > len(port.names) for port in self.ports.outputs):
            raise self._refusal("no block would be left to make its outputs", self.graph.producer[self.chain.end])
        interface = self.draft.interface
        self._end_at(last)
        self._unwrap()
        interface.outputs.drop(self.ports.outputs, gone)
        interface.inputs.drop(self.ports.inputs, gone)
        for port in self.ports.inputs if target else ():
            names |= dict.fromkeys(port.names[target:], port.names[target - 1])
        for own in self.own[target:]:
            for index in own:
                self.draft.nodes.pop(index, None)
        self.draft.rename(names, self._outside())

    def _end_at(self, last: Sequence[str]) -> None:
        """What leaves the graph from the chain's end leaves it from its new end, unless it is numbered."""
        moved = dict(zip(self.chain.ends, last, strict=True))
        self.draft.interface.rebind({end: new for end, new in moved.items() if end not in self.numbered})

    def _unwrap(self) -> None:
        """Numbered outputs become the tensors they are; the Identity nodes before them go."""
        outputs = self.draft.interface.outputs.tensors
        for port in self.ports.outputs:
            for name, tensor in zip(port.names, port.tensors, strict=False):
                known = next(key for key, value in outputs.items() if value == name)
                while name != tensor:
                    index = self.graph.producer[name]
                    self.draft.nodes.pop(index, None)
                    self.draft.rename({name: tensor}, self.draft.all_nodes())
                    name = self.graph.nodes[index].input[0]
                outputs[known] = tensor

    # -- growing ----------------------------------------------------------------------------------------------

    def grow(self, target: int) -> None:
        """Copy the last unit behind itself."""
        template = sorted(self._template())
        places = {there[-1]: there for there in self.chain.nodes.values()}
        stems = self._stems()
        after = max(template)
        starts, ends = self.chain.units[-1][0].starts, self.chain.ends
        taken = [port.names[-1] for port in self.ports.inputs]
        feed, made = ends, []
        for unit in range(len(self.chain.units), target):
            mapped = dict(zip(starts, feed, strict=True))
            for port in self.ports.inputs:
                mapped[port.names[-1]] = self.draft.new_tensor(port.count.at(unit))
                self.draft.copies[mapped[port.names[-1]]] = port.names[-1]
            for index in template:
                node = self._copy(index, unit, places.get(index), stems, mapped)
                self.draft.added.append((after, index, node, (self.number, unit)))
            feed = tuple(mapped[end] for end in ends)
            made.append(mapped)
        self._end_at(feed)
        self._unwrap()
        self._extend(made)
        for name in {*starts, *taken}:
            del mapped[name]
        mapped |= zip(ends, feed, strict=True)
        self.draft.rename(mapped, self._outside(template))

    def _extend(self, made: list[dict[str, str]]) -> None:
        """Declare the inputs and outputs of added units, given what the last unit's tensors are in each of them."""
        ports, interface = self.ports, self.draft.interface
        inputs = [[unit[port.names[-1]] for unit in made] for port in ports.inputs]
        interface.inputs.extend(self.number, ports.inputs, inputs)
        outputs = []
        for port in ports.outputs:
            tensors = [unit.get(port.tensors[-1], port.tensors[-1]) for unit in made]
            outputs.append([port.tensors[-1], *tensors[:-1]] if port.short else tensors)
        interface.outputs.extend(self.number, ports.outputs, outputs)

    def _template(self) -> set[int]:
        """The nodes of the last unit, and side nodes it reads that depend on it (shape arithmetic others share)."""
        own = self.own[-1]
        made = {name for index in own for name in self.graph.nodes[index].output} | {*self.chain.units[-1][0].starts}
        made.update(port.names[-1] for port in self.ports.inputs)
        behind: set[int] = set()
        waiting = list(own)
        while waiting:
            for name in self.graph.nodes[waiting.pop()].input:
                index = self.graph.producer.get(name)
                if index is not None and name not in made and index not in behind and index not in self.inside:
                    behind.add(index)
                    waiting.append(index)
        found = set(own)
        for index in sorted(behind):
            if not made.isdisjoint(self.graph.nodes[index].input):
                found.add(index)
                made.update(self.graph.nodes[index].output)
        return found

    def _stems(self) -> list[str]:
        """What stands before the number that counts in names of nodes of this chain."""
        stems = {
            stem for there in self.chain.nodes.values() if (stem := prefix([self.graph.nodes[i].name for i in there]))
        }
        return sorted(stems, key=len, reverse=True)

    def _copy(
        self, index: int, unit: int, there: tuple[int, ...] | None, stems: list[str], mapped: dict[str, str]
    ) -> NodeProto:
        source = self.graph.nodes[index]
        node = NodeProto()
        node.CopyFrom(source.proto)
        ahead = unit - len(self.chain.units) + 1

        def name_like(names: list[str]) -> str:
            clean = [n for n in names if n not in self.graph.outputs] or names
            if len(clean) > 1:
                return continued(clean, unit)
            return renumbered(clean[0], stems, ahead * self.chain.layers)

        peers = [self.graph.nodes[i] for i in there] if there else [source]
        node.name = self.draft.new_node_name(name_like([p.name for p in peers]))
        current = self.draft.nodes.get(index, source)  # it may read another chain, which has a new end by now
        for slot, name in enumerate(source.input):
            node.input[slot] = mapped.get(name, current.input[slot])
        for slot, name in enumerate(source.output):
            if name:
                node.output[slot] = mapped[name] = self.draft.new_tensor(name_like([p.output[slot] for p in peers]))
                self.draft.copies[mapped[name]] = name
        for entry in node.metadata_props:
            values = [{e.key: e.value for e in p.metadata_props}.get(entry.key) for p in peers]
            if len(values) > 1 and all(v is not None for v in values):
                entry.value = continued([v for v in values if v is not None], unit)
        return node
