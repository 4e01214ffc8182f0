"""Chains by hand: the user names one repeated unit, and its repeats are looked for before and behind it.

A unit is named by its first and last node, or by the tensor it reads and the one it makes: `NODE..NODE`. Nodes stand
for the cut tensors around them, so the unit is what lies between two cuts; tensors have to be cuts themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import islice, pairwise

from front_onnx.axes.size import size_of
from front_onnx.blocks.chain import Chain
from front_onnx.blocks.chains import chain_at
from front_onnx.blocks.segments import Flow, Segment
from front_onnx.errors import RequestError
from front_onnx.read.graph import Edge, label

__all__ = ["chosen_chains"]

_SOURCES = 24  # how many early weights are tried as the place where a chain could start

_Cuts = list[tuple[str, list[int]]]


@dataclass(frozen=True)
class _Stretch:
    """The named unit on one way through the graph: segments `first` ... `last`, repeated from `start` `count` times."""

    segments: list[Segment]
    first: int
    last: int
    start: int
    count: int

    @property
    def period(self) -> int:
        return self.last + 1 - self.first

    @property
    def nodes(self) -> set[int]:
        stop = self.start + self.count * self.period
        return {node for segment in self.segments[self.start : stop] for node in segment.nodes}


def chosen_chains(flow: Flow, blocks: Sequence[str]) -> list[Chain]:
    """The chains of the units that are named, in graph order.

    Raises:
        RequestError: no such node, no cuts around the unit, no repeat of it, or units that overlap.
    """
    stretches = sorted(((_stretch(flow, text), text) for text in blocks), key=lambda found: min(found[0].nodes))
    for (one, left), (other, right) in pairwise(stretches):
        if not one.nodes.isdisjoint(other.nodes):
            raise _refusal(
                "--block names two units of one chain", min(one.nodes & other.nodes), flow, got=right, wanted=left
            )
    chains = []
    for number, (found, text) in enumerate(stretches, start=1):
        chain = chain_at(flow, found.segments, found.start, found.period, found.count, number)
        if chain is None:
            node = found.segments[found.first].nodes[0]
            raise _refusal(
                "the repeats of this unit do not read their weights in the same places", node, flow, got=text
            )
        chains.append(replace(chain, layers=1))  # the unit that was named is what --depth counts
    return chains


def _stretch(flow: Flow, text: str) -> _Stretch:
    """The named unit where it repeats most often."""
    first, last = _ends(flow, text)
    best: _Stretch | None = None
    turned = False
    for cuts in _ways(flow, first, last):
        begins = {name: number for number, (name, _) in enumerate(cuts)}
        holds = {node: number for number, (_, nodes) in enumerate(cuts[1:]) for node in nodes}
        start = holds.get(first) if isinstance(first, int) else begins.get(first)
        stop = holds.get(last) if isinstance(last, int) else begins.get(last, 0) - 1
        if start is None or stop is None or not 0 <= start < len(cuts) - 1 or stop < 0:
            continue
        if stop < start:
            turned = True
            continue
        found = _repeated(flow.segments(cuts), start, stop)
        if best is None or found.count > best.count:
            best = found
    if best is None and turned:
        raise RequestError("--block names the end of a unit before its beginning", got=text)
    if best is None:
        raise _no_cut(flow, first, last, text)
    if best.count < 2:
        raise _no_repeat(flow, best, text)
    return best


def _ends(flow: Flow, text: str) -> tuple[int | str, int | str]:
    """The ends of a unit: numbers of nodes, or names of tensors."""
    pairs = [(text[:at], text[at + 2 :]) for at in range(len(text)) if text.startswith("..", at)]
    pairs = [pair for pair in pairs if all(pair)]
    if not pairs:
        raise RequestError("--block takes the first and the last node of a unit", got=text, wanted="NODE..NODE")
    nodes: dict[str, list[int]] = {}
    for index, node in enumerate(flow.graph.nodes):
        nodes.setdefault(node.name, []).append(index)
    tensors = {*flow.graph.producer, *(info.name for info in flow.graph.inputs)}

    def known(name: str) -> bool:
        return name in nodes or name in tensors

    names = next((pair for pair in pairs if all(map(known, pair))), pairs[0])
    for name in names:
        if not known(name):
            near = get_close_matches(name, [n for n in (*nodes, *tensors) if n], n=3)
            hint = f"perhaps {' or '.join(near)}" if near else None
            raise RequestError(f"--block: no node or tensor is called {name!r}", hint=hint)
        if name not in tensors and len(nodes[name]) > 1:
            hint = "name the tensors between the units instead"
            raise RequestError(f"--block: {len(nodes[name])} nodes are called {name!r}", hint=hint)
    first, last = ((nodes[n][0] if len(nodes.get(n, ())) == 1 else n) for n in names)
    return first, last


def _ways(flow: Flow, first: int | str, last: int | str) -> Iterator[_Cuts]:
    """The cuts of each way through the graph on which the unit may lie: to any output, the one of most work first.

    A way begins at an input, at an early weight, or where the unit does.
    """
    behind = {name: flow.behind(name) for name in flow.graph.outputs}
    maker = last if isinstance(last, int) else flow.graph.producer.get(last)
    for sink in sorted(behind, key=lambda name: -sum(flow.weighted[node] for node in behind[name])):
        if maker not in behind[sink]:
            continue
        early = islice((node for node in sorted(behind[sink]) if flow.weighted[node]), _SOURCES)
        sources = [info.name for info in flow.graph.inputs]
        sources += [name for node in early for name in flow.graph.nodes[node].output]
        sources += flow.inputs[first] if isinstance(first, int) else [first]
        tried: set[tuple[str, ...]] = set()
        for source in dict.fromkeys(sources):
            cuts = flow.cuts(source, sink, behind[sink])
            names = tuple(name for name, _ in cuts)
            if names not in tried:
                tried.add(names)
                yield cuts


def _repeated(segments: list[Segment], first: int, last: int) -> _Stretch:
    """The unit with all its repeats before and behind it."""
    period = last + 1 - first
    unit = [segment.signature for segment in segments[first : last + 1]]

    def alike(start: int) -> bool:
        return start >= 0 and [s.signature for s in segments[start : start + period]] == unit

    start, stop = first, first + period
    while alike(start - period):
        start -= period
    while alike(stop):
        stop += period
    return _Stretch(segments, first, last, start, (stop - start) // period)


# -- refusals -------------------------------------------------------------------------------------------------


def _refusal(message: str, node: int, flow: Flow, **details: object) -> RequestError:
    return RequestError(message, node=label(flow.graph.nodes[node], node), **details)  # type: ignore[arg-type]


def _no_cut(flow: Flow, first: int | str, last: int | str, text: str) -> RequestError:
    """Nothing cuts the graph at one of the ends, or it is no part of the data's way to an output."""
    for end in (first, last):
        node = end if isinstance(end, int) else flow.graph.producer.get(end)
        if node is not None and not any(node in flow.behind(name) for name in flow.graph.outputs):
            return _refusal("--block names what carries no data to an output", node, flow, got=text)
    hint = "name a tensor that all data between the units passes through, or a node behind it"
    if isinstance(first, str) or isinstance(last, str):
        tensor = first if isinstance(first, str) else last
        return RequestError(f"--block: other data passes tensor {tensor} by", got=text, hint=hint)
    return _refusal(
        "--block: no tensors that all data passes through lie around this unit", first, flow, got=text
    ).with_hint(hint)


