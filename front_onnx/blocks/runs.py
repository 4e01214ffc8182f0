"""Runs: stretches of a path of segments whose signatures repeat with some period.

One period is a unit. Runs of one unit are recognised by the skeleton they share with a longer run, if they give back
the axes they are given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

import numpy as np

from front_onnx.axes.size import Axis, size_of
from front_onnx.blocks.names import counted_names
from front_onnx.blocks.segments import Flow, Segment
from front_onnx.operators.analysis import Analysis

__all__ = ["Run", "find_runs", "single_runs"]

_LONGEST = 96  # segments in a unit at most


@dataclass(frozen=True)
class Run:
    """`count` units of `period` segments each, from segment `start` on."""

    start: int
    period: int
    count: int

    @property
    def stop(self) -> int:
        """The segment behind the last unit."""
        return self.start + self.period * self.count


def find_runs(flow: Flow, segments: Sequence[Segment], longest: int = _LONGEST) -> list[Run]:
    """Disjoint runs of at least two units of `longest` segments at most, those that explain most nodes first."""
    signatures = np.array([s.signature for s in segments], np.int64)
    nodes = [0, *accumulate(len(s.nodes) for s in segments)]
    found: list[tuple[int, int, int, int]] = []
    for period in range(1, min(longest, len(segments) // 2) + 1):
        same = np.concatenate(([False], signatures[:-period] == signatures[period:], [False]))
        for start, end in np.flatnonzero(same[1:] != same[:-1]).reshape(-1, 2).tolist():
            if end - start >= period:
                found.append((nodes[end] - nodes[start], -period, start, end + period))
    taken: set[int] = set()
    runs: list[Run] = []
    for _, negative, start, stop in sorted(found, reverse=True):
        period = -negative
        if not taken.isdisjoint(range(start, stop)):
            continue
        if not any(flow.weighted[i] for s in segments[start : start + period] for i in s.nodes):
            continue
        run = _best_rotation(flow, segments, start, stop, period)
        if not _learns(flow, segments, run):
            continue
        taken.update(range(run.start, run.stop))
        runs.append(run)
    return runs


def _learns(flow: Flow, segments: Sequence[Segment], run: Run) -> bool:
    """True if a unit sums over a weight or has weights of its own; a mask that is added twice makes no block."""
    units = [segments[i : i + run.period] for i in range(run.start, run.stop, run.period)]
    nodes = {i for segment in units[0] for node in segment.nodes for i in (node, *flow.graph.order.inside(node))}
    return not flow.analysis.summing.isdisjoint(nodes) or bool(counted_names(flow, units))


def _best_rotation(flow: Flow, segments: Sequence[Segment], start: int, stop: int, period: int) -> Run:
    """Where a unit begins: names that count decide, then the fewest tensors, then the latest start.

    A norm closes its block.
    """
    count = (stop - start) // period
    best = Run(start, period, count)
    most = (-1, 0)
    for first in range(start, stop - count * period + 1):
        run = Run(first, period, count)
        units = [segments[first + i * period : first + (i + 1) * period] for i in range(count)]
        score = counted_names(flow, units), -len(segments[first].starts)
        if score >= most:
            best, most = run, score
    return best


def single_runs(analysis: Analysis, segments: Sequence[Segment], runs: Sequence[Run]) -> list[Run]:
    """Stretches between runs with the skeleton of a run's unit that give back the axes they are given."""
    taken = {i for run in runs for i in range(run.start, run.stop)}
    found: list[Run] = []
    for run in sorted(runs, key=lambda r: -r.period):
        skeleton = [s.skeleton for s in segments[run.start : run.start + run.period]]
        for i in range(len(segments) - run.period + 1):
            here = range(i, i + run.period)
            if taken.isdisjoint(here) and [segments[j].skeleton for j in here] == skeleton:
                given, made = segments[i].starts, segments[i + run.period - 1].ends
                if len(given) == len(made) and all(map(partial(_same_axes, analysis), given, made)):
                    taken.update(here)
                    found.append(Run(i, run.period, 1))
    return found


def _same_axes(analysis: Analysis, left: str, right: str) -> bool:
    a, b = analysis.facts[left].axes, analysis.facts[right].axes
    return (
        a is not None
        and b is not None
        and len(a) == len(b)
        and all(_same(analysis, x, y) for x, y in zip(a, b, strict=True))
    )


def _same(analysis: Analysis, left: Axis, right: Axis) -> bool:
    """True for one axis, and for axes that differ only in factors that stay (the groups of a shuffle)."""
    kept = [tuple(var for var in analysis.algebra.expand(axis) if not var.fixed) for axis in (left, right)]
    return analysis.algebra.same(left, right) or (
        bool(kept[0]) and size_of(left) == size_of(right) and analysis.algebra.same(*kept)
    )
