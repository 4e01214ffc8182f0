"""The entry of a chain: the first block of a stage, where it differs from the blocks that repeat.

It does all that a block does and more (a projection beside the shortcut, a larger stride), or the same in another
order between the same axes (exporters merge a transpose at its start with the one before), or it is the end of a unit
with all its weights, or it is a recurrent layer like them that reads other features, or it sums over weights as a
block does and its names count with the chain's (a first block without a shortcut, or without its norm), or it is the
whole of a module that counts with theirs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from front_onnx.blocks.names import module_path
from front_onnx.blocks.paths import Path
from front_onnx.blocks.runs import Run
from front_onnx.blocks.segments import Flow, Segment
from front_onnx.operators.record import Trait, record_of
from front_onnx.read.names import follows

__all__ = ["find_entry", "find_exit", "in_place", "precedes"]

_INNERMOST = re.compile(r"\d+(?=[^0-9/]*(?:/|$))")  # the last number of each module


def find_entry(flow: Flow, path: Path, run: Run, layers: int) -> tuple[Segment, ...]:
    """The segments of the block before a run, or ()."""
    taken = {i for other in path.runs for i in range(other.start, other.stop)}
    unit = path.segments[run.start : run.start + run.period]
    if rest := _rest(flow, path, run, taken):
        return rest
    if len(unit[0].starts) > 1 and (rest := _turned(flow, path, run, taken)):
        return rest
    before = range(run.start - run.period, run.start)
    if before.start >= 0 and taken.isdisjoint(before):
        entry = tuple(path.segments[i] for i in before)
        one, other = _operators(flow, unit), _operators(flow, entry)
        if (one < other and len(_weighted(flow, entry)) <= _most(flow, unit, layers)) or (
            one == other and (_keeps_axes(flow, entry) or _recurs(flow, entry, unit))
        ):
            return entry
    layer = _weighted(flow, unit)
    layer = layer[: len(layer) // layers]
    start = run.start
    while len(layer) > 1 and start > 0 and start - 1 not in taken:
        start -= 1
        entry = tuple(path.segments[start : run.start])
        nodes = _weighted(flow, entry)
        if len(nodes) >= len(layer):
            if _precedes(flow, nodes, layer):
                return entry
            found = _projected(flow, path, range(start, run.start), unit, taken) if len(nodes) > len(layer) else ()
            if len(_weighted(flow, found)) > _most(flow, unit, layers):
                found = ()
            return found or _module(flow, path, run, taken, len(layer))
    return ()


def find_exit(flow: Flow, path: Path, run: Run, entry: Sequence[Segment]) -> tuple[Segment, ...]:
    """The segments of the block behind a run of units that hand on several tensors, or ().

    It is a unit without what makes the streams that nothing reads behind it: half of the weights at least, in order,
    and named as those of a next unit are, where there are names. What belongs to one block with the entry is none.
    """
    layer = _weighted(flow, path.segments[run.start : run.start + run.period])
    if len(path.segments[run.start].starts) == 1 or (entry and len(_weighted(flow, entry)) < len(layer)):
        return ()
    taken = {i for other in path.runs for i in range(other.start, other.stop)}
    found = _behind(flow, path, run, layer, taken)
    return tuple(path.segments[run.stop : found[-1] + 1]) if found and 2 * len(found) >= len(layer) else ()


def in_place(flow: Flow, unit: Sequence[Segment], exit: Sequence[Segment]) -> list[tuple[int, int]]:
    """(node of a unit, node of the exit behind it) for each weight that the exit sums over as the unit does."""
    waiting, found = _weighted(flow, unit), []
    for node in _weighted(flow, exit):
        at = next((i for i, mine in enumerate(waiting) if _goes_on(flow, mine, node)), None)
        if at is not None:
            found.append((waiting[at], node))
            waiting = waiting[at + 1 :]
    return found


def precedes(flow: Flow, before: Sequence[Segment], behind: Sequence[Segment]) -> bool:
    """True if one stretch sums over weights as the next one does, and is named as it is, with its number less one."""
    alike = _shapes(flow, before) == _shapes(flow, behind)
    return alike and bool(_weighted(flow, before)) and _precedes(flow, _weighted(flow, before), _weighted(flow, behind))


def _goes_on(flow: Flow, mine: int, node: int) -> bool:
    """True if a node sums over a weight as one of the unit before does, and is named as the next one."""
    one, other = (_sums(flow, index) for index in (mine, node))
    names = [(flow.graph.scope(i), flow.graph.nodes[i].name) for i in (mine, node)]
    told = [(a, b) for a, b in zip(*names, strict=True) if a and b]
    return one == other and (not told or any(follows(a, b) for a, b in told))


def _recurs(flow: Flow, entry: Sequence[Segment], unit: Sequence[Segment]) -> bool:
    """True for recurrent layers that are one but for their sizes: the first reads features of another width."""
    recurrent = [record_of(flow.graph.nodes[i]).has(Trait.RECURRENT) for i in _weighted(flow, unit)]
    return recurrent == [True] and [s.skeleton for s in entry] == [s.skeleton for s in unit]


def _most(flow: Flow, unit: Sequence[Segment], layers: int) -> int:
    """How many weights a entry may sum over: twice what a layer does, or it is a stage and no block."""
    return 2 * len(_weighted(flow, unit)) // layers


def _module(flow: Flow, path: Path, run: Run, taken: set[int], weights: int) -> tuple[Segment, ...]:
    """All there is of a module whose name is that of the first unit with its number less one."""
    own = module_path(flow, path.segments[run.start : run.start + run.period])
    parts = own.count("/") + 1

    def is_before(place: int) -> bool:
        """A segment of the block before, perhaps of a part of it: /stage/0/act."""
        module = "/".join(module_path(flow, path.segments[place : place + 1]).split("/")[:parts])
        counted = _INNERMOST.findall(module)[-1:] != _INNERMOST.findall(own)[-1:]  # not the stage, which counts as well
        return counted and follows(module, own)

    start = run.start
    while start > 0 and start - 1 not in taken and is_before(start - 1):
        start -= 1
    entry = tuple(path.segments[start : run.start])
    whole = start == 0 or not is_before(start - 1)  # not the end of a stage whose blocks are a chain
    return entry if whole and len(_weighted(flow, entry)) >= weights else ()


def _rest(flow: Flow, path: Path, run: Run, taken: set[int]) -> tuple[Segment, ...]:
    """The end of a unit before a run, if all the weights of a layer are there, or behind the run where it ends.

    Exporters merge the first Transpose of a block with one before it, and the last norm of a model with the last block:
    then units begin in the middle of blocks.
    """
    unit = path.segments[run.start : run.start + run.period]
    first = run.start
    while first > 0 and run.start - first < run.period - 1 and first - 1 not in taken:
        if path.segments[first - 1].signature != unit[first - 1 - run.start].signature:
            break
        first -= 1
    rest = path.segments[first : run.start]
    missing = _shapes(flow, unit[: run.period - len(rest)])
    behind = [s for i, s in enumerate(path.segments) if i >= run.stop and i not in taken]
    complete = not missing or missing == _shapes(flow, behind)[: len(missing)]
    return tuple(rest) if complete and _weighted(flow, rest) else ()


def _turned(flow: Flow, path: Path, run: Run, taken: set[int]) -> tuple[Segment, ...]:
    """The end of a unit before a run of units that hand on several tensors, told by its weights.

    Such units may begin anywhere in a block: the first block lacks a stream, the last one what nothing reads. At least
    half of the weights of a layer are before the run, or behind it.
    """
    unit = path.segments[run.start : run.start + run.period]
    layer = _weighted(flow, unit)
    before, start = list(layer), run.start
    while start > 0 and start - 1 not in taken and before:
        nodes = _weighted(flow, path.segments[start - 1 : start])
        theirs = before[len(before) - len(nodes) :]
        if len(nodes) > len(before) or not all(_goes_on(flow, a, b) for a, b in zip(nodes, theirs, strict=True)):
            break
        start, before = start - 1, before[: len(before) - len(nodes)]
    while start < run.start and not _weighted(flow, path.segments[start : start + 1]):
        start += 1
    found = len(layer) - len(before) + len(_behind(flow, path, run, before, taken))
    return tuple(path.segments[start : run.start]) if 2 * found >= len(layer) else ()


def _behind(flow: Flow, path: Path, run: Run, layer: Sequence[int], taken: set[int]) -> list[int]:
    """For each weight behind a run that some of a unit are followed by, its segment: as far as they go on in order."""
    last = [i for s in path.segments[run.stop - run.period : run.stop] for i in s.nodes]
    first = [i for s in path.segments[run.start : run.start + run.period] for i in s.nodes]
    there = dict(zip(first, last, strict=False))
    waiting = [there.get(index, index) for index in layer]
    found: list[int] = []
    for place in range(run.stop, len(path.segments)):
        for node in _weighted(flow, path.segments[place : place + 1]):
            at = next((i for i, mine in enumerate(waiting) if _goes_on(flow, mine, node)), None)
            if place in taken or at is None:
                return found
            waiting = waiting[at + 1 :]
            found.append(place)
    return found


def _shapes(flow: Flow, stretch: Sequence[Segment]) -> list[tuple[str, list[list[int]]]]:
    """What sums over weights, in order: operators and the shapes of their constants."""
    return [_sums(flow, index) for index in _weighted(flow, stretch)]


def _sums(flow: Flow, index: int) -> tuple[str, list[list[int]]]:
    constants, node = flow.graph.constants, flow.graph.nodes[index]
    return node.op_type, [list(constants[name].dims) for name in node.input if name in constants]


def _projected(flow: Flow, path: Path, stretch: range, unit: Sequence[Segment], taken: set[int]) -> tuple[Segment, ...]:
    """A stretch that sums over more weights than a unit, back to where it does all that a unit does.

    Where a projection reads what was normalised for the block, the norm lies in segments of its own.
    """
    start = stretch.start
    while start >= 0 and start not in taken:
        entry = tuple(path.segments[start : stretch.stop])
        if _operators(flow, unit) < _operators(flow, entry):
            return entry
        start -= 1
        if start < stretch.start and _weighted(flow, path.segments[start : start + 1]):
            break
    return ()


def _keeps_axes(flow: Flow, stretch: Sequence[Segment]) -> bool:
    """True if a stretch gives back the axes it is given, in whatever order."""
    start, end = (flow.analysis.facts[name].axes or () for name in (stretch[0].start, stretch[-1].end))
    given, made = ({flow.analysis.algebra.expand(axis) for axis in axes} for axes in (start, end))
    return bool(given) and given == made


def _operators(flow: Flow, stretch: Sequence[Segment]) -> Counter[str]:
    return Counter(flow.graph.nodes[i].op_type for s in stretch for i in s.nodes)


def _weighted(flow: Flow, stretch: Sequence[Segment]) -> list[int]:
    """The nodes that sum over a weight, in order."""
    return [i for segment in stretch for i in segment.nodes if i in flow.analysis.summing]


def _precedes(flow: Flow, nodes: Sequence[int], layer: Sequence[int]) -> bool:
    """True if the names of some nodes, or of their modules, are those of a layer with its number less one."""
    operators = [[flow.graph.nodes[i].op_type for i in stretch] for stretch in (nodes, layer)]
    if operators[0] != operators[1]:
        return False

    def name(node: int) -> str:
        return str(flow.graph.nodes[node].name)

    for name_of in (flow.graph.scope, name):
        names = [(name_of(a), name_of(b)) for a, b in zip(nodes, layer, strict=True)]
        if all(a and b for a, b in names):
            return all(follows(a, b) for a, b in names)
    return False
