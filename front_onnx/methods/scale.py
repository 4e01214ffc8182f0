"""Scale conventions: by what each resized axis is multiplied.

Truncating or padding an orthonormal spectrum from n to m scales a smooth signal by sqrt(n/m) and leaves the variance
of noise alone when truncating (times n/m when padding). What to do about it is a choice:

- ortho: nothing, as in the paper (Eq. 8).
- amp: times sqrt(m/n): values keep their size.
- variance: the variance of a white spectrum is kept: times sqrt(m/n) where an axis grows.
- fan-in: as variance, and times sqrt(n/m) on the axis that is summed over: the variance of outputs is kept.
- auto: weights that are summed over never amplify (amp where an axis shrinks, ortho where it grows); vectors (norm
  gains, biases) and embeddings keep their values. The default, for what was measured with it.
"""

from __future__ import annotations

import math

__all__ = ["SCALES", "gain"]

SCALES = ("auto", "ortho", "amp", "variance", "fan-in")


def gain(scale: str, source: int, target: int, *, matrix: bool, contracted: bool) -> float:
    """The factor for one axis.

    Args:
        scale: one of SCALES.
        source: n, the size before.
        target: m, the size after.
        matrix: True for a weight that a contraction sums over, False for vectors and embeddings.
        contracted: True for the axis that is summed over.
    """
    if source == target or scale == "ortho":
        return 1.0
    amp = math.sqrt(target / source)
    if scale == "amp" or not matrix:
        return amp
    if scale == "auto":
        return min(amp, 1.0)
    kept = max(amp, 1.0)
    return kept / amp if scale == "fan-in" and contracted else kept
