"""Tables that are computed, not learned: they have to be what the target architecture would compute.

Recognised by exact formula and written anew: geometric series (rotary frequencies), numbers per head (`per_head.py`),
sines and cosines (`sinusoidal.py`), and matrices that mix an axis with itself (`fourier.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from front_onnx.constants.fourier import square_matrix
from front_onnx.constants.per_head import rescaled
from front_onnx.constants.sinusoidal import FEWEST, find_waves, series, series_base
from front_onnx.read.arrays import all_near
from front_onnx.read.tensor_data import machine_epsilon

__all__ = ["made_of_waves", "recomputed"]


def recomputed(array: np.ndarray, dims: Sequence[int], *, summed: bool = False) -> np.ndarray | None:
    """What the formula behind a table of floats gives at other dims, in double precision; None if it has none.

    `summed`: a contraction sums over the table, so only the matrices are looked for.
    """
    if array.size < 2 or len(dims) != array.ndim:
        return None
    close = max(1e-5, 4 * machine_epsilon(array.dtype))
    for formula in (square_matrix,) if summed else (square_matrix, _series, rescaled, _waves):
        found = formula(array, dims, close)
        if found is not None:
            return found
    return None


def _series(array: np.ndarray, dims: Sequence[int], close: float) -> np.ndarray | None:
    """Inverse frequencies, or frequencies, along the one axis that is not 1: each once, or for sine and cosine."""
    if max(array.shape) != array.size or max(dims) != math.prod(dims):
        return None
    values, count = array.reshape(-1).astype(np.float64), math.prod(dims)
    times = 2 if values.size % 2 == 0 and values.size >= 2 * FEWEST and _in_pairs(values) else 1
    grows = values[-1] > 1
    once = 1 / values[::times] if grows and values.all() else values[::times]
    found = series_base(once, close) if count % times == 0 else None
    if found is None:
        return None
    base, steps = found
    made = series(base, max(1.0, count // times + steps - once.size), np.arange(count // times)).repeat(times)
    return (1 / made if grows else made).reshape(dims)


def _in_pairs(values: np.ndarray) -> bool:
    return bool(values[0] == values[1] and (values[::2] == values[1::2]).all())


def _waves(array: np.ndarray, dims: Sequence[int], close: float) -> np.ndarray | None:
    """Waves along one axis, positions along all others."""
    changed = [place for place, size in enumerate(dims) if size != array.shape[place]]
    wide = [place for place, size in enumerate(array.shape) if size > 1]
    for place in dict.fromkeys([*(changed if len(changed) == 1 else []), wide[-1]]):
        if array.size < FEWEST * array.shape[place]:
            continue  # most biases end here
        rows = np.moveaxis(array, place, -1)
        found = find_waves(rows.reshape(-1, rows.shape[-1]), close)
        others = [size for at, size in enumerate(dims) if at != place]
        regrouped = len(wide) > 2 or (found is not None and (found.places.line is not None or found.places.relative))
        if found is None or (regrouped and any(at != place for at in changed)):
            continue
        return np.moveaxis(found.table(int(np.prod(others)), dims[place]).reshape(*others, dims[place]), -1, place)
    return None


def made_of_waves(array: np.ndarray) -> bool:
    """True if the rows of a table have the length that sines and cosines of the same angles give them."""
    if array.ndim < 2 or array.shape[-1] < 4:
        return False
    width = array.shape[-1]
    squares = (array.reshape(-1, width)[:64].astype(np.float64) ** 2).sum(axis=-1)
    return len(squares) > 2 and all_near(squares[2:], width / 2, rtol=1e-4)
