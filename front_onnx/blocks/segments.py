"""Cutting a graph where a single tensor carries everything: the segments between which repeats are looked for.

A **cut** is a tensor that every data path from a source to the main output passes through; what lies between two
consecutive cuts is a **segment**. Masks, rotary tables and position biases do not depend on the source, and shape
arithmetic is no data, so neither hides a cut; both are **side** expressions, compared by what they compute.
Two segments are alike if their **signatures** are equal: a hash of operators, attributes, wiring and parameter shapes.
The **skeleton** is the same without any size.
"""

from __future__ import annotations

from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from front_onnx.axes.numbers import Binding, value_of
from front_onnx.axes.size import size_of
from front_onnx.constants.classify import Constants
from front_onnx.constants.flowing import fed_by_parameters
from front_onnx.constants.kinds import KEPT
from front_onnx.operators.analysis import Analysis
from front_onnx.operators.record import Trait, record_of
from front_onnx.read.graph import Edge
from front_onnx.read.tensor_data import is_float, numpy_type

__all__ = ["Flow", "Segment"]

_SOURCES = 24  # how many early tensors are tried as the place where a chain could start


@dataclass(frozen=True)
class Segment:
    """What lies between two consecutive cuts.

    Attributes:
        starts: the tensors of the cut before it: one, but where blocks hand on several (`wide.py`).
        ends: those of the cut behind it.
        nodes: the nodes between them.
        signature: a hash of all there is.
        skeleton: a hash of what there is without any size.
    """

    starts: tuple[str, ...]
    ends: tuple[str, ...]
    nodes: tuple[int, ...]
    signature: int
    skeleton: int

    @property
    def start(self) -> str:
        """The tensor that it reads, or the first of them."""
        return self.starts[0]

    @property
    def end(self) -> str:
        """The tensor that it makes, or the first of them."""
        return self.ends[0]


_Hash = tuple[int, int]  # of all there is, and of the skeleton
_Cuts = list[tuple[str, list[int]]]


class _Way:
    """What all ways to one sink share: nodes in order, who reads each tensor, and what follows each cut."""

    def __init__(self, inputs: Sequence[Sequence[str]], behind: set[int]) -> None:
        self.order = sorted(behind)
        self.readers = Counter(name for index in self.order for name in inputs[index])
        self.last = {name: index for index in self.order for name in inputs[index]}
        self.behind_cut: dict[str, tuple[_Cuts, int]] = {}  # does not depend on the source


@dataclass(frozen=True)
class _Meetings:
    """Where inputs of the graph meet other data; what serves one segment only does so there only.

    Attributes:
        at: by input, the nodes that read other data beside what is made of it.
        first: inputs by the first of these nodes.
        before: by input, the nodes that read nothing but what is made of it.
    """

    at: dict[str, set[int]]
    first: dict[int, list[str]]
    before: dict[str, list[int]]


