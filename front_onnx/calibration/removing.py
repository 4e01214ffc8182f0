"""What it costs to remove entries of what layers read, and which to remove: the OBS score (Hassibi & Stork, 1993)."""

from __future__ import annotations

import numpy as np
import scipy.linalg

__all__ = ["eliminate", "made", "removal"]

_DAMPING = 1e-3  # of the mean diagonal of a Gram matrix
_AT_ONCE, _LARGE_AT_ONCE = 24, 6  # parts in which entries are removed, and where there are many places
_LARGE = 768  # places from which rounding is worth less than time: single precision, few parts
_ROWS = 128


def removal(gram: np.ndarray, matrix: np.ndarray, places: np.ndarray, size: int) -> np.ndarray:
    """[size]: what removing each entry costs, the others making up for it."""
    inverse = _inverse(gram)
    return _costs(inverse, matrix, places, np.arange(size))


def eliminate(readers: list[tuple[np.ndarray, np.ndarray, np.ndarray]], size: int, target: int) -> np.ndarray:
    """[size]: entries, the best first: those that are left, then the others, the last one removed first.

    Args:
        readers: for each layer that reads them: the Gram matrix [K, K], the weight [K, N], each place's entry [K].
        size: entries.
        target: how many are left.
    """
    state, totals = [], []
    for gram, matrix, places in readers:
        inverse = _inverse(gram)
        totals.append(max(made(gram, matrix), 1e-30))
        state.append((inverse, matrix.astype(inverse.dtype), places))
    left, gone = np.arange(size), list[int]()
    parts = _AT_ONCE if max(len(places) for _, _, places in readers) <= _LARGE else _LARGE_AT_ONCE
    while len(left) > target:
        cost = np.sum([_costs(i, m, p, left) / t for (i, m, p), t in zip(state, totals, strict=True)], axis=0)
        several = min(len(left) - target, max(1, len(left) // parts))
        out = left[np.argsort(cost, kind="stable")[:several]]
        gone = [*out[::-1].tolist(), *gone]
        left = np.setdiff1d(left, out)
        state = [_without(inverse, matrix, places, out) for inverse, matrix, places in state]
    return np.array([*left.tolist(), *gone], np.int64)


def made(gram: np.ndarray, matrix: np.ndarray) -> float:
    """The sum of squares of what a weight [K, N] makes of rows with a Gram matrix: tr W^T C W."""
    return float(np.vdot(matrix, gram @ matrix))


def _inverse(gram: np.ndarray) -> np.ndarray:
    """The inverse of a Gram matrix, damped; in single precision where it is large, if that is enough."""
    level = _DAMPING * max(float(np.trace(gram)) / len(gram), 1e-30)
    for kind in ("float32", "float64") if len(gram) > _LARGE else ("float64",):
        damped = gram.astype(kind)
        np.fill_diagonal(damped, gram.diagonal() + level)
        factor, inverse = scipy.linalg.lapack.get_lapack_funcs(("potrf", "potri"), (damped,))
        half, failed = factor(damped.T, lower=1, overwrite_a=1)  # its transpose lies as LAPACK wants it
        if not failed:
            half, _ = inverse(half, lower=1, overwrite_c=1)
            return _mirrored(half)
    damped = gram + level * np.eye(len(gram))
    singular: np.ndarray = np.linalg.pinv(damped, hermitian=True)
    return singular


def _mirrored(half: np.ndarray) -> np.ndarray:
    """A symmetric matrix of its lower half, in place: a few rows at a time."""
    for start in range(0, len(half), _ROWS):
        end = min(start + _ROWS, len(half))
        half[:start, start:end] = half[start:end, :start].T
        block = np.tril(half[start:end, start:end])
        half[start:end, start:end] = block + np.tril(block, -1).T
    return half


def _costs(inverse: np.ndarray, matrix: np.ndarray, places: np.ndarray, entries: np.ndarray) -> np.ndarray:
    if np.array_equal(np.sort(places[places >= 0]), np.sort(entries)):  # one place each
        cost: np.ndarray = (matrix**2).sum(1) / np.maximum(np.diag(inverse), 1e-30)
        order = np.full(int(entries.max()) + 1, -1)
        order[places[places >= 0]] = np.flatnonzero(places >= 0)
        ordered: np.ndarray = cost[order[entries]]
        return ordered
    found = np.zeros(len(entries))
    for number, entry in enumerate(entries):
        at = np.flatnonzero(places == entry)
        if len(at):
            found[number] = np.trace(matrix[at].T @ np.linalg.solve(inverse[np.ix_(at, at)], matrix[at]))
    return found


def _without(
    inverse: np.ndarray, matrix: np.ndarray, places: np.ndarray, out: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same for fewer entries, the rest making up for those that are gone."""
    gone = np.isin(places, out)
    if not gone.any():
        return inverse, matrix, places
    keep = ~gone
    between = inverse[np.ix_(keep, gone)]
    share = scipy.linalg.solve(inverse[np.ix_(gone, gone)], between.T, assume_a="pos")
    return inverse[np.ix_(keep, keep)] - between @ share, matrix[keep] - share.T @ matrix[gone], places[keep]
