"""Rounding, on request only: widths to a multiple of what hardware likes, heads to whole heads.

A width is rounded first, and what follows it follows the rounded one. Sizes that do not change, that are set by name or
that are not a width (head_dim, vocabulary, groups) are never rounded.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction

from front_onnx.axes.algebra import Algebra
from front_onnx.axes.size import Axis, SizeVar, size_of
from front_onnx.dims.structure import Dim, Structure

__all__ = ["Rounding"]


class Rounding:
    """Rounds to multiples of `step`; does nothing without one.

    With `whole_heads`, widths are rounded to multiples of the size of a head as well: some graphs compute one from the
    other.

    Attributes:
        rounded: the exact sizes of the dims that were rounded, by size variable.
    """

    def __init__(self, structure: Structure, step: int | None, whole_heads: bool = False) -> None:
        self.structure, self.step, self.whole_heads = structure, step, whole_heads
        self.rounded: dict[SizeVar, Fraction] = {}

    def ratios(self, ratios: Iterable[Fraction]) -> list[Fraction]:
        """For each chain, and for what is in none, the ratio that gives its residual width a rounded size."""
        axes = [*self.structure.residuals, self.structure.loose]
        return [self._ratio(chain, *each) for chain, each in enumerate(zip(axes, ratios, strict=True))]

    def _ratio(self, chain: int, axis: Axis | None, ratio: Fraction) -> Fraction:
        variables = self.structure.analysis.algebra.expand(axis or ())
        if self.step is None or ratio == 1 or len(variables) != 1 or variables[0].parts is not None:
            return ratio  # a width made of heads is rounded with them
        heads = [d.size for d in self.structure.dims if d.kind == "head_dim" and d.chain == chain]
        step = math.lcm(self.step, *heads) if self.whole_heads else self.step
        return Fraction(self._round(variables[0], variables[0].size * ratio, step), variables[0].size)

    def size(self, dim: Dim, wanted: Fraction) -> Fraction:
        """The size of a dim that follows the width and would become `wanted`."""
        if self.step is None or wanted == dim.size or dim.kind not in ("residual", "inner", "heads", "kv_heads"):
            return wanted
        return Fraction(self._round(dim.var, wanted, 1 if dim.kind in ("heads", "kv_heads") else self._step(dim)))

    def _round(self, var: SizeVar, size: Fraction, step: int) -> int:
        """The nearest positive multiple of a step; halves go up."""
        found = max(step, math.floor(size / step + Fraction(1, 2)) * step)
        if found != size:
            self.rounded.setdefault(var, size)
        return found

    def _step(self, dim: Dim) -> int:
        """A dim that is part of a product (channels per group) has the whole product rounded."""
        assert self.step is not None
        algebra, uses = self.structure.analysis.algebra, self.structure.analysis.uses
        axes = [axis for edge in dim.edges for axis in uses[edge].axes or ()]
        beside = [rest for axis in axes for rest in _beside(algebra, dim.var, axis)]
        return min((self.step // math.gcd(self.step, rest) for rest in beside), default=self.step)


def _beside(algebra: Algebra, var: SizeVar, axis: Axis, outer: int = 1) -> Iterator[int]:
    """The product of all that stands beside a size variable, for each place that it has in an axis."""
    axis = algebra.expand(axis)
    for place, other in enumerate(axis):
        rest = outer * size_of((*axis[:place], *axis[place + 1 :]))  # which may be empty
        if other is var:
            yield rest
        for part in other.parts or ():
            yield from _beside(algebra, var, part, rest)