def _no_repeat(flow: Flow, found: _Stretch, text: str) -> RequestError:
    """What differs first in the stretch that should be the next unit, or else the one before."""
    segments, period = found.segments, found.period
    unit = segments[found.first : found.last + 1]
    reached: list[tuple[int, Segment, Segment]] = []
    for start in (found.last + 1, found.first - period):
        for place, mine in enumerate(unit):
            if not 0 <= start + place < len(segments):
                continue
            theirs = segments[start + place]
            if mine.signature != theirs.signature:
                reached.append((place, mine, theirs))
                break
    message = f"--block: the unit {text} does not repeat"
    if not reached:
        return RequestError(f"{message}: there is nothing like it before or behind it")
    _, mine, theirs = max(reached, key=lambda entry: entry[0])
    ours, others = flow.node_hashes(mine), flow.node_hashes(theirs)
    wanted = next((n for n, value in ours.items() if value not in others.values()), mine.nodes[-1])
    got = next((n for n, value in others.items() if value not in ours.values()), theirs.nodes[-1])
    return _refusal(
        message,
        got,
        flow,
        got=_about(flow, got),
        wanted=f"{_about(flow, wanted)} like {label(flow.graph.nodes[wanted])}",
    )


def _about(flow: Flow, index: int) -> str:
    """An operator and the shapes of the weights it reads."""
    shapes = []
    for slot, name in enumerate(flow.graph.nodes[index].input):
        fact = flow.analysis.uses.get(Edge(index, slot)) or flow.analysis.facts.get(name)
        if fact is not None and fact.constant and fact.value is None and fact.axes is not None:
            shapes.append(str([size_of(axis) for axis in fact.axes]))
    return " ".join([flow.graph.nodes[index].op_type, *shapes])
