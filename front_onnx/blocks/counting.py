"""Counting layers: how many a unit holds, by what the author of a model calls them, or by what repeats in it.

Module paths are asked first: a layer is a module that has a number and modules of its own. Two kinds of attention may
be one layer of a dual-attention block, or two layers (a convolution, then attention) whose weights have nothing alike.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, groupby, pairwise
from posixpath import commonpath

from front_onnx.axes.size import size_of
from front_onnx.blocks.segments import Flow, Segment
from front_onnx.operators.record import Trait, record_of
from front_onnx.read.graph import Edge

__all__ = ["NUMBERED", "is_within", "lacks_number", "layer_lengths", "layers_of", "module_of", "parts_of", "path_of"]

NUMBERED = re.compile(r"(?:.*[._])?(\d+)")  # the name of a module that has a number
_Path = tuple[str, ...]


def layers_of(
    flow: Flow, units: Sequence[Sequence[Segment]], nodes: dict[int, list[int]], edges: Iterable[Edge]
) -> int:
    """How many layers a unit holds.

    Arguments:
        flow: the flow of data.
        units: the segments of each unit.
        nodes: for each node of the first unit, those in its place in every unit.
        edges: the readings of constants in the first unit.
    """
    named = _counted(flow, nodes, units) if len(units) > 1 else None
    return named or _repeated(flow, units[0], edges)


def layer_lengths(flow: Flow, units: Sequence[Sequence[Segment]], layers: int) -> list[int] | None:
    """How many segments each layer of a unit has: modules with numbers decide, else they have as many each.

    None where a layer ends within a segment. What has no weights goes with what stands before it.
    """
    step, rest = divmod(len(units[0]), layers)
    numbers = _numbers(flow, *units[:2]) if len(units) > 1 else None
    if numbers is None or len({*numbers} - {None}) != layers:
        return None if rest else [step] * layers
    first = next(number for number in numbers if number is not None)
    filled = list(accumulate(numbers, lambda last, number: last if number is None else number, initial=first))[1:]
    lengths = [len([*group]) for _, group in groupby(filled)]
    return lengths if len(lengths) == layers else None


def lacks_number(flow: Flow, unit: Sequence[Segment], other: Sequence[Segment]) -> bool:
    """True if a unit is a module without a number, where another one is as deep a module that has one, or several."""
    paths, others = _paths(flow, unit), _paths(flow, other)
    depth = len(_shared(others))
    return 0 < depth <= len(_shared(paths)) and _numbered(others) and not _numbered(paths)


def _numbered(paths: Sequence[_Path]) -> bool:
    """True if the innermost module that some paths share has a number, or the modules in it that they go into."""
    shared = _shared(paths)
    inner = {path[len(shared)] if len(path) > len(shared) else "" for path in paths}
    return any(all(map(NUMBERED.fullmatch, names)) for names in ({*shared[-1:]} or {""}, inner))


def module_of(flow: Flow, unit: Sequence[Segment]) -> tuple[str, ...]:
    """The innermost module that holds all weights of a unit, as a path; () if there are no modules."""
    return _shared(_paths(flow, unit))


def parts_of(flow: Flow, units: Sequence[Sequence[Segment]]) -> list[tuple[int, int]]:
    """What the modules of some units in a row say: (units, how many of them are one block) for each chain of blocks.

    Blocks of an encoder and of a decoder that look alike are two chains, and so are those of two stages; two halves
    that look alike are one block.
    """
    modules = [module_of(flow, unit) for unit in units]
    place = next((at for at, names in enumerate(zip(*modules, strict=False)) if len({*names}) > 1), None)
    if place is None or any(module == () for module in modules):
        return [(len(units), 1)]
    groups = [[*group] for _, group in groupby(modules, key=lambda module: module[place])]
    lengths = [len(group) for group in groups]
    if len({_head(module[place]) for module in modules}) == 1 and _counted_on([group[0][place] for group in groups]):
        listed = any(len(group) > 1 and _counted_on([*_behind(group, place)]) for group in groups)
        if listed and len(groups) > 1:
            return [(length, 1) for length in lengths]
        return [(len(units), lengths[0] if len({*lengths}) == 1 else 1)]
    lengths = [len([*group]) for _, group in groupby(modules, key=lambda module: _head(module[place]))]
    if max(lengths) > 1:
        return [(length, 1) for length in lengths]
    kinds = [(len(module), NUMBERED.fullmatch(module[place]) is not None) for module in modules]
    return [(len([*group]), 1) for _, group in groupby(kinds)]


def _behind(modules: Sequence[_Path], place: int) -> Iterator[str]:
    """The first names in which some modules differ, behind a place."""
    rest = [module[place + 1 :] for module in modules]
    at = next((at for at, names in enumerate(zip(*rest, strict=False)) if len({*names}) > 1), None)
    yield from (path[at] for path in rest) if at is not None else ("",)


def _counted_on(names: Sequence[str]) -> bool:
    """True for names that are one but for numbers, each higher than the one before."""
    matches = [NUMBERED.fullmatch(name) for name in names]
    numbers = [int(match[1]) for match in matches if match is not None]
    heads = {name[: match.start(1)] for name, match in zip(names, matches, strict=True) if match is not None}
    return len(numbers) == len(names) and len(heads) == 1 and all(a < b for a, b in pairwise(numbers))


def is_within(units: Sequence[_Path], others: Sequence[_Path]) -> bool:
    """True if the modules of some units lie in one that has a number, beside those that other units are.

    The convolutions of a first block repeat, and it counts with the blocks behind it.
    """
    inner, place = _shared(units), len(_shared(others))
    if min(map(len, others)) <= place or len(inner) <= place or inner[place] in {module[place] for module in others}:
        return False
    if len({module[place + 1 :] for module in others}) > 1:
        return False
    rows = [module[: place + 1] for module in (inner, *others)]
    numbered = all(NUMBERED.fullmatch(row[-1]) is not None for row in rows)
    return numbered and len({(row[:-1], _head(row[-1])) for row in rows}) == 1


def _head(name: str) -> str:
    """What stands before the number of a module."""
    match = NUMBERED.fullmatch(name)
    return name[: match.start(1)] if match is not None else name


def path_of(flow: Flow, node: int) -> _Path:
    """The modules that a node is in, the outermost first: a path of names, or what stands between dots."""
    graph = flow.graph
    path = graph.scope(node) or graph.nodes[node].name.rpartition("/")[0]
    parts = path.split("/") if "/" in path else re.sub(r"\.(\d+)(?=\.|$)", r"_\1", path).split(".")
    return tuple(part for part in parts if part)


def _paths(flow: Flow, unit: Sequence[Segment]) -> list[_Path]:
    """The modules of all weights of a unit, where there are any."""
    return [path for segment in unit for node in segment.nodes if flow.weighted[node] and (path := path_of(flow, node))]


def _shared(paths: Sequence[_Path]) -> _Path:
    shared = commonpath(["/" + "/".join(path) for path in paths]) if paths else ""
    return tuple(part for part in shared.split("/") if part)


def _numbers(flow: Flow, unit: Sequence[Segment], other: Sequence[Segment]) -> list[int | None] | None:
    """For each segment of a unit, the number of its module where the next unit has another one; None without weights.

    None instead if a segment has several, or a weight is in no numbered module.
    """
    numbers: list[int | None] = []
    for mine, theirs in zip(unit, other, strict=True):
        found = {_number(*paths) for paths in zip(_paths(flow, [mine]), _paths(flow, [theirs]), strict=False)}
        if len(found) > 1 or (found and None in found):
            return None
        numbers.append(found.pop() if found else None)
    return numbers


def _number(one: _Path, other: _Path) -> int | None:
    """The number of the outermost module in which two paths differ; None if it has none."""
    name = next((a for a, b in zip(one, other, strict=False) if a != b), "")
    match = NUMBERED.fullmatch(name)
    return int(match[1]) if match is not None else None


def _counted(flow: Flow, nodes: dict[int, list[int]], units: Sequence[Sequence[Segment]]) -> int | None:
    """How many numbers the modules of the first unit have where those of the next have others, as many further on.

    Attention and, behind it, what works on each place by itself are one block, though they are modules with numbers:
    halves that make one step each, where a layer of its own has both.
    """
    found = dict[int, int]()  # by number, how far on the next unit is
    before, with_modules = set[_Path](), set[int]()
    for row in nodes.values():
        if len(row) != len(units) or not flow.weighted[row[0]] or row[0] == row[1]:
            continue
        one, other = (path_of(flow, node) for node in row[:2])
        place = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
        if place is None or len(one) != len(other):
            return None  # a weight of no numbered module
        a, b = (NUMBERED.fullmatch(path[place]) for path in (one, other))
        if a is None or b is None:
            return None
        before.add((*one[:place], one[place][: a.start(1)]))
        if found.setdefault(int(a[1]), int(b[1]) - int(a[1])) != int(b[1]) - int(a[1]):
            return None
        if place + 1 < len(one):
            with_modules.add(int(a[1]))
    if found.keys() - with_modules:
        return None  # a weight that is the whole of a module with a number
    if len(before) != 1 or set(found.values()) != {len(found)}:
        return None
    (module,) = before
    parts = defaultdict[int, list[int]](list)
    for node in nodes:
        path = path_of(flow, node)
        if path[: len(module) - 1] == module[:-1] and len(path) >= len(module):
            match = NUMBERED.fullmatch(path[len(module) - 1])
            if match is not None and path[len(module) - 1][: match.start(1)] == module[-1]:
                parts[int(match[1])].append(node)
    return len(found) // 2 if _are_halves(flow, units[0], [parts[n] for n in sorted(found)]) else len(found)


def _are_halves(flow: Flow, unit: Sequence[Segment], parts: Sequence[Sequence[int]]) -> bool:
    """True if modules of a unit are halves of blocks in turn, one step each: places mixed, and each place by itself."""
    steps = [{n for n in s.nodes if record_of(flow.graph.nodes[n]).has(Trait.CONTRACTS)} for s in unit]
    if len(parts) % 2 or any(sum(not step.isdisjoint(own) for step in steps) != 1 for own in parts):
        return False
    sums = [_summed_axes(flow, unit[-1].end, own) for own in parts]
    pairs = zip(parts[::2], parts[1::2], sums[::2], sums[1::2], strict=True)
    return all(
        (_mixes(flow, one) or bool(first and other and first.isdisjoint(other))) and not _mixes(flow, two)
        for one, two, first, other in pairs
    )


def _summed_axes(flow: Flow, tensor: str, nodes: Iterable[int]) -> set[int]:
    """Which axes of a tensor weights of some nodes sum over."""
    analysis = flow.analysis
    own = {*nodes}
    read = ((edge, place) for edge, place in analysis.contractions.items() if edge.node in own)
    axes = ((analysis.uses[edge].axes or (), place) for edge, place in read if edge in analysis.uses)
    summed = {var for found, place in axes if place < len(found) for var in analysis.algebra.expand(found[place])}
    stream = analysis.facts[tensor].axes or ()
    return {place for place, axis in enumerate(stream) if not summed.isdisjoint(analysis.algebra.expand(axis))}


def _mixes(flow: Flow, nodes: Iterable[int]) -> bool:
    """True if places (tokens, pixels) see one another in some nodes: attention, a filter, a recurrent cell."""
    for index in nodes:
        node, record = flow.graph.nodes[index], record_of(flow.graph.nodes[index])
        weights = [flow.graph.constants[name].dims for name in node.input[1:2] if name in flow.graph.constants]
        if record.has(Trait.ATTENDS | Trait.RECURRENT):
            return True
        if record.has(Trait.CONVOLVES) and any(side > 1 for dims in weights for side in dims[2:]):
            return True
        if record.has(Trait.CONTRACTS) and not record.has(Trait.CONVOLVES) and len(flow.inputs[index]) > 1:
            return True
    return False


def _repeated(flow: Flow, unit: Sequence[Segment], edges: Iterable[Edge]) -> int:
    """How often the weights that a unit sums over repeat.

    Two weights are alike if their axes have one size and are the same axis of the tensor between the units, or none:
    mixing tokens is not mixing channels, whatever the numbers.
    """
    algebra = flow.analysis.algebra
    between = [flow.analysis.facts[name].axes or () for name in unit[-1].ends]
    frontier = {var for axes in between for axis in axes for var in algebra.expand(axis)}
    inside = {node: i for i, segment in enumerate(unit) for node in flow.behind_segment(segment)}
    per_segment: list[list[str]] = [[] for _ in unit]
    for edge in edges:
        if edge in flow.analysis.contractions and edge.node in inside:
            axes = flow.analysis.uses[edge].axes or ()
            known = [[id(var) for var in algebra.expand(axis) if var in frontier] for axis in axes]
            per_segment[inside[edge.node]].append(str([*map(size_of, axes), known]))
    weights = [weight for segment in per_segment for weight in sorted(segment)]
    ends = set(accumulate(len(segment) for segment in per_segment))
    for layers in range(len(unit), 1, -1):
        step, rest = divmod(len(weights), layers)
        whole = step and not rest and {step * i for i in range(1, layers)} <= ends  # layers are whole segments
        if whole and weights == weights[:step] * layers:
            return layers
    return 1
