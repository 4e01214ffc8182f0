"""Modules that count with the blocks of a chain and are none of them: told where a depth is asked for."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import takewhile

from front_onnx.blocks.chain import Chain
from front_onnx.blocks.counting import NUMBERED, module_of, path_of
from front_onnx.dims.structure import Structure
from front_onnx.plan.plan import Plan
from front_onnx.read.graph import Graph
from front_onnx.read.names import sequence

__all__ = ["siblings", "within_one"]

_BLOCK = 6  # weights from which a numbered module is taken for a block, and not for a layer among others
_Parts = set[tuple[str, tuple[int, ...]]]


def siblings(plan: Plan) -> Iterator[str]:
    """Blocks that count with those of a chain whose depth is asked for, and are of another kind."""
    structure = plan.structure
    for chain, target in zip(structure.chains, plan.units, strict=True):
        asked = plan.request.depth
        kept = target == len(chain.units) and (
            asked is None or (isinstance(asked, Mapping) and chain.name not in asked)
        )
        if kept or len(chain.units) < 2:
            continue
        start, others = _by_weights(structure.graph, chain)
        if not others:
            start, others = _by_nodes(structure, chain)
        if others:
            yield (
                f"{', '.join((start + number).strip('/') for number in others)}: of another kind than the blocks of "
                f"{chain.name}, so neither counted in --depth nor repeated"
            )


def within_one(plan: Plan) -> Iterator[str]:
    """Chains whose depth changes within one of several modules that are alike, the others being no chains."""
    structure = plan.structure
    for chain, target in zip(structure.chains, plan.units, strict=True):
        others = _like_the_module_of(structure, chain) if target != len(chain.units) > 1 else []
        if others:
            yield (
                f"the blocks of {chain.name} are parts of one module: {', '.join(others)} "
                f"{'is' if len(others) == 1 else 'are'} like it, and no chain, so what is within keeps its number"
            )


def _like_the_module_of(structure: Structure, chain: Chain) -> list[str]:
    """The modules beside the one that holds all units of a chain, numbered as it, that hold the same and no chain."""
    own = _shared(module_of(structure.flow, unit) for unit in chain.units)
    match = NUMBERED.fullmatch(own[-1]) if own else None
    if match is None:
        return []
    place, head = len(own), own[-1][: match.start(1)]
    inside: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    held = set[str]()
    for index in range(len(structure.graph.nodes)):
        path = path_of(structure.flow, index) if structure.flow.weighted[index] else ()
        if path[: place - 1] != own[:-1] or len(path) <= place:
            continue
        found = NUMBERED.fullmatch(path[place - 1])
        if found is not None and path[place - 1][: found.start(1)] == head:
            inside[path[place - 1]].add(tuple(_behind(path[place:], path[place - 1])))
            held |= {path[place - 1]} if index in structure.chain_of else set()
    mine = inside.get(own[-1], set())
    return [name for name, parts in inside.items() if parts == mine and name not in held]


def _behind(path: Sequence[str], module: str) -> Iterator[str]:
    """The names of a path within a module, without the module's own, which some exporters write before them."""
    yield from (name.removeprefix(f"{module}.") for name in path)


def _shared(paths: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """What some paths begin with."""
    rows = list(zip(*paths, strict=False))
    return tuple(row[0] for row in takewhile(lambda row: len({*row}) == 1, rows))


def _by_weights(graph: Graph, chain: Chain) -> tuple[str, list[str]]:
    """What stands before the number in the names of a chain's weights, and the numbers of the others."""
    stacks = [[graph.read_by(edge) for edge in there] for there in chain.places.values()]
    start = sequence(names for names in stacks if names[0] in graph.initializers and ":" not in names[0])
    if start is None:
        return "", []
    lead = {name for node in _beside(chain) for name in graph.nodes[node].input}
    own = [names for names in stacks if len({*names}) == len(names)]  # exporters store what is equal once
    parts: dict[str, _Parts] = defaultdict(set)
    module = _module(start)
    for name, tensor in graph.initializers.items():
        if (match := module.match(name)) is not None:
            parts[match[1]].add((name[match.end() :], tuple(tensor.dims)))
    return start, _others(parts, _held(start, [*own, [*lead]]), _BLOCK)


def _by_nodes(structure: Structure, chain: Chain) -> tuple[str, list[str]]:
    """The same of the nodes that read weights, where exporters renamed these (recurrent layers)."""
    graph, weighted = structure.graph, structure.flow.weighted
    stacks = [[graph.nodes[node].name for node in row] for node, row in chain.nodes.items() if weighted[node]]
    start = sequence(stacks)
    if start is None:
        return "", []
    parts: dict[str, _Parts] = defaultdict(set)
    module = _module(start)
    for index, node in enumerate(graph.nodes):
        if weighted[index] and (match := module.match(node.name)) is not None:
            sizes = [tuple(graph.constants[name].dims) for name in node.input if name in graph.constants]
            parts[match[1]].update((f"{node.name[match.end() :]} {node.op_type}", dims) for dims in sizes)
    lead = [graph.nodes[node].name for node in _beside(chain) if weighted[node]]
    return start, _others(parts, _held(start, [*stacks, lead]), _BLOCK)


def _beside(chain: Chain) -> list[int]:
    """The nodes of the blocks that are counted and never repeated."""
    return [node for segment in (*chain.entry, *chain.exit) for node in segment.nodes]


def _module(start: str) -> re.Pattern[str]:
    ends = r"(?=[./]|\Z)" if start[-1:] in (".", "/") else r"(?=[./])"  # val_12 is no module
    return re.compile(re.escape(start) + r"(\d+)" + ends)


def _held(start: str, stacks: Sequence[Sequence[str]]) -> set[str]:
    """The numbers that the blocks of a chain have."""
    return {match[1] for names in stacks for name in names if (match := _module(start).match(name))}


def _others(parts: Mapping[str, _Parts], held: Collection[str], least: int) -> list[str]:
    """The numbers of modules that are no blocks of a chain, and are as large as one or hold all that one does."""
    least = max(least, min((len(parts[number]) for number in held if number in parts), default=0))
    alike = {frozenset(parts[number]) for number in held if number in parts}
    return [
        number
        for number, own in parts.items()
        if number not in held and (len(own) >= least or any(one and one <= own for one in alike))
    ]
