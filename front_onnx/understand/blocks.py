"""Blocks: the repeated unit of a graph, how often it repeats, and which tensors stand in the same place of each.

A **run** is a stretch of segments whose signatures repeat with some period; one period is a **unit**. A unit may hold
several layers (windowed and shifted attention alternate). The first block of a stage may differ (stride, more
channels): then it is the **lead**, counted in the depth as architectures count it and never repeated. Runs of one unit
are recognised by the skeleton they share with a longer run, if they give back the axes they are given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from front_onnx.read.graph import Edge
from front_onnx.understand.analysis import Analysis
from front_onnx.understand.atoms import Conflict, size_of
from front_onnx.understand.names import common_stem, counts
from front_onnx.understand.segments import Flow, Segment

__all__ = ["Chain", "chain_at", "find_chains"]

_LONGEST = 96  # segments in a unit at most


@dataclass(frozen=True)
class Chain:
    """A chain of equal units, each fed by the one before.

    Attributes:
        name: the stem of its parameter names, or chain1, chain2, ...
        units: the segments of each unit, in order.
        lead: the segments of a first block that differs, counted in the depth.
        layers: how many layers a unit holds.
        places: for each reading of a constant in the first unit, that in the same place of every unit.
        nodes: for each node of the first unit, the node in the same place of every unit.
    """

    name: str
    units: tuple[tuple[Segment, ...], ...]
    lead: tuple[Segment, ...]
    layers: int
    places: dict[Edge, tuple[Edge, ...]] = field(repr=False)
    nodes: dict[int, tuple[int, ...]] = field(repr=False)

    @property
    def depth(self) -> int:
        """Number of layers, as the architecture counts them."""
        return len(self.units) * self.layers + bool(self.lead)

    @property
    def start(self) -> str:
        """The tensor the first unit reads."""
        return self.units[0][0].start

    def start_of(self, unit: int) -> str:
        """The tensor a unit reads."""
        return self.units[unit][0].start

    @property
    def end(self) -> str:
        """The tensor the last unit makes."""
        return self.units[-1][-1].end


@dataclass(frozen=True)
class _Run:
    start: int
    period: int
    count: int

    @property
    def stop(self) -> int:
        return self.start + self.period * self.count


def find_chains(analysis: Analysis) -> list[Chain]:
    """All chains of repeated blocks, in graph order, their places unified over the units."""
    flow = Flow(analysis)
    if not analysis.graph.outputs:
        return []
    sink = flow.main_output()
    best: tuple[int, list[Segment], list[_Run]] = (0, [], [])
    tried: set[tuple[str, ...]] = set()
    behind = flow.behind(sink)
    for source in flow.sources():
        cuts = flow.cuts(source, sink, behind)
        tail = tuple(name for name, _ in cuts[1:])
        if tail in tried:
            continue
        tried.add(tail)
        segments = flow.segments(cuts)
        runs = _runs(flow, segments)
        covered = sum(len(s.nodes) for run in runs for s in segments[run.start : run.stop])
        if covered > best[0]:
            best = (covered, segments, runs)
    _, segments, runs = best
    runs = sorted([*runs, *_single_runs(analysis, segments, runs)], key=lambda run: run.start)
    chains: list[Chain] = []
    for run in runs:
        chain = _chain(flow, segments, runs, run, len(chains) + 1)
        if chain is not None:
            chains.append(chain)
    return chains


# -- runs -----------------------------------------------------------------------------------------------------


def _runs(flow: Flow, segments: Sequence[Segment]) -> list[_Run]:
    """Disjoint runs of at least two units, those that explain most nodes first."""
    signatures = [s.signature for s in segments]
    found: list[tuple[int, int, int, int]] = []
    for period in range(1, min(_LONGEST, len(segments) // 2) + 1):
        start = None
        for i in range(len(segments) - period + 1):
            same = i + period < len(segments) and signatures[i] == signatures[i + period]
            if same and start is None:
                start = i
            elif not same and start is not None:
                if i - start >= period:
                    explained = sum(len(s.nodes) for s in segments[start:i])
                    found.append((explained, -period, start, i + period))
                start = None
    taken: set[int] = set()
    runs: list[_Run] = []
    for _, negative, start, stop in sorted(found, reverse=True):
        period = -negative
        if not taken.isdisjoint(range(start, stop)):
            continue
        if not any(flow.weighted[i] for s in segments[start : start + period] for i in s.nodes):
            continue
        run = _best_rotation(flow, segments, start, stop, period)
        taken.update(range(run.start, run.stop))
        runs.append(run)
    return runs


def _best_rotation(flow: Flow, segments: Sequence[Segment], start: int, stop: int, period: int) -> _Run:
    """Where a unit begins: names that count decide, then the latest start (a norm closes its block)."""
    count = (stop - start) // period
    best = _Run(start, period, count)
    most = -1
    for first in range(start, stop - count * period + 1):
        run = _Run(first, period, count)
        units = [segments[first + i * period : first + (i + 1) * period] for i in range(count)]
        score = sum(counts(names) for names in flow.weight_names(units))
        if score >= most:
            best, most = run, score
    return best


def _single_runs(analysis: Analysis, segments: Sequence[Segment], runs: Sequence[_Run]) -> list[_Run]:
    """Stretches between runs with the skeleton of a run's unit that give back the axes they are given."""
    taken = {i for run in runs for i in range(run.start, run.stop)}
    found: list[_Run] = []
    for run in sorted(runs, key=lambda r: -r.period):
        skeleton = [s.skeleton for s in segments[run.start : run.start + run.period]]
        for i in range(len(segments) - run.period + 1):
            here = range(i, i + run.period)
            if taken.isdisjoint(here) and [segments[j].skeleton for j in here] == skeleton:
                start, end = segments[i].start, segments[i + run.period - 1].end
                if _same_axes(analysis, start, end):
                    taken.update(here)
                    found.append(_Run(i, run.period, 1))
    return found


