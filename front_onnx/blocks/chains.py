"""Blocks: the repeated unit of a graph, how often it repeats, and which tensors stand in the same place of each.

A chain is a run (`runs.py`) on one of the graph's paths (`paths.py`). Its unit may hold several layers (windowed and
shifted attention alternate). The first block of a stage may differ (stride, more channels): then it is the **entry**
(`entry.py`), counted in the depth as architectures count it and never repeated.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import combinations

from front_onnx.axes.size import AxisRole, Conflict, size_of
from front_onnx.blocks.chain import Chain
from front_onnx.blocks.counting import is_within, lacks_number, layer_lengths, layers_of, module_of, parts_of
from front_onnx.blocks.entry import find_entry, find_exit, in_place
from front_onnx.blocks.names import common_path, dotted, node_names, scope_names, weight_names
from front_onnx.blocks.paths import Path, find_paths
from front_onnx.blocks.periods import from_its_beginning, in_turn
from front_onnx.blocks.runs import Run, single_runs
from front_onnx.blocks.segments import Flow, Segment
from front_onnx.blocks.sharing import common_units, units_sharing
from front_onnx.blocks.whole import is_whole, odd_end
from front_onnx.operators.analysis import Analysis
from front_onnx.read.graph import Edge
from front_onnx.read.merged import branch_of
from front_onnx.read.names import common_stem

__all__ = ["chain_at", "find_chains", "told_apart"]


def find_chains(flow: Flow) -> list[Chain]:
    """All chains of repeated blocks, in graph order, their places unified over the units."""
    found: list[tuple[Path, Run]] = []
    paths = find_paths(flow)
    for path in paths:
        others = {node for other in paths if other is not path for node in other.repeated}
        alone = [
            run
            for run in single_runs(flow.analysis, path.segments, path.runs)
            if others.isdisjoint(Path(path.segments, [run]).repeated)  # a long segment may hold another path
            and not any(lacks_number(flow, _unit(path, run), _unit(path, other)) for other in path.runs)
        ]
        whole = in_turn(flow, Path(path.segments, sorted([*path.runs, *alone], key=lambda run: run.start)))
        whole = replace(whole, runs=[part for run in whole.runs for part in _parts(flow, whole, run)])
        found += [(whole, run) for run in whole.runs]
    found = _outermost(flow, found)
    found.sort(key=lambda item: item[0].segments[item[1].start].nodes[0])
    chains: list[Chain] = []
    places: list[tuple[Path, Run]] = []
    for path, run in found:
        chain = _chain(flow, path, run, len(chains) + 1)
        while chain is not None and chain.layers == 1 and (end := odd_end(flow, chain)) < 1:
            run = Run(run.start + (end == 0) * run.period, run.period, run.count - 1)
            chain = _chain(flow, path, run, len(chains) + 1)
        if chain is not None and chain.layers > 1:
            chain = _from_its_beginning(flow, path, run, chain)
        if chain is not None and not _shrinks(flow, chain) and is_whole(flow, chain):
            chains.append(chain)
            places.append((path, run))
    chains = _in_step(flow, chains, places)
    return [chain for chain in chains if not any(_swallows(other, chain) for other in chains)]


def _in_step(flow: Flow, chains: Sequence[Chain], places: Sequence[tuple[Path, Run]]) -> list[Chain]:
    """Chains that share weights, with the units that they share: what one has besides is no block of the other.

    A first block that is set apart in one of them is so in the other, or in none.
    """
    found = list(chains)
    for one, other in combinations(range(len(found)), 2):
        common = common_units(flow.graph, found[one], found[other])
        for number, kept in zip((one, other), common or (), strict=False):
            chain, (path, run) = found[number], places[number]
            start = run.start + kept.start * run.period
            less = len(kept) < len(chain.units)
            part = _chain(flow, path, Run(start, run.period, len(kept)), number + 1) if less else chain
            if part is not None:
                before = chain.units[0] if kept.start == 1 else ()
                found[number] = replace(part, entry=before if less else chain.entry)
        if common is not None and not (found[one].entry and found[other].entry):
            found[one], found[other] = (replace(found[number], entry=()) for number in (one, other))
    return found


def _unit(path: Path, run: Run) -> list[Segment]:
    """The segments of the first unit of a run."""
    return path.segments[run.start : run.start + run.period]


def _parts(flow: Flow, path: Path, run: Run) -> Iterator[Run]:
    """A run, or the runs of several blocks that it is made of, as the modules of its units say."""
    if run.count == 1:
        yield run
        return
    start, units = run.start, [path.segments[at : at + run.period] for at in range(run.start, run.stop, run.period)]
    parts = parts_of(flow, units)
    for count, together in parts:
        if count > together or len(parts) == 1:
            yield Run(start, run.period * together, count // together)
        start += count * run.period


def _outermost(flow: Flow, found: Sequence[tuple[Path, Run]]) -> list[tuple[Path, Run]]:
    """Runs without those that lie within one block, which counts with the units of another one, or are that block."""

    def modules(path: Path, run: Run) -> list[tuple[str, ...]]:
        starts = range(run.start, run.stop, run.period)
        return [module_of(flow, path.segments[start : start + run.period]) for start in starts]

    def signature(path: Path, run: Run) -> list[int]:
        return [segment.signature for segment in _unit(path, run)]

    units = [(path, run, modules(path, run)) for path, run in found]

    def is_part(path: Path, run: Run, inner: Sequence[tuple[str, ...]]) -> bool:
        others = [other for other in units if other[1].count > 1]
        if run.count == 1:
            others = [other for other in others if signature(*other[:2]) == signature(path, run)]
        return any(is_within(inner, other) for _, _, other in others)

    parts = {(id(path), run) for path, run, inner in units if is_part(path, run, inner)}
    left = {id(path): [run for run in path.runs if (id(path), run) not in parts] for path, _ in found}
    return [(replace(path, runs=left[id(path)]), run) for path, run in found if (id(path), run) not in parts]


def _swallows(chain: Chain, other: Chain) -> bool:
    """True if the layers of another chain are some of the units of a chain that goes on from its first layer."""
    own = {i for unit in (*chain.units, chain.exit) for segment in unit for i in segment.nodes}
    layers = {i for unit in other.units for segment in unit for i in segment.nodes}
    return chain.layers > other.layers and layers < own and chain.starts == other.starts


def _from_its_beginning(flow: Flow, path: Path, run: Run, chain: Chain) -> Chain:
    """A chain of units of several layers with those that are left over, where more layers are counted then."""
    lengths = layer_lengths(flow, chain.units, chain.layers)
    found = from_its_beginning(path, run, lengths) if lengths is not None else None
    if found is None:
        return chain
    run, exit, left = found
    others = [o for o in path.runs if o.stop <= run.start or run.stop + len(exit) <= o.start]
    more = _chain(flow, Path(path.segments, [*others, run]), run, 0)
    if more is None or more.layers != chain.layers:
        return chain
    more = replace(more, name=chain.name)
    more = replace(more, exit=exit, ending=left) if exit else more
    return more if more.depth > chain.depth else chain


def _shrinks(flow: Flow, chain: Chain) -> bool:
    """True if blocks give back other sizes than they are given: strided convolutions, whose number is no depth."""
    for names in zip(chain.starts, chain.units[0][-1].ends, strict=True) if len(chain.units) > 1 else ():
        start, end = (fact.axes or () if (fact := flow.analysis.facts.get(name)) else () for name in names)
        if len(start) == len(end) and [*map(size_of, start)] != [*map(size_of, end)]:
            return True
    return False


def chain_at(flow: Flow, segments: list[Segment], start: int, period: int, count: int, number: int) -> Chain | None:
    """The chain of `count` units of `period` segments from segment `start` on; None if their weights do not match."""
    run = Run(start, period, count)
    return _chain(flow, Path(segments, [run]), run, number)


def _chain(flow: Flow, path: Path, run: Run, number: int) -> Chain | None:
    segments = path.segments
    units = tuple(
        tuple(segments[run.start + u * run.period : run.start + (u + 1) * run.period]) for u in range(run.count)
    )
    places: dict[Edge, list[Edge]] = {}
    nodes: dict[int, list[int]] = {}
    for unit_nodes, unit_edges in (flow.pair(units[0], unit) for unit in units):
        for there, here in unit_edges.items():
            places.setdefault(here, []).append(there)
        for there_node, here_node in unit_nodes.items():
            nodes.setdefault(here_node, []).append(there_node)
    own = flow.private(units[0])
    shared = {edge for edge, there in places.items() if set(there) == {edge} and edge.node not in own}
    shared |= {edge for edge, there in places.items() if len(there) < run.count and _is_number(flow, edge)}
    aligned = {edge: tuple(there) for edge, there in places.items() if edge not in shared}
    if any(len(there) != run.count for there in aligned.values()):
        return None
    try:
        with flow.analysis.algebra.attempt():
            _make_alike(flow.analysis, aligned)
    except Conflict:
        return None
    together = units_sharing(flow.graph, aligned, run.count)
    if together > 1:
        return _chain(flow, path, Run(run.start, run.period * together, run.count // together), number)
    layers = _layers_alike(flow, path, run) or layers_of(flow, units, nodes, aligned)
    entry = find_entry(flow, path, run, layers)
    exit = find_exit(flow, path, run, entry)
    _make_alike_behind(flow, units[-1], exit)
    return Chain(
        name=_name(flow, units, number),
        units=units,
        entry=entry,
        exit=exit,
        layers=layers,
        places=aligned,
        nodes={node: tuple(there) for node, there in nodes.items() if len(there) == run.count},
        main=_main(flow, units),
    )


def _layers_alike(flow: Flow, path: Path, run: Run) -> int | None:
    """How many layers a unit that stands alone holds: as many as those that repeat and have its skeleton."""

    def skeleton(of: Run) -> list[int]:
        return [segment.skeleton for segment in _unit(path, of)]

    several = (other for other in path.runs if other.count > 1 and skeleton(other) == skeleton(run))
    chains = (_chain(flow, path, other, 0) for other in several) if run.count == 1 else ()
    return next((chain.layers for chain in chains if chain is not None), None)


def _main(flow: Flow, units: tuple[tuple[Segment, ...], ...]) -> int:
    """Which of the tensors that units hand on is the residual stream: made anew, with most channels for weights."""
    starts, ends = units[0][0].starts, units[0][-1].ends

    def channels(place: int) -> tuple[bool, int]:
        axes = flow.analysis.facts[ends[place]].axes or ()
        free = (flow.analysis.algebra.free_variables(axis) for axis in axes)
        sizes = (var.size for found in free for var in found if AxisRole.CONTRACTED in var.roles)
        return starts[place] != ends[place], max(sizes, default=0)

    return max(range(len(ends)), key=channels)


def _is_number(flow: Flow, edge: Edge) -> bool:
    """True for followed numbers: a size may be written in one block and computed in the next."""
    return flow.analysis.uses[edge].value is not None


def told_apart(flow: Flow, chains: Sequence[Chain]) -> list[Chain]:
    """The chains with a name each: what several are called gets their branch, the number of their first block, ..."""
    count = Counter(chain.name for chain in chains)
    branches = [branch_of(chain.end) if count[chain.name] > 1 else None for chain in chains]
    named = [f"{c.name}@{branch}" if branch else c.name for c, branch in zip(chains, branches, strict=True)]
    count = Counter(named)
    taken = {name for name, times in count.items() if times == 1}
    found = []
    for chain, name in zip(chains, named, strict=True):
        if count[name] > 1:
            number = _first_number(flow, chain)
            name = next(n for n in (f"{name}.{i}" for i in (number, *range(1, len(chains) + 1))) if n not in taken)
            taken.add(name)
        found.append(chain if name == chain.name else replace(chain, name=name))
    return found


def _first_number(flow: Flow, chain: Chain) -> int:
    """The number behind a chain's name in most names of weights and nodes of its first block; 0 if it is in none."""
    nodes = [flow.graph.nodes[index] for segment in chain.entry or chain.units[0] for index in segment.nodes]
    pattern = re.compile(re.escape(chain.name).replace(r"\.", "[./]") + r"[./](\d+)")
    matches = (pattern.search(name) for node in nodes for name in (node.name, *node.input))
    numbers = Counter(int(match[1]) for match in matches if match is not None)
    return min(numbers, key=lambda number: (-numbers[number], number), default=0)


