"""Numbers per head that are computed: the slopes of linear biases, the decays of retention.

A table may hold them for every head along one axis, times a profile that all heads share (distances) and beside entries
that all heads have alike (masks).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

__all__ = ["alibi", "rescaled", "retention"]


def alibi(heads: int, steepest: int = 8) -> np.ndarray:
    """2^(-8 i / n), i = 1 ... n; where n is no power of two, filled up from the next one. Shape [n].

    Source: Press et al. 2022, "Train Short, Test Long", and its code.
    """
    low = 1 << (heads.bit_length() - 1)
    first = 2.0 ** (-steepest * np.arange(1, low + 1) / low)
    between = 2.0 ** (-steepest * np.arange(1, 2 * low + 1, 2) / (2 * low))
    return np.concatenate([first, between])[:heads]


def retention(heads: int) -> np.ndarray:
    """log(1 - 2^(-5 - i)), i = 0 ... n-1. Shape [n]. Source: Sun et al. 2023, "Retentive Network"."""
    decay: np.ndarray = np.log(1 - 2.0 ** (-5 - np.arange(heads)))
    return decay


_SEQUENCES: tuple[Callable[[int], np.ndarray], ...] = (
    alibi,
    lambda heads: alibi(heads, 16),
    retention,
    lambda heads: np.exp(retention(heads)),
)


_MOST = 1024  # heads
_HEAD = 4096  # rows that are looked at first


def rescaled(array: np.ndarray, dims: Sequence[int], close: float) -> np.ndarray | None:
    """The table for another number of heads; None if no axis holds a known sequence, or another axis changes.

    `close` is how far from the formula an entry may be, relative to it.
    """
    changed = [place for place, size in enumerate(dims) if size != array.shape[place]]
    if len(changed) > 1:
        return None
    for place in changed or range(array.ndim):
        heads = array.shape[place]
        if not 1 < heads <= _MOST or not _begins(array, place, close):
            continue
        rows = np.moveaxis(array, place, -1)
        for sequence in _SEQUENCES:
            head = rows.reshape(-1, heads)[:_HEAD]
            if _follows(head, sequence(heads), close) and _follows(rows, sequence(heads), close):
                alike, profile = _shared(rows, sequence(heads))
                if alike.all():
                    continue
                wanted = np.where(alike, rows[..., :1], profile * sequence(dims[place]))
                return np.moveaxis(wanted, -1, place)
    return None


def _begins(array: np.ndarray, place: int, close: float) -> bool:
    """True if the first two entries of an axis may begin a sequence: nearly every other table fails here."""
    head = array[(0,) * place]
    head = head[(slice(2), *(0,) * (head.ndim - 1))]
    first, second = head.tolist()
    return first == second or any(
        abs(first * step - second) <= close * abs(second) for step in _steps(array.shape[place])
    )


@lru_cache(maxsize=_MOST)
def _steps(heads: int) -> list[float]:
    """The second number of each sequence, relative to the first."""
    return [float(known[1] / known[0]) for known in (sequence(heads) for sequence in _SEQUENCES)]


def _shared(rows: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(True where all heads have one entry, what the others are multiplied by), each [..., 1]."""
    alike = (rows == rows[..., :1]).all(axis=-1, keepdims=True)
    return alike, np.where(alike, 0, rows[..., :1].astype(np.float64) / known[0])


def _follows(rows: np.ndarray, known: np.ndarray, close: float) -> bool:
    """True if rows [..., heads] are multiples of a sequence, or alike for all heads."""
    alike, profile = _shared(rows, known)
    with np.errstate(invalid="ignore"):  # what is infinite follows nothing
        return bool(((np.abs(profile * known - rows) <= close * np.abs(rows)) | alike).all())
