"""Linear algebra: MatMul, Gemm, Einsum, Det."""

from __future__ import annotations

from collections.abc import Sequence

from front_onnx.axes.size import Axis, AxisRole, Conflict, size_of
from front_onnx.operators.context import RuleContext
from front_onnx.operators.equation import parse
from front_onnx.operators.record import Trait, operator
from front_onnx.read.graph import Edge

__all__ = ["gemm", "note_contraction", "note_mixed_heads"]


def note_contraction(ctx: RuleContext, inner: Axis, batch: list[Axis], weighted: bool) -> None:
    """Roles that tell heads from head dims: see `structure.py`."""
    if weighted:
        ctx.role(inner, AxisRole.CONTRACTED)
        return
    ctx.role(inner, AxisRole.INNER)
    ctx.records.products[ctx.index] = inner
    for axis in batch:
        ctx.role(axis, AxisRole.BATCH)
        if axis and not ctx.is_fixed(axis):
            ctx.role(inner, AxisRole.HEAD)  # also where weights have heads and their size on axes of their own


def _is_weighted(ctx: RuleContext, places: Sequence[int]) -> bool:
    """True if an operand is a weight, or made of constants beside data.

    What a network makes of its own parameters before it meets data (a decoder that attends over its queries) is no
    weight: of two such operands, none is.
    """
    held = [slot for slot in range(len(places)) if ctx.constant(slot)]
    if len(held) < len(places):
        return bool(held)
    return any(ctx.records.origin(Edge(ctx.index, slot), places[slot]) is not None for slot in held)


def note_mixed_heads(ctx: RuleContext, summed: Axis, made: Axis) -> None:
    """What a weight makes of heads alone are heads (talking heads, Shazeer et al. 2020)."""
    if summed and all(AxisRole.BATCH in var.roles for var in ctx.algebra.free_variables(summed)):
        ctx.role(made, AxisRole.BATCH)


@operator("MatMul", "MatMulInteger", traits=Trait.CONTRACTS | Trait.PRODUCT | Trait.PARAMETERS)
def matmul(ctx: RuleContext) -> None:
    """numpy.matmul: [..., m, k] x [..., k, n], either side possibly a vector."""
    a, b = ctx.axes(0), ctx.axes(1)
    if not a or not b:
        raise Conflict("a scalar operand")
    inner_a, inner_b = a[-1], b[-2] if len(b) > 1 else b[-1]
    ctx.unify(inner_a, inner_b)
    batch = ctx.broadcast(a[:-2], b[:-2]) if max(len(a), len(b)) > 2 else ()
    looked_up = len(b) > 2 and size_of(inner_a) > 1 and ctx.contract_entry(1, len(b) - 2, len(b) - 1)
    looked_up = looked_up or (len(a) > 2 and size_of(inner_a) > 1 and ctx.contract_entry(0, len(a) - 1, len(a) - 2))
    weighted = _is_weighted(ctx, (len(a) - 1, max(len(b) - 2, 0))) or looked_up
    note_contraction(ctx, inner_a, list(batch), weighted)
    ctx.sums(0, len(a) - 1)
    ctx.sums(1, max(len(b) - 2, 0))
    if size_of(inner_a) > 1:  # a sum over one entry is an outer product: it scales, it does not mix
        if not ctx.constant(1):  # of two constants, the first is a table that the second is the weight for
            ctx.contract(0, len(a) - 1)
        ctx.contract(1, max(len(b) - 2, 0))
    if ctx.constant(1) and len(a) > 3 and len(b) == 2:
        note_mixed_heads(ctx, inner_a, b[1])
    ctx.out((*batch, *(a[-2:-1] if len(a) > 1 else ()), *(b[-1:] if len(b) > 1 else ())))


@operator("Gemm", traits=Trait.CONTRACTS | Trait.PRODUCT | Trait.PARAMETERS)
def gemm(ctx: RuleContext) -> None:
    """alpha * A' * B' + beta * C, with C broadcast to [m, n]."""
    a, b = ctx.axes(0), ctx.axes(1)
    m, k = a[::-1] if ctx.attr("transA") else a
    k2, n = b[::-1] if ctx.attr("transB") else b
    ctx.unify(k, k2)
    note_contraction(ctx, k, [], ctx.constant(0) or ctx.constant(1))
    for slot, place in ((0, 0 if ctx.attr("transA") else 1), (1, 1 if ctx.attr("transB") else 0)):
        ctx.sums(slot, place)
        ctx.contract(slot, place)
    out = (m, n)
    ctx.out(ctx.broadcast(out, ctx.axes(2)) if 2 in ctx else out)


