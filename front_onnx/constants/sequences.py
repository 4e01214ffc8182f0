"""Planning the scalars of blocks: one number per block, learned like any weight or computed from the depth.

Floats of one element are followed as numbers, for a width may hide in them. What stands in the same place of every
block and has no such meaning is one of two things: a sequence over the blocks (1/(i+1)), which goes on, or a weight
that differs between blocks, resampled like all others. What is equal in all blocks stays; if it looks like a power of
their number (DeepNorm), a warning says so, for a value alone proves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from fractions import Fraction

import numpy as np

__all__ = ["continued", "depth_power", "period", "shares", "stretched"]

_CLOSE = 1e-5  # relative: scalars are written in single precision or better
_POWERS = (1, -1, 0.5, -0.5)
_ROOTS = ((2, 0.25), (2, -0.25), (2, 0.5), (2, -0.5), (1, 0.5), (1, -0.5))


def continued(values: Sequence[float], layers: int) -> Callable[[int], float] | None:
    """The sequence c (i + k)^p over the blocks that some values are the beginning of, by the number of the block.

    `layers` is how many layers one block holds: what counts layers steps by that many.
    """
    if len(values) < 2 or not all(value > 0 and math.isfinite(value) for value in values) or len(set(values)) == 1:
        return None
    for power in _POWERS:
        counts = np.asarray(values, np.float64) ** (1 / power)
        step = counts[1] - counts[0]
        start = counts[0] / step * layers if step else 0
        whole = round(start)
        if whole < 1 or not math.isclose(start, whole, rel_tol=_CLOSE * 10):
            continue
        first = values[0] / whole**power

        def sequence(place: int, first: float = first, whole: int = whole, power: float = power) -> float:
            return float(first * (whole + place * layers) ** power)

        if np.allclose([sequence(i) for i in range(len(values))], values, rtol=_CLOSE, atol=0):
            return sequence
    return None


def shares(values: Sequence[float], layers: int, before: int, after: int) -> Callable[[int], float] | None:
    """The shares ((i + k) / L)^p of the depth that blocks have, by the number of the block, at another depth.

    The same values may also be the beginning of a sequence that goes on: that is to be told.

    Args:
        values: one for each block.
        layers: how many layers one block holds.
        before: L, the depth that the blocks are a part of.
        after: the depth to come.
    """
    for power in _POWERS if len(values) > 1 and min(values) >= 0 else ():
        if power < 0 and min(values) == 0:
            continue
        counts = before * np.asarray(values, np.float64) ** (1 / power)
        start = round(float(counts[0]))
        if np.allclose(counts, start + layers * np.arange(len(values)), rtol=_CLOSE * 10, atol=1e-6):
            return lambda place, power=power: float(((start + layers * place) / after) ** power)  # type: ignore[misc]
    return None


def stretched(values: Sequence[float], target: int) -> Callable[[int], float] | None:
    """Numbers that go by equal steps from one end to another, over another number of blocks."""
    first, last = float(values[0]), float(values[-1])
    steps = np.diff(np.asarray(values, np.float64))
    if len(values) < 3 or first == last or not np.allclose(steps, (last - first) / len(steps), rtol=1e-3, atol=0):
        return None
    return lambda place: first + (last - first) * place / max(target - 1, 1)


def depth_power(value: float, before: int, after: int) -> float | None:
    """What a factor (2 L)^(1/4) or the like becomes at another depth; None if it is none, or a simple number."""
    if value <= 0 or Fraction(value).limit_denominator(64) == Fraction(value).limit_denominator(10**5):
        return None
    for times, power in _ROOTS:
        if math.isclose(value, (times * before) ** power, rel_tol=_CLOSE):
            return float((times * after) ** power)
    return None


def period(values: Sequence[Hashable]) -> int | None:
    """After how many places values repeat, at least twice over; None if they do not."""
    count = len(values)
    return next((p for p in range(1, count // 2 + 1) if all(values[i] == values[i % p] for i in range(count))), None)
