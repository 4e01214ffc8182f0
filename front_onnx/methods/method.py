"""What a method decides: a map for every axis that changes, and one over the blocks where their number changes.

Each dim of size N that becomes M has a pair of maps: the encoder P [M, N] takes what the source computes to what the
target computes, the decoder D [N, M] back. A weight becomes W' = P_out W D_in, a bias b' = P_out b, a table E' = E P^T.
A method gives both as maps from N entries to M: P as it is, and the transpose of D.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from front_onnx.axes.size import Axis, SizeVar
from front_onnx.dims.structure import Structure
from front_onnx.errors import RequestError
from front_onnx.methods.evidence import Evidence
from front_onnx.read.graph import Edge
from front_onnx.transform.contents import Content, Resampled
from front_onnx.transform.maps import AxisMap

__all__ = ["Draft", "Method", "Refusal", "Setting", "Use"]


class Refusal(RequestError):
    """A method has nothing for the sizes that are asked for; they are right all the same, for another one."""


@dataclass(frozen=True)
class Setting:
    """What a method works on.

    Attributes:
        structure: the source.
        sizes: the target size of every dim, by size variable.
        units: the number of units of every chain.
        variant: what was said behind the name of the method ("select:first").
        scale: how FRONT and other bases scale values (see `scale.py`).
        ratio: part of the coefficients kept along every axis.
        band: which coefficients those are: "low", "mid" or "high".
        symmetry: how unequal the shares of copies are.
        seed: for what is drawn.
        evidence: what activations showed; None where nobody looked.
    """

    structure: Structure
    sizes: Mapping[SizeVar, int]
    units: Sequence[int]
    variant: str | None = None
    scale: str = "auto"
    ratio: float = 1.0
    band: str = "low"
    symmetry: float = 0.0
    seed: int = 0
    evidence: Evidence | None = None

    def size(self, var: SizeVar) -> int:
        """The target size of a size variable."""
        return self.sizes.get(var, var.size)

    def writes(self, edge: Edge) -> bool:
        """True if the weight that an edge reads makes the residual stream of something else."""
        analysis = self.structure.analysis
        place, axes = analysis.contractions.get(edge), analysis.uses[edge].axes
        if place is None or axes is None:
            return False
        beside = (axis for number, axis in enumerate(axes) if number != place)
        return not self._streams(axes[place]) and any(self._streams(axis) for axis in beside)

    def _streams(self, axis: Axis) -> bool:
        """True if an axis has the size of a residual stream."""
        dims = (self.structure.by_variable.get(v) for v in self.structure.analysis.algebra.free_variables(axis))
        return any(dim is not None and dim.kind == "residual" for dim in dims)


@dataclass(frozen=True)
class Use:
    """One size variable in an axis of the weights in one place, as a method is asked about it.

    Attributes:
        var: the size variable, of N entries.
        target: M.
        edges: the readings of the weights: one for each unit, or one alone.
        names: the weights.
        axis: which axis of them.
        within: where in the axis the variable stands: (entries of what is outside, of what is inside).
        matrix: True for a weight that a contraction sums over; False for vectors and tables.
        summed: True if this axis is summed over, so that it is decoded.
    """

    var: SizeVar
    target: int
    edges: tuple[Edge, ...]
    names: tuple[str, ...]
    axis: int
    within: tuple[int, int]
    matrix: bool
    summed: bool


class Draft(Protocol):
    """What a plan has for a method that changes more than maps."""

    structure: Structure
    sizes: dict[SizeVar, int]
    units: list[int]
    contents: dict[Edge, Content]
    clones: dict[tuple[int, int], dict[Edge, Content]]
    attributes: list[tuple[int, str, int | None, int | float]]
    warnings: list[str]

    def is_for(self, method: Method, direction: str) -> bool:
        """True if a method was chosen for "width" or "depth"."""
        ...

    def size(self, axis: Axis) -> int:
        """The target size of an axis."""
        ...


@dataclass
class Method:
    """A way to carry weights over; methods are subclasses.

    Attributes:
        name: how users say it.
        directions: "width", "depth" or both: what it has maps for.
        variants: what may be said behind its name, the first one if nothing is.
        cuts: True if `--ratio` has a meaning.
        apart: True if each unit of a chain may have maps of its own.
        parts: True if what is equal by chance (zeros, ones) gets values of its own afterwards.
        ties: True if a table and the weight tied to it stay one tensor.
        scaled: True if `--scale` has a meaning.
        exact: True if what comes out is to compute what the source computes.
        edits: True if it changes more than weights (an epsilon).
        whole: True if it is for all directions or none.
    """

    setting: Setting
    _known: dict[object, AxisMap] = field(default_factory=dict, repr=False)

    name: ClassVar[str]
    directions: ClassVar[tuple[str, ...]] = ("width", "depth")
    variants: ClassVar[tuple[str, ...]] = ()
    cuts: ClassVar[bool] = False
    apart: ClassVar[bool] = False
    parts: ClassVar[bool] = False
    ties: ClassVar[bool] = True
    scaled: ClassVar[bool] = False
    exact: ClassVar[bool] = False
    edits: ClassVar[bool] = False
    whole: ClassVar[bool] = False

    def __post_init__(self) -> None:
        variant = self.setting.variant
        if variant is not None and variant not in self.variants:
            wanted = ", ".join(f"{self.name}:{each}" for each in self.variants) or f"{self.name} alone"
            raise RequestError("no such method", got=f"{self.name}:{variant}", wanted=wanted)
        if self.setting.ratio < 1 and not self.cuts:
            raise RequestError(
                f"--ratio says nothing with --method {self.name}: it keeps no frequencies", got=self.setting.ratio
            )

    @property
    def variant(self) -> str:
        """The variant asked for, or the usual one."""
        return self.setting.variant or (self.variants[0] if self.variants else "")

    def axis(self, use: Use) -> AxisMap:
        """The map of one size variable that changes: P [M, N], or the transpose of D where it is summed over."""
        raise NotImplementedError

    def depth(self, edges: tuple[Edge, ...], names: tuple[str, ...], target: int, *, matrix: bool) -> AxisMap:
        """The map from the blocks of a chain to `target` blocks."""
        raise NotImplementedError

    def port(self, use: Use) -> AxisMap:
        """The map of one size variable in an input (`summed` False) or, its transpose, in an output of the graph."""
        return self.axis(use)

    def cut(self, size: int) -> AxisMap | None:
        """The map that takes from an axis all but the coefficients that `--ratio` keeps; None if all are kept."""
        return None

    def keeps_tie(self, edge: Edge) -> bool:
        """True if the weight that an edge reads stays the transpose of the table that it is tied to."""
        return self.ties

    def refine(self, content: Resampled, edge: Edge) -> Resampled:
        """Change what one unit's weight becomes; asked where each unit has maps of its own."""
        return content

    @property
    def doubt(self) -> str | None:
        """What may be the cause if a result that is to be exact is not, and nothing else is known."""
        return None

    def settle(self, plan: Draft) -> None:
        """Change what maps do not say, when all contents are planned."""
