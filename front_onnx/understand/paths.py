"""Paths: the ways data takes through a graph, along which repeats are looked for.

A path leads from a source to a sink. The first sink is the main output; a model of several towers, or of an encoder
and a decoder, has more: each further output, and each tensor that enters a path from the side and has layers of its
own behind it. A long way around (the stem added to the end of a body) hides every cut between its ends, so each
source is also tried with its last reading left aside.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from front_onnx.understand.runs import Run, find_runs
from front_onnx.understand.segments import Flow, Segment

__all__ = ["Path", "find_paths"]

_SEARCHES = 8  # sinks at most
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
    """Paths with repeated blocks, those that explain most first; no block is on two of them."""
    found: list[Path] = []
    covered: set[int] = set()
    sides: set[str] = set()
    tried: set[str] = set()
    for _ in range(_SEARCHES):
        depths = flow.depths_behind(covered)
        waiting = [name for name in flow.graph.outputs if depths.get(name, 0) > 1]
        waiting += [name for name in sides if depths.get(name, 0) >= _DEEP]
        waiting = [name for name in waiting if name not in tried]
        if not waiting:
            break
        sink = max(waiting, key=lambda name: (depths[name], name))
        tried.add(sink)
        for path in _candidates(flow, sink):
            repeated = path.repeated
            if repeated and covered.isdisjoint(repeated):
                found.append(path)
                covered |= path.nodes
                sides |= set(flow.entering(path.nodes))
    return found


def _candidates(flow: Flow, sink: str) -> list[Path]:
    """The paths to a sink, those that explain most first."""
    behind = flow.behind(sink)
    paths = [Path(segments, find_runs(flow, segments)) for segments in _ways(flow, sink, behind)]
    return sorted(paths, key=lambda path: -len(path.repeated))


def _ways(flow: Flow, sink: str, behind: set[int]) -> Iterator[list[Segment]]:
    tried: set[tuple[str, ...]] = set()
    for source in flow.sources(behind):
        for aside in (False, True):
            cuts = flow.cuts(source, sink, behind, aside=aside)
            tail = tuple(name for name, _ in cuts[1:])
            if tail not in tried:
                tried.add(tail)
                yield flow.segments(cuts)
