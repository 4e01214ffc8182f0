"""Paths: the ways data takes through a graph, along which repeats are looked for.

A path leads from a source to a sink. The first sink is the main output; a model of several towers, or of an encoder
and a decoder, has more: each further output, and each tensor that enters a path from the side and has layers of its
own behind it. A long way around (the stem added to the end of a body) hides every cut between its ends, so each
source is also tried with its last reading left aside. Many such ways (the features of all stages of a hierarchy meet in
its head) hide more: what meets where the longest stretch without repeats ends is tried as a sink as well, and within
each stretch that is left what meets at its end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

from front_onnx.blocks.runs import Run, find_runs
from front_onnx.blocks.segments import Flow, Segment
from front_onnx.blocks.wide import find_wide

__all__ = ["Path", "find_paths"]

_SEARCHES = 8  # sinks at most
_MEETINGS = 6  # sinks tried for each, at most
_STARTS = 6  # tensors within a stretch that are tried as the place where a chain could start
_DEEP = 4  # weighted nodes in a row behind a tensor that enters from the side, at least


@dataclass(frozen=True)
class Path:
    """Segments in order, and the runs among them."""

    segments: list[Segment]
    runs: list[Run]

    @property
    def repeated(self) -> set[int]:
        """The nodes of the runs."""
        return {i for run in self.runs for s in self.segments[run.start : run.stop] for i in s.nodes}

    @property
    def nodes(self) -> set[int]:
        """All nodes on the path."""
        return {i for segment in self.segments for i in segment.nodes}


def find_paths(flow: Flow) -> list[Path]:
    """Paths with repeated blocks, those that explain most first; no node is on two of them."""
    found: list[Path] = []
    plain: dict[tuple[int, ...], Segment] = {}  # stretches that no single tensor cuts
    covered: set[int] = set()
    sides: set[str] = set()
    tried: set[str] = set()
    needed: set[int] = set()  # what the deepest output depends on
    for _ in range(_SEARCHES):
        depths = flow.depths_behind(covered)
        waiting = [name for name in flow.graph.outputs if depths.get(name, 0) > 1]
        waiting += [name for name in sides if depths.get(name, 0) >= _DEEP]
        waiting = [name for name in waiting if name not in tried]
        if not waiting:
            break
        sink = max(waiting, key=lambda name: (depths[name], name))
        tried.add(sink)
        needed = needed or flow.behind(sink)
        for path in _candidates(flow, sink, needed):
            plain |= {segment.nodes: segment for segment in _long(flow, path)}
            path = _uncovered(path, covered)
            path = replace(path, runs=[run for run in path.runs if _closed(flow, path, run, needed)])
            if path.repeated:
                found.append(path)
                covered |= path.nodes - {i for segment in _long(flow, path) for i in segment.nodes}
                sides |= {*flow.entering(path.nodes), *_meeting(flow, path)[1]}
    found += _inner_paths(flow, plain, covered, needed)
    left = [segment for segment in plain.values() if covered.isdisjoint(segment.nodes)]
    return found + [Path(wide.segments, wide.runs) for wide in find_wide(flow, left, covered)]


def _inner_paths(
    flow: Flow, plain: dict[tuple[int, ...], Segment], covered: set[int], needed: set[int]
) -> Iterator[Path]:
    """Paths within stretches that no single tensor cuts, to what meets where they end; `plain`, `covered` grow."""
    waiting = list(plain.values())
    for stretch in waiting:
        inside = set(stretch.nodes)
        if not covered.isdisjoint(inside):
            continue
        made = (name for index in stretch.nodes if flow.weighted[index] for name in flow.outputs[index][:1])
        sources = [stretch.start, *islice(made, _STARTS)]
        best = Path([], [])
        for sink in _meeting(flow, Path([stretch], []))[1]:
            for segments in _ways(flow, sink, flow.behind(sink, within=inside), sources):
                if all(inside.issuperset(segment.nodes) for segment in segments):
                    runs = find_runs(flow, segments)
                    path = Path(segments, [run for run in runs if _closed(flow, Path(segments, runs), run, needed)])
                    best = max(best, path, key=lambda found: len(found.repeated))
        if best.repeated:
            yield best
            inner = _long(flow, best)
            covered |= best.nodes - {index for segment in inner for index in segment.nodes}
            waiting += inner
            plain |= {segment.nodes: segment for segment in inner}


def _uncovered(path: Path, covered: set[int]) -> Path:
    """The stretch of a path that explains most and holds nothing that is on another path."""
    best = Path([], [])
    start = 0
    for stop, segment in enumerate([*path.segments, None]):
        if segment is None or not covered.isdisjoint(segment.nodes):
            runs = [replace(r, start=r.start - start) for r in path.runs if start <= r.start and r.stop <= stop]
            best = max(best, Path(path.segments[start:stop], runs), key=lambda found: len(found.repeated))
            start = stop + 1
    return best


def _closed(flow: Flow, path: Path, run: Run, needed: set[int]) -> bool:
    """True if nothing that is needed reads a unit but the next one, and what follows the last one."""
    on_path = path.nodes
    for start in range(run.start, run.stop, run.period):
        unit = path.segments[start : start + run.period]
        inside = {index for segment in unit for index in segment.nodes}
        last = start + run.period == run.stop
        for index in inside:
            for name in flow.outputs[index]:
                handed = name in unit[-1].ends
                if handed and last:
                    continue
                allowed = on_path if handed else inside
                readers = {flow.graph.order.home(edge.node) for edge in flow.graph.consumers.get(name, ())}
                if any(reader in needed and flow.makes_data(reader) for reader in readers - allowed):
                    return False
    return True


def _long(flow: Flow, path: Path) -> list[Segment]:
    """The segments without repeats that may hold chains of their own."""
    repeated = path.repeated
    plain = (segment for segment in path.segments if repeated.isdisjoint(segment.nodes))
    return [segment for segment in plain if sum(flow.weighted[i] for i in segment.nodes) >= _DEEP]


def _candidates(flow: Flow, sink: str, needed: set[int]) -> list[Path]:
    """The paths to a sink and to what meets before it, those that explain most first."""
    paths: list[Path] = []
    waiting = [sink]

    def ways(sink: str) -> Iterator[Path]:
        behind = flow.behind(sink)
        for segments in _ways(flow, sink, behind, flow.sources(behind)):
            yield Path(segments, find_runs(flow, segments))

    for _ in range(_MEETINGS):
        if not waiting:
            break
        sink = waiting.pop(0)
        found = list(ways(sink))
        best = max(found, key=lambda path: len(path.repeated), default=None)
        paths += found
        end, meeting = _meeting(flow, best) if best is not None else ("", [])
        waiting += meeting
        if end:
            ending = list(ways(end))
            if all(_closed(flow, path, run, needed) for path in ending for run in path.runs):
                paths += ending  # else blocks behind are those before, and something bridges them
    return sorted(paths, key=lambda path: -len(path.repeated))


def _meeting(flow: Flow, path: Path) -> tuple[str, list[str]]:
    """The tensors that meet at the end of the longest stretch without repeats, the deepest first; [] if it is short.

    Where they are a branch and what it passes by, they meet at the end of a block, which comes first; "" elsewhere.
    """
    longest = max(_long(flow, path), key=lambda segment: len(segment.nodes), default=None)
    if longest is None:
        return "", []
    inside = set(longest.nodes)
    single, waiting = "", [longest.end]
    while len(waiting) == 1:
        (single,) = waiting
        index = flow.graph.producer.get(single, -1)
        waiting = [n for n in flow.inputs[index] if flow.graph.producer.get(n) in inside] if index in inside else []
    deepest = sorted(waiting, key=lambda name: -flow.graph.producer[name])
    passed = single != longest.end and len(deepest) > 1 and deepest[-1] in _made_of(flow, deepest[0], inside)
    return single if passed else "", deepest


def _made_of(flow: Flow, name: str, inside: set[int]) -> set[str]:
    """The tensors that one is made of, within some nodes."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        index = flow.graph.producer.get(waiting.pop(), -1)
        if index in inside:
            more = set(flow.inputs[index]) - found
            found |= more
            waiting += more
    return found