def _make_alike(analysis: Analysis, places: dict[Edge, tuple[Edge, ...]]) -> None:
    """Weights in the same place of every unit have the same axes.

    Raises:
        Conflict: they cannot have.
    """
    for first, *others in places.values():
        for edge in others:
            analysis.unify_readings(first, edge)


def _make_alike_behind(flow: Flow, unit: Sequence[Segment], exit: Sequence[Segment]) -> None:
    """Weights of a last block that looks otherwise have the axes of those in their place, what only leaves included."""
    reads = flow.graph.reads
    for mine, node in in_place(flow, unit, exit):
        for one, other in zip(reads[mine], reads[node], strict=False):
            if one in flow.analysis.uses and other in flow.analysis.uses:
                with suppress(Conflict), flow.analysis.algebra.attempt():
                    flow.analysis.unify_readings(one, other)


def _name(flow: Flow, units: tuple[tuple[Segment, ...], ...], number: int) -> str:
    """The stem of the weights' names or, where an exporter renamed them, of the nodes' or their scopes'."""
    for names_of in (weight_names, scope_names, node_names):
        stems = Counter(stem for names in names_of(flow, units) if (stem := common_stem(names)))
        plain = {s: n for s, n in stems.items() if ":" not in s and not s.startswith(("val", "node", "onnx"))}
        if plain:
            name = dotted(max(plain, key=lambda s: (plain[s], -len(s))).replace("/", ".").split("."))
            return name if len(units) > 1 else re.sub(r"(?<=.)\.\d+$", "", name)  # the block's own number
    return common_path(flow, units) or f"chain{number}"
