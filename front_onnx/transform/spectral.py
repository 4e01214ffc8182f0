"""The frequency transform along one axis, and every other map a plan may put in its place.

    X[k] = a(k) sum_n x[n] cos(pi (2n+1) k / 2N),   a(0) = sqrt(1/N), a(k>0) = sqrt(2/N)

is the orthonormal DCT-II. Cutting a spectrum to its low frequencies, padding or truncating it to another
length and transforming back (Eq. 3, 4 and 8) is linear: on one axis, the matrix R = D_target^T P D_source.
Short axes are multiplied by R, long ones go through scipy's fast transform.
"""

from __future__ import annotations

import math
import os
import threading
from functools import lru_cache, reduce
from typing import NamedTuple

import numpy as np
import scipy.fft
import scipy.linalg

from front_onnx.transform.maps import AxisMap, BlockDiagonal, Compose, Dct, Identity, Kron, Matrix, Select, Stacked

__all__ = [
    "Selection",
    "apply_map",
    "dense_matrix",
    "is_identity",
    "multiply",
    "resample_matrix",
    "selection",
]

_SHORT = 48  # s t / (s + t) below this: a product with R beats the fast transform (measured)
_PARALLEL = 1 << 16  # elements: smaller arrays are not worth starting threads for
_ONE_THREAD = 1 << 18  # multiplications: OpenBLAS computes products up to this size in the calling thread
_CACHED = 64 << 20  # bytes of matrices kept


