"""What a learngene keeps of one axis: all of it, or a band of its frequencies (Eq. 3 and 4, and Table 13's bands).

A basis has orthonormal rows: `analyse` multiplies by it, `synthesise` by its transpose. An axis that is kept whole is
stored as it is, for nothing would be cut; so a learngene of ratio 1 holds the weights bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft

from front_onnx.errors import DamagedError
from front_onnx.transform.maps import AxisMap, BlockDiagonal, Compose, Dct, Identity

__all__ = ["BANDS", "Band", "Basis", "Segments", "Whole", "analyse", "as_data", "basis_of", "from_data", "synthesise"]

BANDS = ("low", "mid", "high")


@dataclass(frozen=True)
class Whole:
    """All of an axis, as values."""

    size: int

    @property
    def kept(self) -> int:
        """Entries that are stored."""
        return self.size


@dataclass(frozen=True)
class Band:
    """The coefficients first ... first + kept - 1 of the orthonormal DCT-II of an axis."""

    size: int
    first: int
    kept: int


@dataclass(frozen=True)
class Segments:
    """An axis that is a sum of segments (q, k and v in one), each with a basis of its own."""

    parts: tuple[Basis, ...]

    @property
    def size(self) -> int:
        """Entries of the axis."""
        return sum(part.size for part in self.parts)

    @property
    def kept(self) -> int:
        """Entries that are stored."""
        return sum(part.kept for part in self.parts)


Basis = Whole | Band | Segments


def basis_of(axis_map: AxisMap, band: str = "low") -> Basis:
    """The basis behind a map that keeps the size of an axis and some of its low frequencies.

    Raises:
        ValueError: the map does something else.
    """
    if isinstance(axis_map, Identity):
        return Whole(axis_map.source)
    if (
        isinstance(axis_map, Dct)
        and axis_map.source == axis_map.target
        and axis_map.gain == 1
        and axis_map.level is None
    ):
        size, kept = axis_map.source, axis_map.keep
        first = {"low": 0, "mid": (size - kept) // 2, "high": size - kept}[band]
        return Whole(size) if kept >= size else Band(size, first, kept)
    if isinstance(axis_map, BlockDiagonal):
        return Segments(tuple(basis_of(part, band) for part in axis_map.parts))
    if isinstance(axis_map, Compose) and all(isinstance(part, Identity) for part in axis_map.parts[1:]):
        return basis_of(axis_map.parts[0], band)
    raise ValueError(f"{axis_map} is no choice of frequencies")


def analyse(x: np.ndarray, axis: int, basis: Basis) -> np.ndarray:
    """What is kept of one axis: x [..., size, ...] -> [..., kept, ...], in the type of `x`."""
    if isinstance(basis, Whole):
        return x
    if isinstance(basis, Segments):
        pieces = np.split(x, np.cumsum([part.size for part in basis.parts])[:-1], axis)
        return np.concatenate([analyse(p, axis, part) for p, part in zip(pieces, basis.parts, strict=True)], axis)
    spectrum: np.ndarray = scipy.fft.dct(x, axis=axis, norm="ortho")
    return spectrum[(slice(None),) * axis + (slice(basis.first, basis.first + basis.kept),)]


def synthesise(x: np.ndarray, axis: int, basis: Basis) -> np.ndarray:
    """The signal that has just what was kept: x [..., kept, ...] -> [..., size, ...], in the type of `x`."""
    if isinstance(basis, Whole):
        return x
    if isinstance(basis, Segments):
        pieces = np.split(x, np.cumsum([part.kept for part in basis.parts])[:-1], axis)
        return np.concatenate([synthesise(p, axis, part) for p, part in zip(pieces, basis.parts, strict=True)], axis)
    spectrum = np.zeros((*x.shape[:axis], basis.size, *x.shape[axis + 1 :]), x.dtype)
    spectrum[(slice(None),) * axis + (slice(basis.first, basis.first + basis.kept),)] = x
    out: np.ndarray = scipy.fft.idct(spectrum, axis=axis, norm="ortho", overwrite_x=True)
    return out


def as_data(basis: Basis) -> Any:
    """A basis as JSON: a size, [size, first, kept], or {"segments": [...]}."""
    if isinstance(basis, Whole):
        return basis.size
    if isinstance(basis, Band):
        return [basis.size, basis.first, basis.kept]
    return {"segments": [as_data(part) for part in basis.parts]}


def from_data(data: Any) -> Basis:
    """A basis read back from JSON.

    Raises:
        DamagedError: anything but what `as_data` writes.
    """
    if _is_size(data):
        return Whole(data)
    if isinstance(data, list) and len(data) == 3 and all(map(_is_size, data)):
        size, first, kept = data
        if kept > 0 and first + kept <= size:
            return Band(size, first, kept)
    if isinstance(data, dict) and list(data) == ["segments"] and isinstance(data["segments"], list):
        parts = tuple(map(from_data, data["segments"]))
        if parts:
            return Segments(parts)
    raise DamagedError("an axis is described in no way that is known", got=str(data)[:60])


def _is_size(data: Any) -> bool:
    return isinstance(data, int) and not isinstance(data, bool) and 0 <= data < 1 << 40
