"""Stacks of weights: the same parameter of all repeated blocks, and which of its axes have frequencies.

A module says which by the names and shapes of its parameters; an ONNX graph by its structure, as in a plan.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn

from front_onnx.gene.basis import Basis, Segments, Whole, basis_of
from front_onnx.plan.plan import Plan
from front_onnx.transform.contents import Resampled

__all__ = ["FUSED", "ParameterStack", "stacks_of_module", "stacks_of_plan"]

# Parameters that hold queries, keys and values in one axis: each has frequencies of its own.
FUSED: Mapping[str, int] = {"*qkv*weight": 3, "*in_proj_weight": 3, "*c_attn.weight": 3}


@dataclass(frozen=True)
class ParameterStack:
    """One stack.

    Attributes:
        names: parameters in the order of the blocks; one name where nothing is repeated.
        axes: for each axis of a parameter the lengths of its segments; empty where it has no frequencies.
        shape: of one parameter.
    """

    names: tuple[str, ...]
    shape: tuple[int, ...]
    axes: tuple[tuple[int, ...], ...]

    @property
    def label(self) -> str:
        """The name of the first, and how many there are."""
        return self.names[0] if len(self.names) == 1 else f"{self.names[0]} (x{len(self.names)})"


def stacks_of_module(
    module: nn.Module, *, kernels: bool = False, singles: bool | None = None, segments: Mapping[str, int] | None = None
) -> list[ParameterStack]:
    """The stacks of a module: parameters whose names differ in one number only and whose shapes are equal.

    Args:
        module: any module.
        kernels: count the sides of convolution kernels as axes with frequencies, as the paper does; `extract` does not.
        singles: matrices that nothing repeats as well; by default only if nothing is repeated at all.
        segments: patterns of names and how many equal segments their fused axis has; `FUSED` by default.
    """
    fused = FUSED if segments is None else segments
    shapes = {
        name: tuple(parameter.shape)
        for name, parameter in module.named_parameters()
        if parameter.is_floating_point() and sum(n > 1 for n in parameter.shape) > 1
    }
    tables = {f"{name}.weight" for name, part in module.named_modules() if isinstance(part, nn.Embedding)}
    groups = _repeated(shapes)
    alone = sorted(shapes.keys() - {name for group in groups for name in group})
    if singles or (singles is None and not groups):
        groups += [(name,) for name in alone]
    return [ParameterStack(g, shapes[g[0]], _axes(g[0], shapes[g[0]], g[0] in tables, kernels, fused)) for g in groups]


def _repeated(shapes: Mapping[str, tuple[int, ...]]) -> list[tuple[str, ...]]:
    """Names that differ in one number, the largest groups first; of two alike, that of the outer number."""
    candidates: dict[tuple[str, int, tuple[int, ...]], list[tuple[int, str]]] = {}
    for name, shape in shapes.items():
        parts = re.split(r"(?<![0-9])([0-9]+)(?![0-9])", name)
        for place in range(1, len(parts), 2):
            key = "".join([*parts[:place], "*", *parts[place + 1 :]])
            candidates.setdefault((key, place, shape), []).append((int(parts[place]), name))
    left = set(shapes)
    groups: list[tuple[str, ...]] = []
    for _, members in sorted(candidates.items(), key=lambda item: (-len(item[1]), item[0][1], item[0][0])):
        names = tuple(name for _, name in sorted(members) if name in left)
        if len(names) > 1:
            groups.append(names)
            left.difference_update(names)
    return sorted(groups)


def _axes(
    name: str, shape: tuple[int, ...], table: bool, kernels: bool, fused: Mapping[str, int]
) -> tuple[tuple[int, ...], ...]:
    found: list[tuple[int, ...]] = []
    count = next((n for pattern, n in fused.items() if fnmatchcase(name, pattern)), 1)
    for place, size in enumerate(shape):
        if size == 1 or (table and place == 0) or (place > 1 and not kernels):
            found.append(())
        elif count > 1 and place < 2 and len(shape) > 1 and size == max(shape[:2]) and size % count == 0:
            found.append((size // count,) * count)
            count = 1
        else:
            found.append((size,))
    return tuple(found)


def stacks_of_plan(plan: Plan, names: Iterable[str], *, singles: bool | None = None) -> list[ParameterStack]:
    """The stacks that a learngene would cut, of a plan that changes no size, at a ratio below 1.

    Args:
        plan: of the model.
        names: parameters that are trained; a stack of others is left out.
        singles: as for `stacks_of_module`.
    """
    trained = set(names)
    found = {}
    for content in plan.contents.values():
        if isinstance(content, Resampled) and trained.issuperset(content.names):
            axes = tuple(_lengths(basis_of(axis)) for axis in content.axes)
            shape = tuple(axis.source for axis in content.axes)
            if sum(n > 1 for n in shape) > 1 and any(axes):
                found[content.names] = ParameterStack(content.names, shape, axes)
    stacks = sorted(found.values(), key=lambda stack: stack.names)
    repeated = [stack for stack in stacks if len(stack.names) > 1]
    return stacks if singles or (singles is None and not repeated) else repeated


def _lengths(basis: Basis) -> tuple[int, ...]:
    """The segments of an axis that have frequencies; none if any of them is kept whole."""
    if isinstance(basis, Whole):
        return ()
    if isinstance(basis, Segments):
        parts = [_lengths(part) for part in basis.parts]
        return tuple(n for part in parts for n in part) if all(parts) else ()
    return (basis.size,)
