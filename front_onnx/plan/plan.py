"""The plan: every edit that a request needs, as data, before any weight is computed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property

from front_onnx.axes.size import SizeVar
from front_onnx.dims.structure import Structure
from front_onnx.methods.chosen import Chosen
from front_onnx.methods.method import Method, Setting
from front_onnx.plan.request import Request
from front_onnx.read.graph import Edge
from front_onnx.transform.contents import Content

__all__ = ["Plan"]


@dataclass(eq=False)
class Plan:
    """Every edit, as data.

    Attributes:
        sizes: the target size of every dim, by size variable.
        units: the number of units of every chain.
        rounded: what dims would have become without `--round-to`, by size variable.
        contents: what a constant that a node input reads is to hold, where that is not the source's tensor.
        clones: the same for the units that are added: by (chain, unit), by the edge of the last unit.
        attributes: (node, attribute, element, value).
        warnings: what the user should look at.
    """

    structure: Structure
    request: Request
    sizes: dict[SizeVar, int]
    units: list[int]
    rounded: dict[SizeVar, Fraction] = field(default_factory=dict)
    contents: dict[Edge, Content] = field(default_factory=dict)
    clones: dict[tuple[int, int], dict[Edge, Content]] = field(default_factory=dict)
    attributes: list[tuple[int, str, int | None, int | float]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def size(self, axis: Iterable[SizeVar]) -> int:
        """The target size of an axis."""
        return self.structure.analysis.algebra.evaluate(axis, lambda var: self.sizes.get(var, var.size))

    @cached_property
    def methods(self) -> Chosen:
        """How weights are carried over.

        Raises:
            RequestError: a method says no to a variant or a ratio.
        """
        request = self.request
        setting = Setting(
            self.structure,
            self.sizes,
            self.units,
            scale=request.scale,
            ratio=request.ratio,
            band=request.band,
            symmetry=request.symmetry,
            seed=request.seed,
            evidence=request.evidence,
        )
        return Chosen.by_name(request.methods, setting)

    def is_for(self, method: Method, direction: str) -> bool:
        """True if a method was chosen for "width" or "depth"."""
        return (self.methods.width if direction == "width" else self.methods.depth) is method

    @cached_property
    def depths(self) -> list[tuple[int, int]]:
        """(before, after) of each chain, in layers."""
        return [
            (chain.depth, units * chain.layers + chain.beside)
            for chain, units in zip(self.structure.chains, self.units, strict=True)
        ]

    @property
    def resizes(self) -> bool:
        """True if any size or any depth changes."""
        return any(a != b for a, b in self.depths) or any(var.size != size for var, size in self.sizes.items())