def _einsum_terms(ctx: RuleContext) -> tuple[list[str], str]:
    """The letters of each operand and of the result; digits, counted from the last, for what an ellipsis covers."""
    terms, right = parse(ctx.attr("equation"))
    most = 0
    for slot, term in enumerate(terms):
        if "..." in term:
            covered = len(ctx.axes(slot)) - len(term) + 3
            most = max(most, covered)
            terms[slot] = term.replace("...", "".join(map(str, range(covered)))[::-1])
    return terms, right.replace("...", "".join(map(str, range(most)))[::-1])


def _heads_of_one(ctx: RuleContext, inner: Axis, kept: list[Axis], own: list[list[Axis]]) -> list[Axis]:
    """Heads of queries that share one key head: beside its places, one axis of an operand alone can be resized.

    Where both operands have heads as well, they are the queries of each group and no heads of their own.
    """
    found = []
    for axes in own:
        free = [axis for axis in axes if axis and not ctx.is_fixed(axis)]
        if len(axes) > 1 and len(free) == 1 and not ctx.is_fixed(inner):
            if any(axis and not ctx.is_fixed(axis) for axis in kept):
                ctx.role(free[0], AxisRole.REPEAT)
            else:
                found += free
    return found


def _note_joint(ctx: RuleContext, summed: list[Axis]) -> None:
    """What a weight sums over together with heads is their size."""
    heads = [axis for axis in summed if any(AxisRole.BATCH in var.roles for var in ctx.algebra.free_variables(axis))]
    for axis in summed:
        if heads and axis not in heads:
            ctx.role(axis, AxisRole.HEAD)


@operator("Einsum", traits=Trait.CONTRACTS | Trait.PRODUCT | Trait.PARAMETERS)
def einsum(ctx: RuleContext) -> None:
    """Axes with one letter are one axis; the ellipsis broadcasts."""
    terms, right = _einsum_terms(ctx)
    seen: dict[str, Axis] = {}
    for slot, term in enumerate(terms):
        for letter, axis in zip(term, ctx.axes(slot), strict=True):
            if letter.isdigit():
                (seen[letter],) = ctx.broadcast((seen.get(letter, ()),), (axis,))
            elif letter in seen:
                ctx.unify(seen[letter], axis)
            else:
                seen[letter] = axis
    weighted = any(ctx.constant(slot) for slot in range(len(terms)))
    shared = [letter for letter in seen if sum(letter in term for term in terms) > 1]
    kept = [seen[o] for o in shared if o in right]
    for letter in shared:
        if letter not in right:
            own = [[seen[o] for o in term if o in right and o not in shared] for term in terms]
            heads = [] if weighted else _heads_of_one(ctx, seen[letter], kept, own)
            note_contraction(ctx, seen[letter], kept + heads, weighted)
    for slot, term in enumerate(terms):
        if weighted and ctx.constant(slot) and len(term) == 2 and len(right) > 3:
            into, out = ([seen[o] for o in term if (o in right) is kept] for kept in (False, True))
            if len(into) == 1:
                note_mixed_heads(ctx, into[0], out[0])
    if weighted:
        _note_joint(ctx, [seen[letter] for letter in shared if letter not in right])
    for slot, term in enumerate(terms):
        summed = [place for place, letter in enumerate(term) if letter not in right]
        if summed:  # else a product entry by entry, or an outer one
            ctx.sums(slot, *summed)
        for place, letter in enumerate(term):
            if letter in shared and letter not in right:
                ctx.contract(slot, place)
    ctx.out(tuple(seen[letter] for letter in right))


@operator("Det")
def det(ctx: RuleContext) -> None:
    """Determinants of square matrices [..., m, m] -> [...]."""
    *batch, rows, columns = ctx.axes(0)
    ctx.unify(rows, columns)
    ctx.out(batch)
