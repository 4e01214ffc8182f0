"""Linear maps along one tensor axis: the data with which a plan says how an axis changes its size.

A tensor is resized by one map per axis (the transform is separable), so every method (DCT, selection,
duplication, permutation, any matrix) is a map in the same place and every comparison is fair by construction.
An axis that is a product of size variables in row-major order (12 heads x 64) takes a `Kron` of maps, an axis that is a
sum of segments (q, k and v in one) takes `BlockDiagonal`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

__all__ = ["AxisMap", "BlockDiagonal", "Compose", "Dct", "Identity", "Kron", "Matrix"]


@dataclass(frozen=True)
class Identity:
    """The identity on an axis of `source` entries."""

    source: int

    @property
    def target(self) -> int:
        """The size after the map: that before it."""
        return self.source


@dataclass(frozen=True)
class Dct:
    """gain * D_target^T P D_source: keep `keep` low frequencies, truncate or pad, transform back (Eq. 4, 8).

    D_n is the orthonormal DCT-II matrix [n, n]; P copies the first min(keep, target) of `source` coefficients.
    """

    source: int
    target: int
    keep: int
    gain: float = 1.0


@dataclass(frozen=True, eq=False)
class Matrix:
    """Any dense map: `matrix` is [target, source]."""

    matrix: np.ndarray

    @property
    def source(self) -> int:
        """The size before the map."""
        return int(self.matrix.shape[1])

    @property
    def target(self) -> int:
        """The size after the map."""
        return int(self.matrix.shape[0])


@dataclass(frozen=True)
class Kron:
    """One map per factor of an axis that is a product in row-major order."""

    parts: tuple[AxisMap, ...]

    @property
    def source(self) -> int:
        """The size before the map."""
        return math.prod(part.source for part in self.parts)

    @property
    def target(self) -> int:
        """The size after the map."""
        return math.prod(part.target for part in self.parts)


@dataclass(frozen=True)
class BlockDiagonal:
    """One map per segment of an axis that is a sum: a block-diagonal map."""

    parts: tuple[AxisMap, ...]

    @property
    def source(self) -> int:
        """The size before the map."""
        return sum(part.source for part in self.parts)

    @property
    def target(self) -> int:
        """The size after the map."""
        return sum(part.target for part in self.parts)


@dataclass(frozen=True)
class Compose:
    """Maps applied one after another, the first one first."""

    parts: tuple[AxisMap, ...]

    @property
    def source(self) -> int:
        """The size before the map."""
        return self.parts[0].source

    @property
    def target(self) -> int:
        """The size after the map."""
        return self.parts[-1].target


AxisMap = Identity | Dct | Matrix | Kron | BlockDiagonal | Compose
