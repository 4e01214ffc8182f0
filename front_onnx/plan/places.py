"""Numbers of things along an axis that changes: best entries, and places of cuts; they stay or follow, and are told."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from front_onnx.axes.holds import Why
from front_onnx.axes.numbers import Literal, Site
from front_onnx.axes.size import Axis, AxisRole, SizeVar, size_of
from front_onnx.operators.record import Trait, record_of
from front_onnx.plan.plan import Plan
from front_onnx.read.graph import label

__all__ = ["best_entries", "cut_places", "kept_widths"]

_APART = frozenset((AxisRole.BATCH, AxisRole.REPEAT, AxisRole.GROUPS, AxisRole.VOCABULARY))  # what a size is for


def best_entries(plan: Plan) -> Iterator[str]:
    """How many of the elements of a width pass: a number that stays, or a share of it."""
    analysis = plan.structure.analysis
    found: dict[tuple[int, str, int, int], list[str]] = {}
    for index, node in enumerate(analysis.graph.nodes):
        fact = analysis.facts.get(node.input[0]) if node.op_type == "TopK" else None
        k = analysis.scalar_at(index, 1) if fact is not None else None
        if fact is None or not fact.axes or not isinstance(k, Literal) or _moves(plan, k.site):
            continue
        axis = fact.axes[analysis.graph.attribute(index, "axis")]
        if plan.size(axis) != size_of(axis):
            key = int(k.value), plan.structure.describe(axis), size_of(axis), plan.size(axis)
            found.setdefault(key, []).append(label(node))
    for (best, told, before, after), nodes in found.items():
        yield (
            f"{_several(nodes)} takes the {best} best of {told}, which becomes {after}: {best} stays, and would be "
            f"{best * after / before:.6g} if it is a share of the width"
        )


def cut_places(plan: Plan) -> Iterator[str]:
    """Places at which a width is cut that move with it, where no weight and no head says that a part is a size."""
    analysis = plan.structure.analysis
    own = {var for fact in analysis.uses.values() for axis in fact.axes or () for var in analysis.algebra.expand(axis)}
    own -= {var for axis in (*plan.structure.residuals, plan.structure.loose) for var in _free(plan, axis or ())}
    found: dict[tuple[int, int, str, int], list[str]] = {}
    for site in analysis.sites:
        node = analysis.graph.nodes[site.node]
        whole = record_of(node).has(Trait.SLICES) and node.op_type != "Split"
        if not (whole or (node.op_type == "Split" and site.slot == 1)) or not _moves(plan, site):
            continue
        axis = next((a for a in _cut_axes(plan, node.input[0]) if _is_loose(plan, a, own, even=not whole)), None)
        if axis is not None and abs(int(site.value)) < size_of(axis):
            moved = next(b.at(plan.size) for b in site.bindings if b.at(plan.size) != b.at(size_of))
            key = abs(int(site.value)), abs(int(moved)), plan.structure.describe(axis), plan.size(axis)
            found.setdefault(key, []).append(label(node))
    for (before, after, told, now), nodes in found.items():
        yield (
            f"{_several(nodes)} cuts {told} at {before}, a number in the file: at {now} it is {after}, in proportion, "
            f"which is wrong if it is a number of its own ({before})"
        )


def _cut_axes(plan: Plan, tensor: str) -> Iterator[Axis]:
    """The axes of a tensor that are cut."""
    fact = plan.structure.analysis.facts.get(tensor)
    for axis in (fact.axes or ()) if fact is not None else ():
        if any(var.parts is not None for var in plan.structure.analysis.algebra.expand(axis)):
            yield axis


def _is_loose(plan: Plan, axis: Axis, own: set[SizeVar], *, even: bool) -> bool:
    """True if an axis is a sum of different parts of which one moves and has no meaning of its own.

    `even`: parts of one size are shares of it, however they are used.
    """
    algebra = plan.structure.analysis.algebra
    for var in algebra.expand(axis):
        parts = [algebra.expand(part) for part in algebra.segments(var)] if var.parts is not None else []
        if len(set(parts)) < 2 or (even and len(set(map(size_of, parts))) == 1):
            continue
        if any(
            plan.size(p) != size_of(p) and not any(v in own or v.roles & _APART for v in _free(plan, p)) for p in parts
        ):
            return True
    return False


def _free(plan: Plan, axis: Axis) -> Iterator[SizeVar]:
    return plan.structure.analysis.algebra.free_variables(axis)


def kept_widths(plan: Plan) -> Iterator[str]:
    """Hidden widths that stay where others follow, as places in them are taken somewhere else."""
    structure = plan.structure
    widths = [dim for dim in structure.dims if dim.kind == "residual"]
    ratios = {dim.chain: Fraction(plan.sizes[dim.var], dim.var.size) for dim in widths}
    for dim in structure.dims:
        ratio = plan.request.factor or ratios.get(dim.chain, Fraction(1))
        taken = dim.hold is not None and dim.hold.why in (Why.INDICES_LEAVE, Why.BEST, Why.INDEXED)
        hidden = AxisRole.CONTRACTED in dim.var.roles and not dim.var.roles & {AxisRole.VOCABULARY, AxisRole.BATCH}
        stays = dim.kind == "fixed" and plan.sizes[dim.var] == dim.var.size and dim.name not in plan.request.dims
        if taken and hidden and stays and ratio != 1 and dim.name not in plan.request.freeze:
            yield (
                f"dim {dim.name} {dim.size} stays ({structure.reason(dim.hold)}), and would be "
                f"{float(dim.size * ratio):.6g} if it follows the width: --set {dim.name}=SIZE sets it"
            )


def _moves(plan: Plan, site: Site) -> bool:
    return any(binding.at(plan.size) != binding.at(size_of) for binding in site.bindings)


def _several(nodes: list[str]) -> str:
    return nodes[0] + (f" (and {len(nodes) - 1} more)" if len(nodes) > 1 else "")
