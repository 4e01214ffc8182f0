"""Scale conventions: by what each resized axis is multiplied.

Truncating or padding an orthonormal spectrum from n to m scales a smooth signal by sqrt(n/m) and leaves the variance
of noise alone when truncating (times n/m when padding). What to do about it is a choice:

- ortho: nothing, as in the paper (Eq. 8).
- amp: times sqrt(m/n): values keep their size.
- variance: the variance of a white spectrum is kept: times sqrt(m/n) where an axis grows.
- fan-in: as variance, and times sqrt(n/m) on the axis that is summed over: the variance of outputs is kept.
- auto: the default, by what a weight does. It looks at no values, so that a learngene gives what its source gives.

What `auto` rests on: trained weights are white over channels and blocks (docs/learngenes.md), and what is padded is
smooth. So where an axis shrinks

- a weight that reads the residual stream has the factors of fan-in: nonlinearities and running statistics meet the
  deviations that they were trained with. Smaller ones switch blocks off: each product of a branch would take a part.
- a weight that writes into the stream is multiplied by m/n besides. A truncated matrix keeps m/n of the variance and
  puts noise in the place of the rest, so what comes out of a reader and a writer agrees with the source by a
  correlation of sqrt(m/n) for each; times that is the best estimate by least squares, and embeddings do not drown.
- vectors and tables keep the value of their mean (the gain of a norm), and the deviation of the rest (embeddings).

Where an axis grows, values are kept, and what is summed over is multiplied by sqrt(n/m): sums of interpolated values
are what they were (Parseval). Over the blocks the same: the stream is the sum of what all blocks write.
"""

from __future__ import annotations

import math

__all__ = ["SCALES", "depth_gain", "gain", "spread"]

SCALES = ("auto", "ortho", "amp", "variance", "fan-in")


def gain(scale: str, source: int, target: int, *, matrix: bool, contracted: bool, writes: bool = False) -> float:
    """The factor for one axis.

    Args:
        scale: one of SCALES.
        source: n, the size before.
        target: m, the size after.
        matrix: True for a weight that a contraction sums over, False for vectors and embeddings.
        contracted: True for the axis that is summed over.
        writes: True for a weight that makes the residual stream of something else.
    """
    if source == target or scale == "ortho":
        return 1.0
    amp = math.sqrt(target / source)
    if scale == "amp" or not matrix:
        return amp
    kept = max(amp, 1.0)
    if scale == "auto" and contracted:
        return amp if writes and amp < 1 else 1 / amp
    return kept / amp if scale == "fan-in" and contracted else kept


def spread(scale: str, source: int, target: int, *, matrix: bool) -> float | None:
    """The factor for what differs from the mean along an axis, where it is another one than `gain`.

    Args:
        scale: one of SCALES.
        source: n, the size before.
        target: m, the size after.
        matrix: True for a weight that a contraction sums over.
    """
    return 1.0 if scale == "auto" and not matrix and target < source else None


def depth_gain(scale: str, source: int, target: int, *, matrix: bool, writes: bool = False) -> float:
    """The factor over the blocks.

    Args:
        scale: one of SCALES.
        source: the number of blocks before.
        target: the number of blocks after.
        matrix: True for a weight that a contraction sums over.
        writes: True for a weight that makes the residual stream of something else.
    """
    if scale == "auto" and matrix:
        amp = math.sqrt(target / source)
        return min(amp, 1 / amp) if writes else max(amp, 1.0)
    return gain(scale, source, target, matrix=matrix, contracted=False)