def _same_axes(analysis: Analysis, left: str, right: str) -> bool:
    a, b = analysis.facts[left].axes, analysis.facts[right].axes
    return (
        a is not None
        and b is not None
        and len(a) == len(b)
        and all(analysis.algebra.same(x, y) for x, y in zip(a, b, strict=True))
    )


# -- chains ---------------------------------------------------------------------------------------------------


def chain_at(flow: Flow, segments: Sequence[Segment], start: int, period: int, count: int, number: int) -> Chain | None:
    """The chain of `count` units of `period` segments from segment `start` on; None if their weights do not match."""
    run = _Run(start, period, count)
    return _chain(flow, segments, [run], run, number)


def _chain(flow: Flow, segments: Sequence[Segment], runs: Sequence[_Run], run: _Run, number: int) -> Chain | None:
    units = tuple(
        tuple(segments[run.start + u * run.period : run.start + (u + 1) * run.period]) for u in range(run.count)
    )
    pairs = [[flow.pair(a, b) for a, b in zip(units[0], unit, strict=True)] for unit in units]
    places: dict[Edge, list[Edge]] = {}
    nodes: dict[int, list[int]] = {}
    for unit in pairs:
        for unit_nodes, unit_edges in unit:
            for there, here in unit_edges.items():
                places.setdefault(here, []).append(there)
            for there_node, here_node in unit_nodes.items():
                nodes.setdefault(here_node, []).append(there_node)
    own = flow.private(units[0])
    shared = {edge for edge, there in places.items() if set(there) == {edge} and edge.node not in own}
    aligned = {edge: tuple(there) for edge, there in places.items() if edge not in shared}
    if any(len(there) != run.count for there in aligned.values()):
        return None
    try:
        for first, *others in aligned.values():
            for edge in others:
                axes = zip(flow.analysis.uses[first].axes or (), flow.analysis.uses[edge].axes or (), strict=True)
                for x, y in axes:
                    flow.analysis.algebra.unify(x, y)
    except Conflict:
        return None
    lead = _lead(flow, segments, runs, run)
    return Chain(
        name=_name(flow, units, number),
        units=units,
        lead=lead,
        layers=_layers(flow, units[0], aligned),
        places=aligned,
        nodes={node: tuple(there) for node, there in nodes.items() if len(there) == run.count},
    )


def _lead(flow: Flow, segments: Sequence[Segment], runs: Sequence[_Run], run: _Run) -> tuple[Segment, ...]:
    """The stretch before a run, if it does all that a unit does and more: the first block of a stage."""
    taken = {i for other in runs for i in range(other.start, other.stop)}
    before = range(run.start - run.period, run.start)
    if before.start < 0 or not taken.isdisjoint(before):
        return ()

    def operators(stretch: Sequence[Segment]) -> Counter[str]:
        return Counter(flow.graph.nodes[i].op_type for s in stretch for i in s.nodes)

    lead = tuple(segments[i] for i in before)
    unit = operators(segments[run.start : run.start + run.period])
    return lead if unit < operators(lead) else ()


def _layers(flow: Flow, unit: tuple[Segment, ...], places: dict[Edge, tuple[Edge, ...]]) -> int:
    """How many layers a unit holds: how often the weights it sums over repeat.

    Two weights are alike if their axes have one size and are the same axis of the tensor between the units, or none:
    mixing tokens is not mixing channels, whatever the numbers.
    """
    algebra = flow.analysis.algebra
    frontier = {atom for axis in flow.analysis.facts[unit[-1].end].axes or () for atom in algebra.expand(axis)}
    inside = {node: i for i, segment in enumerate(unit) for node in flow.behind_segment(segment)}
    per_segment: list[list[str]] = [[] for _ in unit]
    for edge in places:
        if edge in flow.analysis.contractions and edge.node in inside:
            axes = flow.analysis.uses[edge].axes or ()
            known = [[id(atom) for atom in algebra.expand(axis) if atom in frontier] for axis in axes]
            per_segment[inside[edge.node]].append(str([*map(size_of, axes), known]))
    weights = [weight for segment in per_segment for weight in sorted(segment)]
    ends = set(accumulate(len(segment) for segment in per_segment))
    for layers in range(len(unit), 1, -1):
        step, rest = divmod(len(weights), layers)
        whole = step and not rest and {step * i for i in range(1, layers)} <= ends  # layers are whole segments
        if whole and weights == weights[:step] * layers:
            return layers
    return 1


def _name(flow: Flow, units: tuple[tuple[Segment, ...], ...], number: int) -> str:
    """The stem of the weights' names or, where an exporter renamed them, of the nodes' or their scopes'."""
    for names_of in (flow.weight_names, flow.scope_names, flow.node_names):
        stems = Counter(stem for names in names_of(units) if (stem := common_stem(names)))
        plain = {s: n for s, n in stems.items() if ":" not in s and not s.startswith(("val", "node", "onnx"))}
        if plain:
            parts = max(plain, key=lambda s: (plain[s], -len(s))).replace("/", ".").split(".")
            return ".".join(part for i, part in enumerate(parts) if part not in parts[i + 1 :])
    return flow.common_path(units) or f"chain{number}"
