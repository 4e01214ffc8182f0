"""What parts modules that count like blocks and are none: told where a depth is asked for and no chain is found."""

from __future__ import annotations

import re
from collections import Counter, defaultdict

from front_onnx.blocks.segments import Flow
from front_onnx.operators.record import Trait, record_of
from front_onnx.read.graph import Edge, label

__all__ = ["unlike"]

_NUMBER = re.compile(r"(?:^|(?<=[/._]))\d+(?=[/._]|$)")
_FEW = 3  # names that are shown


def unlike(flow: Flow) -> str | None:
    """Why recurrent layers, or modules whose names count, are no chain of blocks, in words; None if there are none."""
    if (why := _parts_of_a_state(flow)) is not None:
        return why
    modules = _modules(flow)
    if modules is None:
        return None
    stem, numbers = modules
    first, second = sorted(numbers)[-2:]  # the first module of all may be another one
    one, other = f"{stem}{first}", f"{stem}{second}"
    reached = _reached(flow, numbers[first])
    handed = [name for name in dict.fromkeys(flow.entering(numbers[second])) if name in reached]
    if len(handed) > 1:
        shown = ", ".join(handed[:_FEW]) + (", ..." if len(handed) > _FEW else "")
        return f"{one} hands {len(handed)} tensors to {other} ({shown}), and no two blocks in a row make them alike"
    pair = numbers[first], numbers[second]
    operators = [Counter(flow.graph.nodes[i].op_type for i in nodes if flow.makes_data(i)) for nodes in pair]
    more, fewer = operators[0] - operators[1], operators[1] - operators[0]
    if more or fewer:
        alone = [f"{_shown(found)} in {name} alone" for found, name in ((more, one), (fewer, other)) if found]
        return f"{one} and {other} differ: {', '.join(alone)}"
    shapes = [_shapes(flow, nodes) for nodes in pair]
    if shapes[0] != shapes[1]:
        own, theirs = next(iter(shapes[0] - shapes[1]), None), next(iter(shapes[1] - shapes[0]), None)
        return f"weights of {one} and {other} differ in shape: {_sizes(own)} and {_sizes(theirs)}"
    return None


def _parts_of_a_state(flow: Flow) -> str | None:
    """What to say of recurrent layers whose states are parts of one input; None where there are none."""
    readers: dict[str, list[int]] = defaultdict(list)
    for index, node in enumerate(flow.graph.nodes):
        for name in node.input[5:7] if record_of(node).has(Trait.RECURRENT) else ():
            while (maker := flow.graph.producer.get(name)) is not None:
                if not record_of(flow.graph.nodes[maker]).has(Trait.MOVES | Trait.SLICES | Trait.PICKS):
                    break
                name = flow.graph.nodes[maker].input[0]
            if name in {info.name for info in flow.graph.inputs}:
                readers[name].append(index)
    for name, nodes in readers.items():
        if len(nodes) > 1:
            one, other = (label(flow.graph.nodes[index]) for index in nodes[:2])
            return (
                f"{one} and {other} begin with parts of input {name}, which do not come and go with a layer as an "
                "input of its own would; exported without states as inputs, the layers are a chain"
            )
    return None


def _modules(flow: Flow) -> tuple[str, dict[int, set[int]]] | None:
    """The stem with a number behind it that most names of weighted nodes or their weights begin with; its nodes."""
    found: dict[str, dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
    for index, node in enumerate(flow.graph.nodes):
        names = [node.name, *(name for name in node.input if name in flow.graph.initializers)]
        for name in names:
            match = _NUMBER.search(name)
            if match is not None and flow.makes_data(index):
                found[name[: match.start()]][int(match[0])].add(index)
                break
    counted = {
        stem: numbers
        for stem, numbers in found.items()
        if len(numbers) > 1 and sum(any(flow.weighted[i] for i in nodes) for nodes in numbers.values()) > 1
    }
    best = max(counted, key=lambda stem: sum(map(len, counted[stem].values())), default=None)
    return None if best is None else (best, dict(counted[best]))


def _reached(flow: Flow, nodes: set[int]) -> set[str]:
    """All data that depend on what some nodes make."""
    reached = {name for index in nodes for name in flow.outputs[index]}
    for index in range(min(nodes), len(flow.inputs)):
        if not reached.isdisjoint(flow.inputs[index]):
            reached.update(flow.outputs[index])
    return reached


def _shapes(flow: Flow, nodes: set[int]) -> Counter[tuple[int, ...]]:
    """How often each shape of a weight is read by some nodes."""
    edges = [Edge(index, slot) for index in nodes for slot in range(len(flow.graph.nodes[index].input))]
    names = [flow.graph.read_by(edge) for edge in edges if edge in flow.analysis.contractions]
    return Counter(tuple(flow.graph.constants[name].dims) for name in names)


def _shown(operators: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in operators.most_common(_FEW))


def _sizes(shape: tuple[int, ...] | None) -> str:
    return "none" if shape is None else " x ".join(map(str, shape))
