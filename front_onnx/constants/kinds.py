"""The kinds of constants, and what is said of one."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from front_onnx.axes.size import Axis

__all__ = ["KEPT", "RESAMPLED", "Constant", "Kind"]


class Kind(Enum):
    """What a constant is there for; the value is how users say it."""

    WEIGHT = "weight"
    BIAS_OR_GAIN = "bias"
    EMBEDDING = "embedding"
    STATISTIC = "statistic"
    SIZE = "size"
    SCALE = "scale"
    FORMULA = "formula"
    MASK = "mask"
    INDEX = "index"
    FIXED = "fixed"
    UNKNOWN = "unknown"


RESAMPLED = frozenset((Kind.WEIGHT, Kind.BIAS_OR_GAIN, Kind.EMBEDDING, Kind.STATISTIC, Kind.UNKNOWN))
KEPT = frozenset((Kind.FORMULA, Kind.MASK, Kind.INDEX, Kind.FIXED))


class Constant(NamedTuple):
    """What one reading of a constant is.

    Attributes:
        kind: what it is there for.
        evidence: what shows it, for messages.
        axes: its axes as this node input reads it; None if they could not be followed.
        contracted: the axis that a contraction sums over, if one does.
        formula: the name of what computes it, if that is known.
        by_hand: True if the user said what it is.
        tied_to: the constant that it is a copy of with its axes in another order, if there is one.
    """

    kind: Kind
    evidence: str
    axes: tuple[Axis, ...] | None = None
    contracted: int | None = None
    formula: str | None = None
    tied_to: str | None = None
    by_hand: bool = False

    @property
    def is_resampled(self) -> bool:
        """True if new sizes resample it; UNKNOWN is, with a warning."""
        return self.kind in RESAMPLED

    @property
    def is_kept(self) -> bool:
        """True if its contents are no accident of training: recomputed by its formula, or kept byte for byte."""
        return self.kind in KEPT
