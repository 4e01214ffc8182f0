"""Is a chain all of the blocks, and nothing but them? What names and readers say against it.

Structure decides what repeats. But a stretch of a graph may repeat and be no block: the first half of a U-Net, steps in
time, a stem that is read late. A chain is given up where

- module paths of its weights count from unit to unit in some places, and are different words in others, or in any where
  units hand on several tensors;
- units hand on several tensors, and other weights are named as theirs are, one number on, and belong to no unit;
- they do, and a weight of one unit is read elsewhere too, but not by all units, or no unit has any (a step in time);
- they do, and what they hand on is read behind the last block, which makes it anew (a skip).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from front_onnx.blocks.chain import Chain
from front_onnx.blocks.counting import lacks_number
from front_onnx.blocks.segments import Flow

__all__ = ["is_whole", "odd_end"]

_NUMBER = re.compile(r"\d+")
_COUNTED = re.compile(r"[._]?\d+")  # `dense`, `dense_1`
_PATH = re.compile(r"[./]")


def is_whole(flow: Flow, chain: Chain) -> bool:
    """True if nothing speaks against a chain."""
    rows = _rows(flow, chain)
    words = [[_COUNTED.sub("", name) for name in row] for row in rows]
    apart, alike = (any((len({*each}) > 1) == told for each in words) for told in (True, False))
    if len(chain.starts) == 1:
        return not (alike and any(map(_turns, words)))
    return (
        not apart
        and _has_weights(flow, chain)
        and not _left_out(flow, chain, rows)
        and not _read_elsewhere(flow, chain)
        and not _bridged(flow, chain)
    )


def _turns(words: Sequence[str]) -> bool:
    """True if words change between units, and not just to what stands before all or behind all."""
    parts = [words[1:], words[:-1]] if len(words) > 2 else [words]
    return all(len({*part}) > 1 for part in parts)


def odd_end(flow: Flow, chain: Chain) -> int:
    """Which unit is named unlike all others: 0 the first, -1 the last; 1 for none. A stem may look like a block."""
    rows = [[_COUNTED.sub("", name) for name in row] for row in _rows(flow, chain)]
    units = chain.units
    for end, others in ((0, slice(1, None)), (-1, slice(None, -1))):
        if rows and len(chain.units) > 2 and all(len({*row[others]}) == 1 and row[end] != row[1] for row in rows):
            return end
        if units[others] and all(lacks_number(flow, units[end], unit) for unit in units[others]):
            return end
    return 1


def _rows(flow: Flow, chain: Chain) -> list[list[str]]:
    """The names of weights in one place of all units, where they are paths of modules and each is another one."""
    rows = [[flow.graph.read_by(edge) for edge in edges] for edges in chain.places.values()]
    return [row for row in rows if len(set(row)) == len(row) > 1 and all(_PATH.search(name) for name in row)]


def _has_weights(flow: Flow, chain: Chain) -> bool:
    """True if some weight is another one in each unit: what reads the same ones again is a step, and no block."""
    rows = ({flow.graph.read_by(edge) for edge in edges} for edges in chain.places.values())
    return any(len(row) == len(chain.units) for row in rows)


def _left_out(flow: Flow, chain: Chain, rows: Iterable[Sequence[str]]) -> bool:
    """True if a weight is named as those of the units are, and its block is none of theirs, nor beside them."""
    beside = [
        str(name)
        for segment in (*chain.entry, *chain.exit)
        for node in flow.private([segment])
        for name in flow.graph.nodes[node].input
    ]
    patterns = [(row, pattern) for row in rows if (pattern := _pattern(row)) is not None]
    known = defaultdict[str, set[str]](set)  # numbers of blocks, by what stands before them: units may begin anywhere
    for row, (head, _) in patterns:
        known[head.pattern] |= {found[1] for name in (*row, *beside) if (found := head.match(name)) is not None}
    return any(
        found[1] not in known[head.pattern]
        for _, (head, whole) in patterns
        for name in flow.graph.initializers
        if (found := whole.fullmatch(name)) is not None
    )


def _pattern(row: Sequence[str]) -> tuple[re.Pattern[str], re.Pattern[str]] | None:
    """Names that are those of a row but for the first number that is another in each unit: up to it, and whole."""
    numbers = [_NUMBER.findall(name) for name in row]
    words = _NUMBER.split(row[0])
    if any(_NUMBER.split(name) != words for name in row):
        return None
    place = next((i for i, column in enumerate(zip(*numbers, strict=True)) if len(set(column)) == len(row)), None)
    if place is None:
        return None
    pieces = [re.escape(word) for word in words]
    for i, number in enumerate(numbers[0]):
        pieces[i] += r"(\d+)" if i == place else number
    return re.compile("".join(pieces[: place + 1])), re.compile("".join(pieces))


def _read_elsewhere(flow: Flow, chain: Chain) -> bool:
    """True if a weight that one unit has for itself is read by another one too, or outside of all."""
    for edges in chain.places.values():
        names = [flow.graph.read_by(edge) for edge in edges]
        if len(set(names)) < len(names):
            continue
        for unit, name in enumerate(names):
            own = flow.private(chain.units[unit])
            wide = name in flow.graph.constants and bool(flow.graph.constants[name].dims)
            if wide and any(flow.makes_data(reader) for reader in _readers(flow, name) - own):
                return True
    return False


def _bridged(flow: Flow, chain: Chain) -> bool:
    """True if what the last unit hands on is read behind the block after it, and not to join what that block makes."""
    if not chain.exit:
        return False
    near = {node for segment in (*chain.units[-1], *chain.exit) for node in segment.nodes}
    waiting = [name for segment in chain.exit for node in segment.nodes for name in flow.outputs[node]]
    while waiting:
        for reader in _readers(flow, waiting.pop()):
            if reader not in near:
                near.add(reader)
                alone = len(flow.inputs[reader]) == 1 and not flow.weighted[reader]
                waiting += flow.outputs[reader] if alone else ()
    readers = {reader for name in chain.ends for reader in _readers(flow, name)}
    return any(flow.makes_data(reader) for reader in readers - near)


def _readers(flow: Flow, name: str) -> set[int]:
    return {flow.graph.order.home(edge.node) for edge in flow.graph.consumers.get(name, ())}
