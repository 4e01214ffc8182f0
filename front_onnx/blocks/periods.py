"""Layers of several kinds in turn: local and global attention, where the number of layers is no multiple of the period.

Two local layers and a global one, again and again, are units of three layers. What is left at the end is the beginning
of a next unit: it is counted, and never repeated, so that every depth a chain can have goes on as the pattern does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

from front_onnx.blocks.entry import precedes
from front_onnx.blocks.paths import Path
from front_onnx.blocks.runs import Run
from front_onnx.blocks.segments import Flow, Segment

__all__ = ["from_its_beginning", "in_turn"]


def in_turn(flow: Flow, path: Path) -> Path:
    """A path whose layers of one kind, parted by one layer of another kind, are a unit; the others as they are.

    A, A, B, A, A is no chain of A beside another one: it is A, A, B and the beginning of a next unit.
    """
    runs: list[Run] = []
    waiting = list(path.runs)
    while waiting:
        run = waiting.pop(0)
        other = Run(run.stop, run.period, 1)  # a layer of another kind
        if run.count > 1 and _is_layer(flow, path, run, other, waiting):
            behind = waiting[0] if waiting and waiting[0].start == other.stop else None
            if behind is None:
                again = _is_framed(flow, path, run)
            else:
                again = behind.count <= run.count and _signatures(path, behind) == _signatures(path, run)
            if again:
                waiting = waiting[1:] if behind is not None else waiting
                run = Run(run.start, run.period * (run.count + 1), 1)
        runs.append(run)
    return replace(path, runs=runs)


def _is_layer(flow: Flow, path: Path, run: Run, other: Run, runs: Sequence[Run]) -> bool:
    """True if what is behind a run holds the weights of one more layer of it, by shape and name, and is in no run."""
    taken = {i for each in runs for i in range(each.start, each.stop)}
    if other.stop > len(path.segments) or not taken.isdisjoint(range(other.start, other.stop)):
        return False
    last, more = path.segments[run.stop - run.period : run.stop], path.segments[other.start : other.stop]
    return precedes(flow, last, more)


def _is_framed(flow: Flow, path: Path, run: Run) -> bool:
    """True if a layer of another kind is before a run as well: the run is no chain that ends in an odd layer."""
    start = run.start
    while start > 0:
        start -= 1
        before = path.segments[start : run.start]
        if precedes(flow, before, path.segments[run.start : run.start + run.period]):
            return True
    return False


def _signatures(path: Path, run: Run) -> list[int]:
    """What the first unit of a run is."""
    return [segment.signature for segment in path.segments[run.start : run.start + run.period]]


def from_its_beginning(path: Path, run: Run, lengths: Sequence[int]) -> tuple[Run, tuple[Segment, ...], int] | None:
    """A run from the first whole layer that repeats, what is left behind its units, and how many layers that is.

    None where a unit holds one layer. `lengths`: the segments of each layer of a unit.
    """
    if len(lengths) < 2:
        return None
    signatures = [segment.signature for segment in path.segments]
    start, stop = run.start, run.stop
    while start > 0 and signatures[start - 1] == signatures[start - 1 + run.period]:
        start -= 1
    while stop < len(signatures) and signatures[stop] == signatures[stop - run.period]:
        stop += 1
    layers = deque(lengths)
    first = run.start
    while first - layers[-1] >= start:
        first -= layers[-1]
        layers.rotate(1)
    found = Run(first, run.period, (stop - first) // run.period)
    ends = [end for end in accumulate(layers, initial=found.stop) if end <= stop]
    return found, tuple(path.segments[found.stop : ends[-1]]), len(ends) - 1