class Flow:
    """The data flow of an analysed graph, with what is needed to cut it and compare its parts."""

    def __init__(self, analysis: Analysis, constants: Constants) -> None:
        self.analysis, self.graph, self.constants = analysis, analysis.graph, constants
        nodes = self.graph.nodes
        self._states = fed_by_parameters(analysis)
        self.inputs: list[list[str]] = [[name for name in n.input if self._is_data(name)] for n in nodes]
        for index, names in self.graph.outer_scope.items():
            self.inputs[index] += [name for name in names if self._is_data(name)]
        self.outputs = [list(node.output) for node in nodes]
        self.weighted: list[bool] = []
        for index in range(len(nodes)):  # nodes of bodies stand before the node that the bodies belong to
            self.weighted.append(self._has_weight(index))
        self._side: dict[str, _Hash] = {}
        self._contents: dict[str, int] = {}
        self._signatures: dict[tuple[tuple[str, ...], tuple[str, ...], tuple[int, ...]], _Hash] = {}
        self._ways: dict[tuple[str, int], _Way] = {}
        self._before: dict[str, dict[str, _Hash]] = {}
        self.counted: dict[tuple[str, ...], int] = {}  # remembered by `names.py`

    def _is_data(self, name: str) -> bool:
        fact = self.analysis.facts.get(name)
        return fact is not None and fact.value is None and (not fact.constant or name in self._states)

    def makes_data(self, index: int) -> bool:
        """True if a node makes more than shape arithmetic."""
        return any(self._is_data(name) for name in self.graph.nodes[index].output)

    def _has_weight(self, index: int) -> bool:
        node = self.graph.nodes[index]
        bodies = self.graph.order.subgraphs.get(index, {}).values()
        if any(self.weighted[inner] for body in bodies for inner in body.nodes):
            return True
        for edge, name in zip(self.graph.reads[index], node.input, strict=True):
            fact = self.analysis.uses.get(edge) or self.analysis.facts.get(name)
            if fact is None:  # of a node that could not be followed
                tensor = self.graph.constants.get(name)
                if tensor is not None and tensor.dims and is_float(numpy_type(tensor)):
                    return True
            elif fact.constant and fact.value is None and fact.axes:
                return True
        return False

    # -- cuts -------------------------------------------------------------------------------------------------

    def depths_behind(self, without: set[int]) -> dict[str, int]:
        """The longest row of weighted nodes behind each tensor, some nodes left out."""
        depths: dict[str, int] = {}
        for index, names in enumerate(self.inputs):
            if index in without:
                continue
            depth = max((depths.get(name, 0) for name in names), default=0) + self.weighted[index]
            for name in self.graph.nodes[index].output:
                depths[name] = depth
        return depths

    def entering(self, nodes: set[int]) -> Iterator[str]:
        """The data that some nodes read and other nodes make."""
        for index in nodes:
            for name in self.inputs[index]:
                if self.graph.producer.get(name, index) not in nodes:
                    yield name

    def behind(self, *names: str, within: Iterable[int] | None = None) -> set[int]:
        """The nodes whose data tensors depend on; `within` some nodes, where these alone matter."""
        reached: set[int] = set()
        wanted = set(names)
        last = max((self.graph.producer.get(name, -1) for name in names), default=-1)
        for index in range(last, -1, -1) if within is None else sorted(within, reverse=True):
            if not wanted.isdisjoint(self.outputs[index]):
                reached.add(index)
                wanted.update(self.inputs[index])
        return reached

    def sources(self, behind: set[int]) -> list[str]:
        """The graph's inputs, and the first data tensors that weighted nodes make, behind each input and in all."""
        inputs = [v.name for v in self.graph.inputs if self._is_data(v.name)]
        reached = {name: name for name in inputs}  # a tensor, and the first input it depends on
        count = Counter[str]()
        made: list[str] = []
        for index in sorted(behind):
            behind_input = next((reached[name] for name in self.inputs[index] if name in reached), "")
            reached.update(dict.fromkeys(self.graph.nodes[index].output, behind_input))
            first = self.graph.nodes[index].output[0]
            if self.weighted[index] and self._is_data(first):
                count[behind_input] += 1
                if len(made) < _SOURCES or count[behind_input] <= _SOURCES // 4:
                    made.append(first)
        return inputs + made

    def cuts(self, source: str, sink: str, behind: set[int], *, aside: bool = False) -> _Cuts:
        """Cut tensors between source and sink, each with the nodes since the cut before it.

        `aside`: the last reading of the source is no data path.
        """
        key = sink, len(behind)  # all that is behind it, or a part
        if key not in self._ways:
            self._ways[key] = _Way(self.inputs, behind)
        way = self._ways[key]
        if aside and way.readers[source] < 2:
            return [(source, [])]
        alone = way.last[source] if aside and source in way.last else -1  # up to here, cuts depend on the source
        reached, live = {source}, {source: way.readers[source] - aside}
        found: _Cuts = [(source, [])]
        pending: list[int] = []
        for index in way.order[bisect(way.order, self.graph.producer.get(source, -1)) :]:
            if reached.isdisjoint(self.inputs[index]):
                continue
            pending.append(index)
            reached.update(self.outputs[index])
            for name in self.inputs[index]:
                if name in live:
                    live[name] -= 1
                    if not live[name]:
                        del live[name]
            for name in self.outputs[index]:
                if way.readers[name] or name == sink:
                    live[name] = way.readers[name]
            if len(live) == 1:
                (cut,) = live
                found.append((cut, pending))
                pending = []
                if index >= alone:
                    if cut in way.behind_cut:
                        cuts, place = way.behind_cut[cut]
                        found += cuts[place + 1 :]
                        break
                    way.behind_cut[cut] = found, len(found) - 1
        return found

    # -- comparing --------------------------------------------------------------------------------------------

    def segments(self, cuts: _Cuts) -> list[Segment]:
        """The segments between consecutive cuts, in order."""
        return [self.segment((start,), (end,), nodes) for (start, _), (end, nodes) in pairwise(cuts)]

    def segment(self, starts: tuple[str, ...], ends: tuple[str, ...], nodes: Sequence[int]) -> Segment:
        """What lies between two cuts; in which order it makes several tensors is no part of its signature."""
        key = starts, ends, tuple(nodes)
        if key not in self._signatures:
            local = self._hashes(starts, nodes)
            exact, loose = (sorted(local[end][i] for end in ends) for i in (0, 1))
            several = len(ends) > 1
            self._signatures[key] = (hash(tuple(exact)), hash(tuple(loose))) if several else (exact[0], loose[0])
        return Segment(starts, ends, tuple(nodes), *self._signatures[key])

    def made_by(self, segment: Segment) -> list[int]:
        """For each tensor that a segment makes, what it computes of those it reads."""
        local = self._hashes(segment.starts, segment.nodes)
        return [local[end][0] for end in segment.ends]

    def node_hashes(self, segment: Segment) -> dict[int, _Hash]:
        """For each node of a segment, what it and all before it in the segment compute."""
        local = self._hashes(segment.starts, segment.nodes)
        return {index: local[self.outputs[index][0]] for index in segment.nodes}

    def _hashes(self, starts: tuple[str, ...], nodes: Iterable[int]) -> dict[str, _Hash]:
        local: dict[str, _Hash] = {}
        inside = set(nodes)
        for name in (name for index in inside for name in self._meetings.first.get(index, ())):
            before = self._hashes_before(name) if self._meetings.at[name] <= inside else {}
            if before.keys().isdisjoint(
                starts
            ):  # the keys of a cache, not a mask for all nor what the segment itself goes on from
                local |= before
        local |= {start: (place, place) for place, start in enumerate(starts, 1)}
        for index in nodes:
            self._hash_into(local, index, local)
        return local

    @cached_property
    def _meetings(self) -> _Meetings:
        captured = set().union(*self.graph.outer_scope.values())
        root = {v.name: v.name for v in self.graph.inputs if self._is_data(v.name) and v.name not in captured}
        at, before = defaultdict[str, set[int]](set), defaultdict[str, list[int]](list)
        for index, names in enumerate(self.inputs):
            roots = {root.get(name, "") for name in names}
            if len(roots) == 1 and "" not in roots:
                (name,) = roots
                before[name].append(index)
                root.update(dict.fromkeys(self.outputs[index], name))
            else:
                for name in roots - {""}:
                    at[name].add(index)
        first = defaultdict[int, list[str]](list)
        for name, found in at.items():
            first[min(found)].append(name)
        return _Meetings(at, first, before)

    def _hashes_before(self, name: str) -> dict[str, _Hash]:
        """A graph input by its shape, and what is made of it before it meets other data."""
        if name not in self._before:
            shape = [n if isinstance(n, int) else "" for n in self.graph.declared_shape(name) or []]
            made = {name: (hash(("input", tuple(shape))), hash(("input", len(shape))))}
            for index in self._meetings.before[name]:
                self._hash_into(made, index, made)
            self._before[name] = made
        return self._before[name]

    def _hash_into(self, made: dict[str, _Hash], index: int, local: Mapping[str, _Hash]) -> None:
        """Hash the outputs of a node whose data is in `local`, or aside."""
        node = self.graph.nodes[index]
        reads = [
            local[name] if name in local else self._leaf(edge, name)
            for edge, name in zip(self.graph.reads[index], node.input, strict=True)
        ]
        tied = {name for i, name, _, _ in self._tied_attributes.get(index, ())}
        attributes = sorted((a.name, a.SerializeToString(deterministic=True)) for a in node.attribute)
        exact = hash((node.domain, node.op_type, tuple(attributes), tuple(r[0] for r in reads)))
        kept = tuple(a for a in attributes if a[0] not in tied)
        loose = hash((node.domain, node.op_type, kept, tuple(r[1] for r in reads)))
        for slot, name in enumerate(self.outputs[index]):
            made[name] = (hash((exact, slot)), hash((loose, slot)))

    @cached_property
    def _tied_attributes(self) -> dict[int, list[tuple[int, str, int | None, Binding]]]:
        tied: dict[int, list[tuple[int, str, int | None, Binding]]] = {}
        for record in self.analysis.attributes:
            tied.setdefault(record[0], []).append(record)
        return tied

    def _leaf(self, edge: Edge, name: str) -> _Hash:
        """Hash of a side expression: what is computed, not by which node."""
        fact = self.analysis.uses.get(edge) or self.analysis.facts.get(name)
        if not name or fact is None:
            return (hash(("none", name)),) * 2
        if fact.value is not None:
            values: tuple[object, ...] = tuple(value_of(n) for n in fact.value.flat)
            setting = edge in self.analysis.uses and self.constants.uses.is_setting(edge)
            if any(isinstance(v, float) for v in values) and not setting:
                values = ("float",) * len(values)  # a scale may differ by depth
            return hash(("value", values)), hash(("value", len(values)))
        if edge in self.analysis.uses:
            tensor = self.graph.constants[name]
            dims = tuple(tensor.dims)
            return hash(("weight", dims, tensor.data_type, self._content(name))), hash(("weight", len(dims)))
        if name not in self.graph.producer:
            return (hash(("tensor", name)),) * 2
        fill = self._fill(name)
        if fill is not None:  # a state to begin with: whichever part of however many zeros is taken
            sizes = tuple(map(size_of, fact.axes or ()))
            return hash(("filled", fill, sizes)), hash(("filled", fill, len(sizes)))
        if name not in self._side:
            for index in sorted(self._aside(name)):  # in order, for side expressions are deeper than the stack
                self._hash_into(self._side, index, {})
        return self._side[name]

    def _fill(self, name: str) -> float | None:
        """The one value that a side expression is filled with, if it is made so and then only moved and cut."""
        index = self.graph.producer.get(name)
        while index is not None and record_of(self.graph.nodes[index]).has(Trait.MOVES | Trait.SLICES):
            index = self.graph.producer.get(self.graph.nodes[index].input[0])
        if index is None or self.graph.nodes[index].op_type != "ConstantOfShape":
            return None
        tensor = self.graph.attribute(index, "value")
        return 0.0 if tensor is None else float(self.analysis.scalar(tensor))

    def _content(self, name: str) -> int:
        """A hash of what a constant holds, if it is no weight: weights differ between blocks that are alike."""
        name = self.graph.constant_name(name)
        if name not in self._contents:
            kept = self.constants.of(name).kind in KEPT
            self._contents[name] = hash(self.graph.array(name).tobytes()) if kept else 0
        return self._contents[name]

    def _aside(self, name: str) -> set[int]:
        """The nodes of a side expression that are not hashed yet."""
        found = {self.graph.producer[name]}
        waiting = list(found)
        while waiting:
            index = waiting.pop()
            for slot, read in enumerate(self.graph.nodes[index].input):
                maker = self.graph.producer.get(read)
                walked = self._walked(read) and Edge(index, slot) not in self.analysis.uses
                if walked and maker is not None and maker not in found and read not in self._side:
                    found.add(maker)
                    waiting.append(maker)
        return found

    def alike(self, left: int, right: int) -> bool:
        """True if two nodes do the same with what they read."""
        a, b = self.graph.nodes[left], self.graph.nodes[right]
        if (a.domain, a.op_type, len(a.input), len(a.output)) != (b.domain, b.op_type, len(b.input), len(b.output)):
            return False
        texts = ({i.name: i.SerializeToString(deterministic=True) for i in node.attribute} for node in (a, b))
        return len({str(sorted(found.items())) for found in texts}) == 1

    def same_aside(self, edges: tuple[Edge, Edge], names: tuple[str, str]) -> bool:
        """True if two side expressions compute the same, or are weights of one shape."""
        return names[0] == names[1] or self._leaf(edges[0], names[0]) == self._leaf(edges[1], names[1])

    def pair(self, left: Sequence[Segment], right: Sequence[Segment]) -> tuple[dict[int, int], dict[Edge, Edge]]:
        """Which node and which reading of a constant of unit `right` stands where one of unit `left` does.

        The segments of both have one signature, so walking them from their ends side by side meets equal things.
        Followed numbers are not walked into: exporters share shape arithmetic between blocks as they please.
        """
        nodes: dict[int, int] = {}
        edges: dict[Edge, Edge] = {}
        waiting = [*zip(left[-1].ends, right[-1].ends, strict=True)]
        seen = {*zip(left[0].starts, right[0].starts, strict=True)}
        while waiting:
            names = waiting.pop()
            if names in seen:
                continue
            seen.add(names)
            a, b = (self.graph.producer.get(name) for name in names)
            if a is None or b is None:
                continue
            nodes[b] = a
            reads = zip(self.graph.nodes[a].input, self.graph.nodes[b].input, strict=True)
            for edge_a, edge_b, (x, y) in zip(self.graph.reads[a], self.graph.reads[b], reads, strict=True):
                if edge_a in self.analysis.uses and edge_b in self.analysis.uses:
                    edges[edge_b] = edge_a
                elif x and y and self._walked(x) and self._walked(y):
                    waiting.append((x, y))
        return nodes, edges

    def behind_segment(self, segment: Segment) -> set[int]:
        """The nodes of a segment and the side nodes it reads, as far as they can be followed."""
        found = set(segment.nodes)
        waiting = list(segment.nodes)
        while waiting:
            for name in self.graph.nodes[waiting.pop()].input:
                index = self.graph.producer.get(name)
                if name not in segment.starts and index is not None and index not in found and self._walked(name):
                    found.add(index)
                    waiting.append(index)
        return found

    def private(self, unit: Sequence[Segment]) -> set[int]:
        """The nodes that serve one unit alone: those on its path, and side nodes that nothing else reads.

        Their shapes may be read anywhere: exporters share shape arithmetic between blocks as they please. What leaves
        the graph from them, moved at most, is the unit's own: keys and values that are made for a cache.
        """
        on_path = {index for segment in unit for index in segment.nodes}
        inside = set().union(*(self.behind_segment(segment) for segment in unit))
        own: set[int] = set()
        for index in sorted(inside, reverse=True):
            edges = [e for name in self.graph.nodes[index].output for e in self.graph.consumers.get(name, ())]
            readers = {self.graph.order.home(edge.node) for edge in edges if not self._counts(edge.node)}
            if index in on_path or readers - self._leaving <= own:
                own.add(index)
        return own

    @cached_property
    def _leaving(self) -> set[int]:
        """The nodes without weights whose data leave the graph, and go nowhere else."""
        found: set[int] = set()
        outputs = set(self.graph.outputs)
        for index in range(len(self.graph.nodes) - 1, -1, -1):
            names = self.outputs[index]
            edges = [edge for name in names for edge in self.graph.consumers.get(name, ())]
            readers = {edge.node for edge in edges if not self._counts(edge.node)}
            if not self.weighted[index] and readers <= found and (readers or not outputs.isdisjoint(names)):
                found.add(index)
        return found

    def _counts(self, index: int) -> bool:
        """True for shape arithmetic: all that a node makes are followed numbers."""
        return not any(self._walked(name) for name in self.outputs[index])

    def _walked(self, name: str) -> bool:
        fact = self.analysis.facts.get(name)
        return fact is not None and fact.value is None
