"""What a model is made of: its chains of blocks and its named dims, which of them can be resized, and why not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from front_onnx.axes.holds import Hold
from front_onnx.axes.size import Axis, AxisRole, SizeVar
from front_onnx.axes.wording import reason
from front_onnx.blocks.chain import Chain
from front_onnx.blocks.segments import Flow
from front_onnx.constants.classify import Constants
from front_onnx.constants.scalars import Guess
from front_onnx.operators.analysis import Analysis
from front_onnx.read.graph import Edge, Graph

__all__ = ["KINDS", "Dim", "Structure"]

KINDS = ("residual", "heads", "kv_heads", "repeat", "head_dim", "groups", "inner", "depth", "fixed")


@dataclass(eq=False)
class Dim:
    """One size of a model, shared by everything that depends on it.

    Attributes:
        name: how users say it.
        kind: residual, heads, kv_heads, repeat (query heads per key/value head), head_dim, inner, groups, depth or
            fixed.
        size variable: the size in the algebra.
        chain: the chain whose width it follows.
        hold: why it stays as it is unless it is set by name; the one that is told.
        frozen: why it cannot change at all; the one that is told.
        edges: the node inputs that read a weight with this dim.
        times: how many equal size variables it is made of (the two halves of a rotary head).
    """

    name: str
    kind: str
    var: SizeVar
    chain: int | None = None
    hold: Hold | None = None
    frozen: Hold | None = None
    edges: list[Edge] = field(default_factory=list)
    times: int = 1

    @property
    def size(self) -> int:
        """Size in the source model."""
        return self.var.size * self.times

    @property
    def named(self) -> bool:
        """False for what an architecture computes and nobody chooses: kernels, parts of spatial sizes."""
        return self.frozen is not None or not (
            self.kind == "depth"
            or AxisRole.KERNEL in self.var.roles
            or (self.kind == "fixed" and self.hold is not None and self.hold.why.computed)
        )


@dataclass(eq=False)
class Structure:
    """An analysed model with its chains and dims.

    Attributes:
        flow: the data flow of the graph.
        residuals: the residual axis of each chain, or None where no single axis is one.
        guesses: scalars that were tied to a size and may be numbers of their own.
        loose: the residual axis of a model without chains, if one was named.
    """

    flow: Flow
    chains: list[Chain]
    residuals: list[Axis | None]
    dims: list[Dim]
    guesses: list[Guess]
    loose: Axis | None = None

    @property
    def analysis(self) -> Analysis:
        """The axes of every tensor."""
        return self.flow.analysis

    @property
    def constants(self) -> Constants:
        """What every constant is."""
        return self.flow.constants

    @property
    def graph(self) -> Graph:
        """The graph that was analysed."""
        return self.analysis.graph

    def residual_of(self, chain: int | None) -> Axis | None:
        """The residual axis of a chain, or of a model without chains."""
        return self.loose if chain is None else self.residuals[chain]

    @cached_property
    def by_variable(self) -> dict[SizeVar, Dim]:
        """The dim of a size variable."""
        return {dim.var: dim for dim in self.dims}

    @cached_property
    def depths(self) -> dict[SizeVar, int]:
        """The sizes that are depths: those of the axes along which the layers of a chain are stacked."""
        chains = enumerate(self.chains)
        return {self.analysis.algebra.expand(c.loop.axis)[0]: number for number, c in chains if c.loop is not None}

    @cached_property
    def chain_of(self) -> dict[int, int]:
        """The chain that each node of a unit or a lead belongs to."""
        found: dict[int, int] = {}
        for number, chain in enumerate(self.chains):
            for unit in (*chain.units, chain.entry, chain.exit):
                for node in self.flow.private(unit) if unit else ():
                    found[node] = number
        return found

    def reason(self, hold: Hold | None) -> str | None:
        """Why a size stays, in words."""
        return None if hold is None else reason(self.graph, hold)

    def place(self, dim: Dim) -> tuple[tuple[int, str], int]:
        """Where a dim is met first, in the order of data and not in that of the file."""
        return min((self.analysis.telling.place(edge.node), edge.slot) for edge in dim.edges)

    def first_node(self, dim: Dim) -> int:
        """The node nearest to the inputs that reads a weight with a dim."""
        return self.analysis.telling.first_node(edge.node for edge in dim.edges)

    @cached_property
    def in_order(self) -> list[Dim]:
        """The dims as they are gone through for refusals: by kind, then in the order of data."""
        return sorted(self.dims, key=lambda dim: (KINDS.index(dim.kind), dim.chain or 0, self.place(dim)))

    def describe(self, axis: Iterable[SizeVar]) -> str:
        """An axis in words: `heads 12 x head_dim 64`."""
        words = []
        for var in self.analysis.algebra.expand(axis):
            if var.parts is None:
                dim = self.by_variable.get(var)
                words.append(f"{dim.name} {var.size}" if dim else str(var.size))
            else:
                words.append("(" + " + ".join(self.describe(part) for part in var.parts) + ")")
        return " x ".join(words) or "1"