class _Cache:
    """The matrices used last, up to `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self._limit, self._kept = limit, dict[tuple[object, ...], np.ndarray]()
        self._lock = threading.Lock()

    def get(self, key: tuple[object, ...]) -> np.ndarray | None:
        with self._lock:
            found = self._kept.pop(key, None)
            if found is not None:
                self._kept[key] = found  # dicts keep order: the last one used comes last
            return found

    def put(self, key: tuple[object, ...], value: np.ndarray) -> None:
        value.flags.writeable = False
        with self._lock:
            self._kept[key] = value
            while len(self._kept) > 1 and sum(kept.nbytes for kept in self._kept.values()) > self._limit:
                self._kept.pop(next(iter(self._kept)))


_cache = _Cache(_CACHED)


def resample_matrix(source: int, target: int, keep: int) -> np.ndarray:
    """R = D_target^T P D_source: float64 [target, source], read-only; P copies the first `keep` coefficients.

    `keep` is cut to min(source, target). D_n is the orthonormal DCT-II matrix (Eq. 3, 4, 8 on one axis).
    """
    key = (source, target, keep)
    found = _cache.get(key)
    if found is not None:
        return found
    low = np.arange(min(keep, source, target))
    # cos(pi m / 2 source) has period 4 source in the integer m: a table replaces millions of cosines.
    cosines = np.cos(np.pi / (2 * source) * np.arange(4 * source))
    basis = cosines[np.outer(low, 2 * np.arange(source) + 1) % (4 * source)] * np.sqrt(2 / source)
    basis[0] = np.sqrt(1 / source)
    matrix: np.ndarray = scipy.fft.idct(basis, n=target, axis=0, norm="ortho", workers=_workers(basis.size, None))
    _cache.put(key, matrix)
    return matrix


class Selection(NamedTuple):
    """A map that takes entries: out[i] = gains[i] * x[indices[i]]; indices and gains are [target]."""

    indices: np.ndarray
    gains: np.ndarray


def selection(axis_map: AxisMap) -> Selection | None:
    """The map as a choice of entries (copied, duplicated, permuted, rescaled), or None if it mixes them."""
    if isinstance(axis_map, Identity):
        return Selection(np.arange(axis_map.source), np.ones(axis_map.source))
    if isinstance(axis_map, Select):
        return Selection(axis_map.indices, axis_map.gains)
    return _matrix_selection(axis_map) if isinstance(axis_map, Matrix) else None


@lru_cache(maxsize=16)
def _matrix_selection(axis_map: Matrix) -> Selection | None:
    matrix = axis_map.matrix
    if matrix.size == 0 or np.any(np.count_nonzero(matrix, axis=1) != 1):
        return None
    indices = np.argmax(matrix != 0, axis=1)
    return Selection(indices, matrix[np.arange(len(matrix)), indices])


def is_identity(axis_map: AxisMap) -> bool:
    """True if the map changes nothing, so that it is skipped and values stay the same bit for bit."""
    if isinstance(axis_map, Identity):
        return True
    if isinstance(axis_map, Dct):
        gains = {axis_map.gain, axis_map.gain if axis_map.level is None else axis_map.level}
        return axis_map.source == axis_map.target <= axis_map.keep and gains == {1}
    if isinstance(axis_map, Matrix | Select):
        chosen = selection(axis_map) if axis_map.source == axis_map.target else None
        return chosen is not None and _copies_in_order(chosen)
    if isinstance(axis_map, Stacked) and len(axis_map.parts) > 1:
        return False
    return all(is_identity(part) for part in axis_map.parts)


def _copies_in_order(chosen: Selection) -> bool:
    return np.array_equal(chosen.indices, np.arange(len(chosen.indices))) and bool(np.all(chosen.gains == 1))


def dense_matrix(axis_map: AxisMap) -> np.ndarray:
    """The map as a float64 matrix [target, source]."""
    if isinstance(axis_map, Identity):
        return np.eye(axis_map.source)
    if isinstance(axis_map, Dct):
        return axis_map.gain * resample_matrix(axis_map.source, axis_map.target, axis_map.keep) + _lift(axis_map)
    if isinstance(axis_map, Matrix):
        return np.asarray(axis_map.matrix, np.float64)
    if isinstance(axis_map, Select):
        taken = np.zeros((axis_map.target, axis_map.source))
        taken[np.arange(axis_map.target), axis_map.indices] = axis_map.gains
        return taken
    parts = [dense_matrix(part) for part in axis_map.parts]
    if isinstance(axis_map, Stacked):
        return np.concatenate(parts)
    if isinstance(axis_map, Kron):
        return reduce(np.kron, parts)
    if isinstance(axis_map, BlockDiagonal):
        joined: np.ndarray = scipy.linalg.block_diag(*parts)
        return joined
    return reduce(lambda before, after: after @ before, parts)


def apply_map(x: np.ndarray, axis: int, axis_map: AxisMap, workers: int | None = None) -> np.ndarray:
    """Map one axis of `x` from axis_map.source to axis_map.target entries.

    float32 and float64 are computed and returned as they are. Identities return `x` itself, of any type.

    Args:
        x: [..., source, ...].
        axis: which axis; negative counts from the end.
        axis_map: any of the kinds in `maps`.
        workers: threads of the fast transform; by default as many as there are cores if `x` is large.

    Returns:
        [..., target, ...].

    Raises:
        ValueError: the axis has another size than the map's source, or `x` is neither float32 nor float64.
    """
    axis = axis % x.ndim
    if x.shape[axis] != axis_map.source:
        raise ValueError(f"axis {axis} of {x.shape} has not the map's {axis_map.source} entries")
    if is_identity(axis_map):
        return x
    if x.dtype not in (np.float32, np.float64):
        raise ValueError(f"only float32 and float64 are mapped, not {x.dtype}")
    if isinstance(axis_map, Dct):
        return _dct(x, axis, axis_map, workers)
    if isinstance(axis_map, Matrix | Select):
        return _matrix(x, axis, axis_map)
    if isinstance(axis_map, Stacked):
        return np.concatenate([apply_map(x, axis, part, workers) for part in axis_map.parts], axis)
    if isinstance(axis_map, Kron):
        return _kron(x, axis, axis_map, workers)
    if isinstance(axis_map, BlockDiagonal):
        cuts = np.cumsum([part.source for part in axis_map.parts])[:-1]
        pieces = np.split(x, cuts, axis)
        mapped = [apply_map(piece, axis, part, workers) for piece, part in zip(pieces, axis_map.parts, strict=True)]
        return np.concatenate(mapped, axis)
    assert isinstance(axis_map, Compose)
    for part in axis_map.parts:
        x = apply_map(x, axis, part, workers)
    return x


def multiply(matrix: np.ndarray, x: np.ndarray, axis: int) -> np.ndarray:
    """matrix [t, s] along `axis` of x [..., s, ...]: [..., t, ...], in the type of `x`."""
    matrix = np.asarray(matrix, x.dtype)
    shape = (*x.shape[:axis], len(matrix), *x.shape[axis + 1 :])
    before, after = int(np.prod(x.shape[:axis])), int(np.prod(x.shape[axis + 1 :]))
    x = x.reshape(before, matrix.shape[1], after)
    out: np.ndarray
    if after == 1:
        out = x[:, :, 0] @ matrix.T
    elif before == 1:
        out = _wide_product(matrix, x[0])
    elif after >= 32:
        out = matrix @ x
    else:  # many thin products are slow: one large one on the transposed array instead
        out = np.ascontiguousarray(x.transpose(0, 2, 1)).reshape(before * after, -1) @ matrix.T
        out = np.ascontiguousarray(out.reshape(before, after, -1).transpose(0, 2, 1))
    return out.reshape(shape)


def _wide_product(matrix: np.ndarray, x: np.ndarray) -> np.ndarray:
    """matrix [t, s] @ x [s, n], in column blocks that stay in the cache and in this thread.

    A small matrix is a matter of memory speed, which BLAS threads do not improve; where other work keeps the
    cores busy they wait for each other for milliseconds per product.
    """
    columns = _ONE_THREAD // max(1, matrix.size)
    count, rest = divmod(x.shape[1], columns) if columns >= 64 else (0, x.shape[1])
    out: np.ndarray
    if count == 0:
        out = matrix @ x
        return out
    out = np.empty((len(matrix), x.shape[1]), x.dtype)
    blocked = count * columns
    np.matmul(
        matrix,
        x[:, :blocked].reshape(-1, count, columns).transpose(1, 0, 2),
        out=out[:, :blocked].reshape(-1, count, columns).transpose(1, 0, 2),
    )
    if rest:
        np.matmul(matrix, x[:, blocked:], out=out[:, blocked:])
    return out


def _dct(x: np.ndarray, axis: int, axis_map: Dct, workers: int | None) -> np.ndarray:
    source, target, gain = axis_map.source, axis_map.target, x.dtype.type(axis_map.gain)
    out: np.ndarray
    if source == target <= axis_map.keep and axis_map.level is None:
        out = x * gain
        return out
    if source * target < _SHORT * (source + target):
        return multiply(dense_matrix(axis_map), x, axis)
    threads = _workers(x.size, workers)
    spectrum = scipy.fft.dct(x, axis=axis, norm="ortho", workers=threads)
    spectrum = spectrum[(slice(None),) * axis + (slice(min(axis_map.keep, source, target)),)]
    out = scipy.fft.idct(spectrum, n=target, axis=axis, norm="ortho", workers=threads)
    if gain != 1:
        out *= gain
    if axis_map.level is not None:
        out += x.dtype.type(_lift(axis_map)) * x.sum(axis, keepdims=True)
    return out


def _lift(axis_map: Dct) -> float:
    """What is added to all entries for a sum of one over an axis, so that the mean has a gain of its own."""
    if axis_map.level is None:
        return 0.0
    return (axis_map.level - axis_map.gain) / math.sqrt(axis_map.source * axis_map.target)


def _matrix(x: np.ndarray, axis: int, axis_map: Matrix | Select) -> np.ndarray:
    chosen = selection(axis_map)
    if isinstance(axis_map, Matrix) and chosen is None:
        return multiply(_typed(axis_map, x.dtype.str), x, axis)
    assert chosen is not None
    out: np.ndarray = np.take(x, chosen.indices, axis)
    if not np.all(chosen.gains == 1):
        out = out * chosen.gains.astype(x.dtype).reshape(-1, *[1] * (x.ndim - axis - 1))
    return out


@lru_cache(maxsize=4)
def _typed(axis_map: Matrix, dtype: str) -> np.ndarray:
    return np.ascontiguousarray(axis_map.matrix, np.dtype(dtype))


def _kron(x: np.ndarray, axis: int, axis_map: Kron, workers: int | None) -> np.ndarray:
    before, after = x.shape[:axis], x.shape[axis + 1 :]
    x = x.reshape(*before, *(part.source for part in axis_map.parts), *after)
    shrinking_first = sorted(enumerate(axis_map.parts), key=lambda part: part[1].target / part[1].source)
    for place, part in shrinking_first:
        x = apply_map(x, axis + place, part, workers)
    return x.reshape(*before, axis_map.target, *after)


def _workers(size: int, wanted: int | None) -> int:
    return wanted or ((os.cpu_count() or 1) if size >= _PARALLEL else 1)
