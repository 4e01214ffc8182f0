"""The blocks of a result: which are the source's, which are mixed of several, and which were added."""

from __future__ import annotations

from dataclasses import dataclass

from front_onnx.axes.size import size_of
from front_onnx.plan.plan import Plan
from front_onnx.transform.spectral import selection

__all__ = ["Block", "Stack", "stacks"]


@dataclass(frozen=True)
class Block:
    """One block: "kept", "mixed", "added" or, of the source, "dropped"; and the source's block that it is of."""

    kind: str
    of: int | None = None


@dataclass(frozen=True)
class Stack:
    """A chain of blocks before and after.

    Attributes:
        name: of the chain.
        width, target: the residual width before and after; None where it is not known.
        before: the source's blocks.
        after: the result's.
    """

    name: str
    width: int | None
    target: int | None
    before: tuple[Block, ...]
    after: tuple[Block, ...]


def stacks(plan: Plan) -> list[Stack]:
    """The chains of a plan."""
    found = []
    for number, chain in enumerate(plan.structure.chains):
        after = _after(plan, number)
        used = {block.of for block in after if block.kind == "kept"}
        mixes = any(block.kind == "mixed" for block in after)
        kinds = ["kept" if unit in used else "mixed" if mixes else "dropped" for unit in range(len(chain.units))]
        residual = plan.structure.residuals[number]
        width = size_of(residual) if residual is not None else None
        target = plan.size(residual) if residual is not None else None
        before = tuple(Block(kind, unit) for unit, kind in enumerate(kinds))
        found.append(Stack(chain.name, width, target, before, after))
    return found


def _after(plan: Plan, number: int) -> tuple[Block, ...]:
    chain, count = plan.structure.chains[number], plan.units[number]
    if count == len(chain.units):
        return tuple(Block("kept", unit) for unit in range(count))
    contracted = plan.structure.analysis.contractions
    edges = next((edges for edges in chain.places.values() if edges[0] in contracted), None)
    if edges is None or chain.loop is not None:
        return (Block("mixed"),) * count
    names = tuple(plan.structure.graph.read_by(edge) for edge in edges)
    chosen = selection(plan.methods.depth.depth(edges, names, count, matrix=True))
    if chosen is None:
        return (Block("mixed"),) * count
    found: list[Block] = []
    seen: set[int] = set()
    for unit in map(int, chosen.indices):
        found.append(Block("added" if unit in seen else "kept", unit))
        seen.add(unit)
    return tuple(found)
