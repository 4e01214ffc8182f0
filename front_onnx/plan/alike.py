"""Blocks stay alike: what has one size in the same place of two blocks of the source has one size there in the plan.

Sizes are found per tensor, so a block could keep what its siblings change (a cache that is declared, a number that does
not follow), and the result would still be a valid model, only none that the architecture could have. Weights, values
between nodes, inputs and outputs of the graph, numbers that stand for sizes, and attributes are compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from front_onnx.axes.size import Axis, size_of
from front_onnx.blocks.alike import tensors_alike
from front_onnx.blocks.chain import Chain
from front_onnx.blocks.ports import families
from front_onnx.errors import UnsupportedError
from front_onnx.plan.plan import Plan
from front_onnx.read.graph import Edge, label
from front_onnx.transform.contents import Numbers

__all__ = ["check_alike"]


class _Size(NamedTuple):
    """One size in one place of a block.

    Attributes:
        block: in words, which block it is of.
        what: in words, what has the size.
        node: the node that makes or reads it, by number, if there is one.
        before: the size in the source.
        after: the size that is planned.
        axis: the axis, if it is one of a tensor.
    """

    block: str
    what: str
    node: int | None
    before: object
    after: object
    axis: Axis = ()


def check_alike(plan: Plan) -> None:
    """Compare the planned sizes of all blocks of each chain.

    Raises:
        UnsupportedError: a block would differ from its siblings where it does not in the source; it names the block,
            the tensor, the dim, and the dim to set.
    """
    if not plan.resizes:
        return
    structure = plan.structure
    inputs = families(structure.flow, structure.chains) if structure.chains else []
    for chain, given in zip(structure.chains, inputs, strict=True):
        for place in _places(plan, chain, given):
            _compare(plan, chain, place)


def _places(plan: Plan, chain: Chain, given: Iterable[tuple[str, ...]]) -> Iterator[list[_Size]]:
    """For each size of a block, that size in every block."""
    analysis = plan.structure.analysis
    for names in tensors_alike(analysis, chain.nodes):
        facts = [analysis.facts.get(name) for name in names]
        makers = [plan.structure.graph.producer.get(name) for name in names]
        yield from _axes(plan, chain, names, makers, [fact.axes if fact is not None else None for fact in facts])
    for names in given:
        readers = [min((edge.node for edge in plan.structure.graph.consumers.get(n, ())), default=None) for n in names]
        yield from _axes(plan, chain, names, readers, [analysis.facts[name].axes for name in names])
    for edges in chain.places.values():
        names = tuple(map(plan.structure.graph.read_by, edges))
        nodes = [edge.node for edge in edges]
        yield from _axes(plan, chain, names, nodes, [analysis.uses[edge].axes for edge in edges])
        yield from _numbers(plan, chain, edges)
    planned = {(node, name, element): value for node, name, element, value in plan.attributes}
    for first, name, element in dict.fromkeys(planned):
        there = next((there for there in chain.nodes.values() if first in there), ())
        yield [_attribute(plan, chain, unit, node, (name, element), planned) for unit, node in enumerate(there)]


def _block(plan: Plan, chain: Chain, unit: int, node: int | None) -> str:
    """Blocks are counted from the lead on; what is beside the units is the lead's, or of a block behind them."""
    if unit < len(chain.units):
        return f"block {unit + bool(chain.entry)}"
    lead = plan.structure.flow.private(chain.entry) if chain.entry else ()
    return "block 0" if node in lead else "a block of another kind"


