"""What an array holds, as far as every part of the project asks: one value, a counter, the same along an axis.

Most constants are small and all are asked, and numpy's own allclose takes ten times as long for a small array.
"""

from __future__ import annotations

import numpy as np

__all__ = ["all_near", "is_arange", "is_uniform", "repeats"]


def all_near(array: np.ndarray, wanted: np.ndarray | float, *, rtol: float = 0.0, atol: float = 0.0) -> bool:
    """True if every entry is within atol + rtol |wanted| of what is wanted; what is no finite number never is."""
    with np.errstate(invalid="ignore", over="ignore"):
        return bool((np.abs(array - wanted) <= atol + rtol * np.abs(wanted)).all())


def is_arange(array: np.ndarray) -> bool:
    """True if an array holds 0, 1, 2 ... in row-major order, so that it can be written at any size."""
    return array.size > 1 and np.array_equal(array.reshape(-1), np.arange(array.size))


def is_uniform(array: np.ndarray) -> bool:
    """True if an array holds one value everywhere, so that it can be written at any size."""
    flat = array.reshape(-1)
    return flat.size > 0 and bool(flat[0] == flat[-1] and (flat == flat[0]).all())


def repeats(array: np.ndarray, axis: int) -> bool:
    """True if an array holds the same at every place of an axis (a mask that was stretched over heads)."""
    return array.shape[axis] > 1 and bool((array == array.take([0], axis)).all())
