"""Linear maps along one tensor axis: the data with which a plan says how an axis changes its size.

A tensor is resized by one map per axis (the transform is separable), so every method (DCT, selection,
duplication, permutation, any matrix) is a map in the same place and every comparison is fair by construction.
An axis that is a product of size variables in row-major order (12 heads x 64) takes a `Kron` of maps, an axis that is a
sum of segments (q, k and v in one) takes `BlockDiagonal`.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

__all__ = ["AxisMap", "BlockDiagonal", "Compose", "Dct", "Identity", "Kron", "Matrix", "Select", "Stacked"]


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
    `level`: by what the mean (frequency 0) is multiplied instead of `gain`, if it is.
    """

    source: int
    target: int
    keep: int
    gain: float = 1.0
    level: float | None = None


@dataclass(frozen=True, eq=False)
class Matrix:
    """Any dense map: `matrix` is [target, source]. Two are equal if their numbers are: tied weights stay tied."""

    matrix: np.ndarray

    @cached_property
    def _digest(self) -> bytes:
        return hashlib.blake2b(np.ascontiguousarray(self.matrix).tobytes(), digest_size=16).digest()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Matrix) or self.matrix.shape != other.matrix.shape:
            return False
        return self._digest == other._digest

    def __hash__(self) -> int:
        return hash(self._digest)

    @property
    def source(self) -> int:
        """The size before the map."""
        return int(self.matrix.shape[1])

    @property
    def target(self) -> int:
        """The size after the map."""
        return int(self.matrix.shape[0])


@dataclass(frozen=True, eq=False)
class Select:
    """Entries that are taken, each multiplied by a gain: out[i] = gains[i] x[indices[i]].

    Attributes:
        source: the size before the map.
        indices: [target], which entry each one is; equal ones are copies of one.
        gains: [target].
    """

    source: int
    indices: np.ndarray
    gains: np.ndarray

    @property
    def target(self) -> int:
        """The size after the map."""
        return len(self.indices)

    @cached_property
    def _digest(self) -> tuple[int, bytes, bytes]:
        return self.source, np.asarray(self.indices, np.int64).tobytes(), np.asarray(self.gains, np.float64).tobytes()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Select) and self._digest == other._digest

    def __hash__(self) -> int:
        return hash(self._digest)


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


@dataclass(frozen=True)
class Stacked:
    """Maps of one source whose results stand one after another: copies, and rows of another kind behind them."""

    parts: tuple[AxisMap, ...]

    @property
    def source(self) -> int:
        """The size before the map."""
        return self.parts[0].source

    @property
    def target(self) -> int:
        """The size after the map."""
        return sum(part.target for part in self.parts)


AxisMap = Identity | Dct | Matrix | Select | Kron | BlockDiagonal | Compose | Stacked
