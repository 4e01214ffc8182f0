"""Residual widths: the axis of the tensor between blocks that `--width` sets; found, or named by the user."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from front_onnx.errors import RequestError
from front_onnx.understand.analysis import Analysis
from front_onnx.understand.atoms import Atom, Axis, size_of
from front_onnx.understand.blocks import Chain

__all__ = ["chosen_residuals", "found_residual"]


_STAYS = ("the number of groups", "the number of segments")  # of a norm, of a Concat: factors of the width that stay


def found_residual(analysis: Analysis, chain: Chain) -> Axis | None:
    """The axis of the tensor between blocks that weights contract: the channels, not batch, tokens or image sides."""
    found = _candidates(analysis, analysis.facts[chain.end].axes or ())
    return _free(analysis, found[0]) if len(found) == 1 else None


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
        _free(analysis, axis)
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
    atoms = list(analysis.algebra.free_atoms(found[0]))
    if not atoms or any(map(_symbolic, atoms)):
        raise RequestError(f"--residual: this axis of {tensor} is no width", got=_size(analysis, found[0]))
    return tensor, found[0]


def _size(analysis: Analysis, axis: Axis) -> str:
    atoms = list(analysis.algebra.free_atoms(axis))
    return "known at run time only" if any(map(_symbolic, atoms)) else str(size_of(axis))


def _candidates(analysis: Analysis, axes: Sequence[Axis]) -> list[Axis]:
    candidates = []
    for axis in axes:
        atoms = list(analysis.algebra.free_atoms(axis))
        if atoms and all(_contracted(analysis, a) for a in analysis.algebra.expand(axis)):
            kept = [a.fixed for a in atoms if a.fixed]
            grouped = [reason for reason in kept if reason.startswith(_STAYS)]
            outside = [reason for reason in kept if reason.startswith("axis ")]
            known = len(grouped) + len(outside) == len(kept) and len(grouped) < len(atoms)
            if known and not any(map(_symbolic, atoms)):
                candidates.append((bool(outside), axis))
    free = [axis for kept, axis in candidates if not kept]
    return free or [axis for _, axis in candidates]


def _contracted(analysis: Analysis, atom: Atom) -> bool:
    return "contracted" in atom.roles or (
        atom.parts is not None and all("contracted" in a.roles for a in analysis.algebra.free_atoms((atom,)))
    )


def _free(analysis: Analysis, axis: Axis) -> Axis:
    """The width may be an input's: it is resized because it is asked for."""
    for atom in analysis.algebra.free_atoms(axis):
        if not (atom.fixed or "").startswith(_STAYS):
            atom.fixed = None
    return axis


def _symbolic(atom: Atom) -> bool:
    return any(role.startswith("symbol:") for role in atom.roles)