def _axes(
    plan: Plan,
    chain: Chain,
    names: Sequence[str],
    nodes: Sequence[int | None],
    axes: Sequence[Sequence[Axis] | None],
) -> Iterator[list[_Size]]:
    """The axes of tensors in one place, those that are known and are not one already."""
    expand = plan.structure.analysis.algebra.expand
    for at in range(max((len(own) for own in axes if own is not None), default=0)):
        if len({expand(own[at]) for own in axes if own is not None and at < len(own)}) < 2:
            continue
        yield [
            _Size(
                _block(plan, chain, unit, node),
                f"axis {at} of {name}",
                node,
                size_of(own[at]),
                plan.size(own[at]),
                own[at],
            )
            for unit, (name, node, own) in enumerate(zip(names, nodes, axes, strict=True))
            if own is not None and at < len(own)
        ]


def _numbers(plan: Plan, chain: Chain, edges: Sequence[Edge]) -> Iterator[list[_Size]]:
    """The elements of constants that stand for sizes."""
    contents = [plan.contents.get(edge) for edge in edges]
    if not any(isinstance(content, Numbers) for content in contents):
        return
    graph = plan.structure.graph
    names = [*map(graph.read_by, edges)]
    before = [graph.array(name).reshape(-1).tolist() for name in names]
    after = [
        list(content.values) if isinstance(content, Numbers) else known
        for content, known in zip(contents, before, strict=True)
    ]
    for at in range(min(map(len, before))):
        yield [
            _Size(
                _block(plan, chain, unit, None),
                f"number {at} of {name}",
                edges[unit].node,
                before[unit][at],
                after[unit][at],
            )
            for unit, name in enumerate(names)
        ]


def _attribute(
    plan: Plan,
    chain: Chain,
    unit: int,
    node: int,
    which: tuple[str, int | None],
    planned: dict[tuple[int, str, int | None], int | float],
) -> _Size:
    name, element = which
    before = plan.structure.graph.attribute(node, name)
    if element is not None and isinstance(before, Sequence):
        before = before[element] if element < len(before) else None
    return _Size(
        _block(plan, chain, unit, node), f"{name} of its node", node, before, planned.get((node, name, element), before)
    )


def _compare(plan: Plan, chain: Chain, sizes: list[_Size]) -> None:
    """Refuse a size that parts from those which the source has like it.

    Raises:
        UnsupportedError: one does.
    """
    by_source: dict[object, list[_Size]] = {}
    for size in sizes:
        by_source.setdefault(size.before, []).append(size)
    for together in by_source.values():
        if len({size.after for size in together}) > 1:
            raise _refusal(plan, chain, together)


def _refusal(plan: Plan, chain: Chain, together: list[_Size]) -> UnsupportedError:
    """The block that differs from most others is the odd one; the first one of two."""
    common = Counter(size.after for size in together).most_common()[0][0]
    odd = next(size for size in together if size.after != common)
    other = next(size for size in together if size.after == common)
    structure = plan.structure
    dims = [structure.by_variable.get(var) for var in structure.analysis.algebra.free_variables(odd.axis)]
    others = [structure.by_variable.get(var) for var in structure.analysis.algebra.free_variables(other.axis)]
    mine = next((dim for dim in dims if dim is not None and dim not in others), None)
    theirs = [dim for dim in others if dim is not None and dim not in dims]
    kept = [dim for dim in (*filter(None, [mine]), *theirs) if plan.sizes[dim.var] != dim.var.size]
    hints = [f"--set {dim.name}={dim.size} keeps both blocks as they are" for dim in kept[:1]]
    if mine is not None and mine.frozen is None and len(theirs) == 1 and mine.size == theirs[0].size:
        hints.insert(0, f"--set {mine.name}={plan.sizes[theirs[0].var] * theirs[0].times} if it may follow")
    return UnsupportedError(
        f"the blocks of {chain.name} would not stay alike: {odd.what} would be {odd.after} in {odd.block}, where "
        f"{other.block} has {other.after} ({other.what})",
        node=label(structure.graph.nodes[odd.node], odd.node) if odd.node is not None else None,
        dim=mine.name if mine is not None else None,
        got=odd.after,
        wanted=other.after,
        hint=", or ".join(hints) or "--set keeps the dims of this block as they are",
    )
