"""Cuts of several tensors: blocks that hand on two streams, a sum beside its norm, queries beside their boxes.

Where all data pass one tensor, `paths.py` finds it. What is left are stretches with no such tensor between their ends:
there, the tensors that are live behind a node are a cut if they are few. A stream that a unit hands on as it was given
(a mask, a skip around all blocks) is none: two at least have to be made anew, by weights that read what is made anew.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from front_onnx.blocks.runs import Run, find_runs
from front_onnx.blocks.segments import Flow, Segment

__all__ = ["WidePath", "find_wide"]

_WIDEST = 4  # tensors in a cut at most
_LONGEST = 512  # segments in a unit at most: nearly every node of a branch is a cut of two
_GAIN = 1.05  # how much more other cuts have to explain
_PART = 5  # of two blocks a fifth has to be alike before they are compared node by node
_WHOLE = 0.95  # of a stretch that repeats: nothing else is looked for
_SHARE = 3  # a third of the rows of weights in a stretch has to repeat
_TRIED = 8  # stretches that are searched, the longest first
_STARTS = 3  # of them with one end

_Cut = tuple[tuple[str, ...], list[int]]


@dataclass(frozen=True)
class WidePath:
    """Segments between cuts of several tensors, in order, and the runs among them."""

    segments: list[Segment]
    runs: list[Run]

    @property
    def explained(self) -> int:
        """How many nodes repeat."""
        return sum(len(self.nodes_of(run)) for run in self.runs)

    def nodes_of(self, run: Run) -> set[int]:
        """The nodes that a run repeats."""
        return {index for segment in self.segments[run.start : run.stop] for index in segment.nodes}


def find_wide(flow: Flow, stretches: Collection[Segment], covered: set[int]) -> Iterator[WidePath]:
    """The path of cuts of several tensors through each stretch, where blocks repeat along it.

    No node is repeated on two, or `covered` before.
    """
    outputs = [name for name in flow.graph.outputs if not flow.graph.consumers.get(name)]
    outputs = outputs if len(outputs) <= _WIDEST else []
    searched = set[object]()
    for stretch in _longest([found for found in stretches if _repeats(flow, found)]):
        if not covered.isdisjoint(stretch.nodes):
            continue
        best = WidePath([], [])
        for walk in _walks(flow, stretch, outputs):
            if walk.key in searched:
                continue
            searched.add(walk.key)
            for width in range(2, _WIDEST + 1):
                found = _path(flow, walk, width, covered)
                if found.explained > _GAIN * best.explained:
                    best = found
            if best.explained > _WHOLE * len(stretch.nodes):
                break
        if best.runs:
            covered.update(*map(best.nodes_of, best.runs))
            yield best


def _repeats(flow: Flow, stretch: Segment) -> bool:
    """True if the weights of a stretch that are summed over, one row behind another, repeat over most of it."""
    depths = dict[str, int]()
    rows = defaultdict[int, Counter[str]](Counter)
    for index in stretch.nodes:
        depth = max((depths.get(name, 0) for name in flow.inputs[index]), default=0)
        if index in flow.analysis.summing:
            node = flow.graph.nodes[index]
            held = (flow.graph.constants[name].dims for name in node.input if name in flow.graph.constants)
            rows[depth][str((node.op_type, *map(list, held)))] += 1
            depth += 1
        depths.update(dict.fromkeys(flow.outputs[index], depth))
    kinds = [str(sorted(rows[depth].items())) for depth in range(len(rows))]
    for period in range(1, len(kinds)):
        same = [one == other for one, other in zip(kinds, kinds[period:], strict=False)]
        row = max((len(alike) for alike in "".join("x" if alike else " " for alike in same).split()), default=0)
        if 2 * row >= period and _SHARE * (row + period) >= len(kinds):
            return True
    return False


def _longest(stretches: Collection[Segment]) -> list[Segment]:
    """The longest stretches, a few to each end."""
    count = Counter[tuple[str, ...]]()
    found = []
    for stretch in sorted(stretches, key=lambda found: -len(found.nodes)):
        count[stretch.ends] += 1
        if count[stretch.ends] <= _STARTS:
            found.append(stretch)
    return found[:_TRIED]


class _Walk:
    """A way through some nodes: from tensors that they are given to those that are wanted of them.

    What is read over more than `span` nodes is carried beside all blocks, and in no cut.
    """

    def __init__(
        self, flow: Flow, starts: Sequence[str], wanted: Sequence[str], nodes: Sequence[int], span: int | None = None
    ) -> None:
        self.flow, self.wanted, self.nodes = flow, {*wanted}, nodes
        self.key = tuple(starts), tuple(wanted), span  # nothing else parts it from others
        self.readers: dict[str, list[tuple[int, int]]] = defaultdict(list)  # by tensor: (node, slot), in order
        places = dict[str, list[int]]()
        for place, index in enumerate(nodes):
            for slot, name in enumerate(flow.inputs[index]):
                self.readers[name].append((index, slot))
                places.setdefault(name, [place, place])[1] = place
        self.carried = {name for name, (first, last) in places.items() if span is not None and last - first > span}
        for name in self.carried:
            del self.readers[name]
        self.starts = tuple(name for name in starts if name not in self.carried)

    def cuts(self, width: int) -> Iterator[_Cut]:
        """The live tensors where they are few, each time with the nodes since the cut before.

        In order of who reads them first: that depends on the block that follows alone.
        """
        left = {name: len(self.readers[name]) + (name in self.wanted) for name in self.starts}
        left = {name: count for name, count in left.items() if count}
        if left:
            yield self._ordered(left, -1), []
        pending: list[int] = []
        for index in self.nodes:
            pending.append(index)
            for name in self.flow.inputs[index]:
                if name in left:
                    left[name] -= 1
                    if not left[name]:
                        del left[name]
            for name in self.flow.outputs[index]:
                if uses := len(self.readers.get(name, ())) + (name in self.wanted):
                    left[name] = uses
            if 0 < len(left) <= width:
                yield self._ordered(left, index), pending
                pending = []

    def _ordered(self, names: Collection[str], behind: int) -> tuple[str, ...]:
        def first(name: str) -> tuple[int, int]:
            return next((reading for reading in self.readers.get(name, ()) if reading[0] > behind), (1 << 62, 0))

        made = self.flow.graph.producer
        return tuple(sorted(names, key=lambda name: (first(name), made.get(name, -1), name)))


def _walks(flow: Flow, stretch: Segment, wanted: Sequence[str]) -> Iterator[_Walk]:
    """From all there is to the end of a stretch, or to all outputs; from what it begins with to its end.

    First with all that is read there, then without what is carried along, a mask or the memory of a decoder.
    """
    ends_of_all = [ends for ends in dict.fromkeys((tuple(wanted), stretch.ends)) if ends]
    ways: list[tuple[tuple[str, ...], tuple[str, ...], Sequence[int]]]
    ways = [((), ends, sorted(flow.behind(*ends))) for ends in ends_of_all]
    ways.append((stretch.starts, stretch.ends, stretch.nodes))
    for part in (None, 2, 4, 8):
        for starts, ends, nodes in ways:
            walk = _Walk(flow, starts, ends, nodes, part and len(nodes) // part)
            if part is None or walk.carried:
                yield walk


def _path(flow: Flow, walk: _Walk, width: int, covered: set[int]) -> WidePath:
    cuts = pairwise(walk.cuts(width))
    segments = [flow.segment(starts, ends, nodes) for (starts, _), (ends, nodes) in cuts]
    runs: list[Run] = []
    for run in find_runs(flow, segments, _LONGEST):
        ends = _ends(flow, segments, run)
        if ends is None or not _is_made_anew(flow, segments, run, ends):
            continue
        segments[run.stop - 1] = replace(segments[run.stop - 1], ends=ends)
        runs.append(run)
    for tried in [runs] if runs else ([run] for run in _nearly(flow, segments)):
        found = _extended(flow, WidePath(segments, tried))
        known = [run for run in found.runs if run.count > 1 and covered.isdisjoint(found.nodes_of(run))]
        known = [
            run for run in known if _is_closed(flow, found.segments, run) and _in_series(flow, found.segments, run)
        ]
        if known:
            return replace(found, runs=known)
    return WidePath(segments, [])


def _nearly(flow: Flow, segments: Sequence[Segment]) -> list[Run]:
    """Single units of which a part repeats what is before them: the first of two blocks may begin otherwise."""
    signatures = np.array([s.signature for s in segments], np.int64)
    sizes = np.cumsum([0, *(len(s.nodes) for s in segments)])
    found = []
    for period in range(1, min(_LONGEST, len(segments) - 1) + 1):
        same = np.concatenate(([False], signatures[:-period] == signatures[period:], [False]))
        for start, end in np.flatnonzero(same[1:] != same[:-1]).reshape(-1, 2).tolist():
            alike, whole = sizes[end] - sizes[start], sizes[end + period] - sizes[end]
            if _PART * alike >= whole and any(flow.weighted[i] for s in segments[start:end] for i in s.nodes):
                found.append((alike, Run(end, period, 1)))
    found.sort(key=lambda pair: (-pair[0], pair[1].period))
    runs = [run for _, run in found[:_TRIED]]
    return [run for run in runs if _is_made_anew(flow, segments, run, segments[run.stop - 1].ends)]


def _extended(flow: Flow, path: WidePath) -> WidePath:
    """A path whose runs begin with the first unit that there is, wherever its streams come from."""
    segments = list(path.segments)
    runs: list[Run] = []
    for run in sorted(path.runs, key=lambda run: -run.start):
        start, count = run.start, run.count
        while before := _before(flow, segments[start : start + run.period]):
            taken = {index for segment in before for index in segment.nodes}
            first = start
            while first > 0 and not taken.isdisjoint(segments[first - 1].nodes):
                first -= 1
            if any(first < other.stop and other.start < start for other in path.runs):
                break
            segments[first:start] = before
            moved = len(before) - (start - first)
            runs = [replace(other, start=other.start + moved) for other in runs]
            start, count = first, count + 1
        runs.append(Run(start, run.period, count))
    return WidePath(segments, sorted(runs, key=lambda run: run.start))


def _ends(flow: Flow, segments: Sequence[Segment], run: Run) -> tuple[str, ...] | None:
    """The tensors that the last unit hands on, in the order in which the others do; None if they do so in several."""
    for place in range(run.start, run.stop - run.period - 1):
        if flow.made_by(segments[place]) != flow.made_by(segments[place + run.period]):
            return None
    last = segments[run.stop - 1]
    left = list(zip(flow.made_by(last), last.ends, strict=True))
    ends = []
    for wanted in flow.made_by(segments[run.start + run.period - 1]):
        pair = next(pair for pair in left if pair[0] == wanted)
        left.remove(pair)
        ends.append(pair[1])
    return tuple(ends)


def _is_made_anew(flow: Flow, segments: Sequence[Segment], run: Run, ends: tuple[str, ...]) -> bool:
    """True if units make several streams anew, and a weight of the last reads some and makes some.

    None is made elsewhere and handed on in turn: each of the scales of a block takes the next piece of one tensor.
    """
    last = segments[run.stop - run.period : run.stop]
    if len(last[0].starts) != len(ends):
        return False
    inside = {index for segment in segments[run.start : run.stop] for index in segment.nodes}
    streams = [(start, end) for start, end in zip(last[0].starts, ends, strict=True) if start != end]
    reached, made = {start for start, _ in streams}, {end for _, end in streams}
    if not inside.issuperset(flow.graph.producer.get(end, -1) for end in made):
        return False
    nodes = [index for segment in last for index in segment.nodes]
    weighted = set[str]()
    for index in nodes:
        if not reached.isdisjoint(flow.inputs[index]):
            reached.update(flow.outputs[index])
            if index in flow.analysis.summing or not weighted.isdisjoint(flow.inputs[index]):
                weighted.update(flow.outputs[index])
    return _least(segments, run) > 1 and len(made) > 1 and not weighted.isdisjoint(made)


def _in_series(flow: Flow, segments: Sequence[Segment], run: Run) -> bool:
    """True if weights of the last unit read what weights of the one before it made; those of parallel layers do not."""
    made = set[str]()
    for stop in (run.stop - run.period, run.stop):
        reached, weighted = made, False
        made = set()
        for index in sorted(i for s in segments[stop - run.period : stop] for i in s.nodes):
            summed = index in flow.analysis.summing
            if not reached.isdisjoint(flow.inputs[index]):
                reached = reached | {*flow.outputs[index]}
                weighted = weighted or summed
            if summed or not made.isdisjoint(flow.inputs[index]):
                made.update(flow.outputs[index])
    return weighted


def _least(segments: Sequence[Segment], run: Run) -> int:
    """How many streams are made anew at least, wherever a unit begins; one where something only bridges blocks."""
    pairs = ((segments[p].starts, segments[p + run.period].starts) for p in range(run.start, run.stop - run.period))
    return min((sum(a != b for a, b in zip(*pair, strict=False)) for pair in pairs), default=2)


def _is_closed(flow: Flow, segments: Sequence[Segment], run: Run) -> bool:
    """True if nothing reads what is inside of a unit, nor what goes from one to the next, from outside."""
    units = [segments[start : start + run.period] for start in range(run.start, run.stop, run.period)]
    inside = [{index for segment in unit for index in segment.nodes} for unit in units]
    for number, nodes in enumerate(inside):
        for name in (name for index in nodes for name in flow.outputs[index]):
            allowed, place = nodes, number
            while place < len(units) and name in units[place][-1].ends:
                place += 1
                allowed = allowed | inside[place] if place < len(units) else allowed
            readers = {flow.graph.order.home(edge.node) for edge in flow.graph.consumers.get(name, ())}
            if place < len(units) and any(flow.makes_data(reader) for reader in readers - allowed):
                return False
    return True


def _before(flow: Flow, unit: Sequence[Segment]) -> list[Segment] | None:
    """The unit before one: what makes the tensors that it begins with as it makes those that it hands on.

    Its own beginning may be no cut: two streams that begin as one tensor, or a stream that comes from aside.
    """
    inside = {index for segment in unit for index in segment.nodes}
    like = dict[str, str]()  # by tensor of the unit, the one in its place
    nodes = dict[int, int]()
    waiting = list(zip(unit[-1].ends, unit[0].starts, strict=True))
    while waiting:
        mine, theirs = waiting.pop()
        if mine in like:
            if like[mine] != theirs:
                return None
            continue
        like[mine] = theirs
        a, b = (flow.graph.producer.get(name, -1) for name in (mine, theirs))
        if mine in unit[0].starts:
            continue
        if b < 0 or a < 0 or not flow.alike(a, b) or b in inside or nodes.get(a, b) != b:
            return None
        if list(flow.outputs[a]).index(mine) != list(flow.outputs[b]).index(theirs):
            return None
        nodes[a] = b
        reads = zip(flow.graph.reads[a], flow.graph.reads[b], strict=True)
        inputs = zip(flow.graph.nodes[a].input, flow.graph.nodes[b].input, strict=True)
        for edges, names in zip(reads, inputs, strict=True):
            within = names[0] in unit[0].starts or flow.graph.producer.get(names[0]) in inside
            if within or not flow.same_aside(edges, names):
                waiting.append(names)
    if len({*nodes.values()}) < len(nodes) or not inside <= nodes.keys() or not {*unit[0].starts} <= like.keys():
        return None

    def there(names: Sequence[str]) -> tuple[str, ...]:
        return tuple(like[name] for name in names)

    return [
        replace(s, starts=there(s.starts), ends=there(s.ends), nodes=tuple(sorted(nodes[i] for i in s.nodes)))
        for s in unit
    ]
