"""Matrices that mix an axis with itself by formula: the identity, triangles, Fourier and cosine bases.

They are recomputed at another size if both of their axes take it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from front_onnx.constants.patterns import triangle
from front_onnx.read.arrays import all_near

__all__ = ["basis_name", "square_matrix"]

_SMALLEST = 4  # entries of an axis from which a basis is no accident


def _angles(rows: float, columns: float, turn: Callable[[int], float]) -> Callable[[int], np.ndarray]:
    """Angles (k + rows) (n + columns) turn(N), for k, n = 0 ... N-1."""
    return lambda size: np.outer(np.arange(size) + rows, np.arange(size) + columns) * turn(size)


def _around(size: int) -> float:
    return 2 * np.pi / size


def _half(size: int) -> float:
    return np.pi / size


# Angles and functions of the bases. Source: Oppenheim and Schafer, Discrete-Time Signal Processing, 8.5 and 8.8.
_BASES: dict[str, Callable[[int], np.ndarray]] = {
    "cosines of a Fourier basis": lambda n: np.cos(_angles(0, 0, _around)(n)),
    "sines of a Fourier basis": lambda n: np.sin(_angles(0, 0, _around)(n)),
    "a Hartley basis": lambda n: np.cos(_angles(0, 0, _around)(n)) + np.sin(_angles(0, 0, _around)(n)),
    "a cosine basis (DCT-II)": lambda n: np.cos(_angles(0, 0.5, _half)(n)),
    "a cosine basis (DCT-III)": lambda n: np.cos(_angles(0.5, 0, _half)(n)),
    "a cosine basis (DCT-IV)": lambda n: np.cos(_angles(0.5, 0.5, _half)(n)),
    "a cosine basis (DCT-I)": lambda n: np.cos(_angles(0, 0, lambda size: np.pi / (size - 1))(n)),
    "a sine basis (DST-I)": lambda n: np.sin(_angles(1, 1, lambda size: np.pi / (size + 1))(n)),
    "a sine basis (DST-II)": lambda n: np.sin(_angles(1, 0.5, _half)(n)),
    "an orthonormal cosine basis (DCT-II)": lambda n: _even(np.cos(_angles(0, 0.5, _half)(n))),
    "an orthonormal cosine basis (DCT-III)": lambda n: _even(np.cos(_angles(0, 0.5, _half)(n))).T,
}
_SCALES: tuple[Callable[[int], float], ...] = (
    lambda n: 1.0,
    lambda n: 2.0,
    lambda n: 1 / n,
    lambda n: 2 / n,
    lambda n: n**-0.5,
    lambda n: (2 / n) ** 0.5,
)


def _even(rows: np.ndarray) -> np.ndarray:
    rows[0] /= np.sqrt(2)
    return rows


def basis_name(array: np.ndarray, close: float = 2e-5) -> str | None:
    """The basis that a square matrix holds, whatever its scale; None if it holds none."""
    return next((name for name, _ in _fitting(array, close)), None)


def _fitting(array: np.ndarray, close: float) -> Iterator[tuple[str, float]]:
    """(name, scale) of every basis that a matrix is a multiple of."""
    if array.ndim != 2 or array.shape[0] != array.shape[1] or array.shape[0] < _SMALLEST:
        return
    size = len(array)
    if size >= 2 * _SMALLEST and not _has_even_rows(array, close):
        return
    matrix = array.astype(np.float64)
    for name, basis in _BASES.items():
        known = basis(size)
        place = np.unravel_index(np.abs(known).argmax(), known.shape)
        scale = matrix[place] / known[place]
        if scale and all_near(matrix, scale * known, atol=abs(scale) * max(close, 1e-6 * size)):
            yield name, float(scale)


def _has_even_rows(array: np.ndarray, close: float) -> bool:
    """True if rows have the energies of a basis: all but the first and, for sines, those of no or half a turn alike."""
    energies = np.square(array[1:4].astype(np.float64)).sum(axis=1).tolist()
    room = max(100 * close, 1e-2) * energies[0]
    return energies[0] > 0 and all(abs(energy - energies[0]) <= room for energy in energies)


def square_matrix(array: np.ndarray, dims: Sequence[int], close: float) -> np.ndarray | None:
    """The same matrix at other sizes of its last two axes; None if it is none, or its scale is ambiguous."""
    if len(dims) < 2 or dims[-1] != dims[-2]:
        return None
    size = dims[-1]
    parted = triangle(array)
    if parted is not None:
        shape, first, inside, outside = parted
        if any(now != before and before == 1 for now, before in zip(dims[:-2], array.shape[:-2], strict=True)):
            return None
        places = np.subtract.outer(np.arange(size), np.arange(size))
        held = places == 0 if shape == "eye" else places >= -first
        return np.broadcast_to(np.where(held, inside, outside), tuple(dims))
    if array.ndim != 2:
        return None
    before = len(array)
    for name, scale in _fitting(array, close):
        sign = -1.0 if scale < 0 else 1.0
        laws = [law for law in _SCALES if np.isclose(sign * scale, law(before), rtol=1e-4)]
        values = {round(law(size), 9) for law in laws}
        if len(values) == 1:
            return sign * laws[0](size) * _BASES[name](size)
    return None