def _ways(flow: Flow, sink: str, behind: set[int], sources: Iterable[str]) -> Iterator[list[Segment]]:
    tried: set[tuple[str, ...]] = set()
    for source in sources:
        for aside in (False, True):
            cuts = flow.cuts(source, sink, behind, aside=aside)
            tail = tuple(name for name, _ in cuts[1:])
            if tail not in tried:
                tried.add(tail)
                yield flow.segments([*_row_to(flow, source, behind), *cuts[1:]])


def _row_to(flow: Flow, source: str, behind: set[int]) -> list[tuple[str, list[int]]]:
    """The cuts of the row of nodes that makes a source, from where it parts from others: a branch begins there."""
    found: list[tuple[str, list[int]]] = []
    while (index := flow.graph.producer.get(source, -1)) in behind:
        read = flow.inputs[index]
        if len(read) != 1 or len(flow.outputs[index]) != 1 or (found and _is_read_elsewhere(flow, source)):
            break
        found.append((source, [index]))
        (source,) = read
    return [(source, []), *reversed(found)]


def _is_read_elsewhere(flow: Flow, name: str) -> bool:
    """True if several nodes read a tensor as data."""
    return sum(flow.makes_data(flow.graph.order.home(edge.node)) for edge in flow.graph.consumers.get(name, ())) > 1
