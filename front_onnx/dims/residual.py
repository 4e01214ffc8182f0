"""Residual widths: the axis of the tensor between blocks that `--width` sets; found, or named by the user."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from front_onnx.axes.holds import Hold, Why
from front_onnx.axes.size import Axis, AxisRole, SizeVar, size_of
from front_onnx.blocks.chain import Chain
from front_onnx.errors import RequestError
from front_onnx.operators.analysis import Analysis
from front_onnx.read.graph import Edge

__all__ = ["chosen_residuals", "found_residual", "keeping", "shared_width"]


_STAY = frozenset((Why.NORM_GROUPS, Why.SEGMENTS, Why.FILTERS))  # factors of the width that stay
_LEAST = 4  # weights
_SET_BY_NAME = frozenset(why for why in Why if not why.freezes) - _STAY


def found_residual(analysis: Analysis, chain: Chain) -> Axis | None:
    """The axis of the tensor between blocks that weights contract: the channels, not batch, tokens or spatial sizes."""
    found = _candidates(analysis, analysis.facts[chain.end].axes or ())
    if len(found) != 1:
        return None
    analysis.algebra.release(found[0], Why.INPUT_AXIS)  # the width may be an input's: it is resized if asked for
    return found[0]


def shared_width(analysis: Analysis) -> Axis | None:
    """The width of a model without chains: what most weights have on one side, made by some and summed over by others.

    Blocks whose outputs are all read elsewhere are no chain, and their stream is one size all the same.
    """
    beside = Counter[SizeVar]()
    made, summed = set[SizeVar](), set[SizeVar]()
    weights = {analysis.graph.read_by(edge): edge for edge in analysis.contractions}
    for edge in weights.values():
        axes = analysis.uses[edge].axes or ()
        sides = [{*analysis.algebra.free_variables(axis)} for axis in axes]
        beside.update(set().union(*sides))
        place = analysis.contractions[edge]
        summed |= sides[place]
        made |= set().union(*(side for at, side in enumerate(sides) if at != place))
    found = [var for var, count in beside.most_common(1) if 2 * count > len(weights) >= _LEAST]
    found = [var for var in found if var in made & summed and not var.symbols and not _keeping(var)]
    if not found or found[0].is_held(*_STAY) or found[0].frozen or AxisRole.BATCH in found[0].roles:
        return None
    return _whole(analysis, found[0], weights.values())


def _whole(analysis: Analysis, var: SizeVar, weights: Iterable[Edge]) -> Axis:
    """What most weights have on the side that a size is on: itself, or itself twice (sines beside cosines)."""
    sides = Counter[Axis]()
    for edge in weights:
        axes = {analysis.algebra.expand(axis) for axis in analysis.uses[edge].axes or ()}
        sides.update(axis for axis in axes if {*analysis.algebra.free_variables(axis)} == {var})
    return max(sides, key=lambda axis: (sides[axis], -size_of(axis)), default=(var,))


def chosen_residuals(
    analysis: Analysis, chains: Sequence[Chain], names: Sequence[str], residuals: list[Axis | None]
) -> tuple[list[Axis | None], Axis | None]:
    """The residual of each chain, and that of a model without chains, where `TENSOR` or `TENSOR:AXIS` names them.

    Raises:
        RequestError: no such tensor or axis, several axes that could be meant, an axis of no chain.
    """
    residuals, loose = list(residuals), None
    for name in names:
        tensor, axis = _named(analysis, name)
        mine = [
            number
            for number, chain in enumerate(chains)
            if any(analysis.algebra.same(axis, other) for other in analysis.facts[chain.end].axes or ())
        ]
        if chains and not mine:
            ends = ", ".join(f"{chain.end} of {chain.name}" for chain in chains)
            raise RequestError(
                f"--residual: no chain has this axis of {tensor} between its blocks",
                got=name,
                wanted=ends,
            )
        for var in analysis.algebra.free_variables(axis):
            if not var.is_held(*_STAY):
                analysis.algebra.release((var,), *_SET_BY_NAME)
        for number in mine:
            residuals[number] = axis
        loose = axis if not chains else None
    return residuals, loose


def _named(analysis: Analysis, name: str) -> tuple[str, Axis]:
    """The tensor and the axis that `TENSOR` or `TENSOR:AXIS` names."""
    tensor, _, place = (name, "", "") if name in analysis.facts else name.rpartition(":")
    fact = analysis.facts.get(tensor)
    if fact is None:
        near = get_close_matches(tensor or name, analysis.facts, n=3)
        hint = f"perhaps {' or '.join(near)}" if near else None
        raise RequestError(f"--residual: no tensor is called {tensor or name!r}", got=name, hint=hint)
    axes = fact.axes or ()
    if place:
        digits = place.removeprefix("-")
        if not digits.isdecimal() or not -len(axes) <= int(place) < len(axes):
            raise RequestError(f"--residual: {tensor} has no axis {place}", got=name, wanted=f"0 to {len(axes) - 1}")
        found = [axes[int(place)]]
    else:
        found = _candidates(analysis, axes)
    if len(found) != 1:
        sizes = ", ".join(f"{i} ({_size(analysis, axis)})" for i, axis in enumerate(axes))
        raise RequestError(
            f"--residual: {'several axes' if found else 'no axis'} of {tensor} could be the width",
            got=name,
            wanted=f"{tensor}:AXIS, with AXIS one of {sizes}" if axes else "a tensor whose shape is known",
        )
    variables = list(analysis.algebra.free_variables(found[0]))
    if not variables or any(var.symbols for var in variables):
        raise RequestError(f"--residual: this axis of {tensor} is no width", got=_size(analysis, found[0]))
    return tensor, found[0]


def _size(analysis: Analysis, axis: Axis) -> str:
    variables = list(analysis.algebra.free_variables(axis))
    return "known at run time only" if any(var.symbols for var in variables) else str(size_of(axis))


def _candidates(analysis: Analysis, axes: Sequence[Axis]) -> list[Axis]:
    candidates = []
    for axis in axes:
        variables = list(analysis.algebra.free_variables(axis))
        if variables and all(_contracted(analysis, a) for a in analysis.algebra.expand(axis)):
            grouped = [a for a in variables if a.is_held(*_STAY)]
            kept = [hold for var in variables for hold in _keeping(var)]
            if not kept and len(grouped) < len(variables) and not any(a.symbols for a in variables):
                outside = any(a.is_held(Why.INPUT_AXIS) for a in variables)
                candidates.append((outside, axis))
    free = [axis for kept, axis in candidates if not kept]
    return free or [axis for _, axis in candidates]


def keeping(analysis: Analysis, axis: Axis) -> list[Hold]:
    """Why an axis that weights contract is no width; nothing for one that is, for batch, tokens and spatial sizes."""
    variables = list(analysis.algebra.free_variables(axis))
    if any(var.symbols for var in variables) or not all(
        _contracted(analysis, a) for a in analysis.algebra.expand(axis)
    ):
        return []
    return [hold for var in variables for hold in _keeping(var)]


def _keeping(var: SizeVar) -> list[Hold]:
    """What keeps a size besides that it is an input's or a factor of the width that stays."""
    return [h for h in var.holds if h.why.fixes and h.why not in _STAY and h.why is not Why.INPUT_AXIS]


def _contracted(analysis: Analysis, var: SizeVar) -> bool:
    return AxisRole.CONTRACTED in var.roles or (
        var.parts is not None and all(AxisRole.CONTRACTED in a.roles for a in analysis.algebra.free_variables((var,)))
    )
