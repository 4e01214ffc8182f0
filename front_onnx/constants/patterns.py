"""Contents that training does not leave behind: two values, triangles, bands, series, waves, filter banks.

Each detector is exact, looks at a corner first (most constants are weights and fail there), and is not fooled by what
a fresh model holds: one value everywhere, or the same along an axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from front_onnx.read.arrays import all_near, is_uniform, repeats
from front_onnx.read.tensor_data import machine_epsilon

__all__ = [
    "are_curves",
    "is_filter_bank",
    "is_orthogonal",
    "is_series",
    "is_smooth",
    "is_toeplitz",
    "oscillates",
    "triangle",
    "two_values",
]

_CORNER = 8  # entries of an axis that are looked at first
_HEAD = 64  # elements that are looked at first
_LEAST = 16  # elements, or conditions, from which a pattern is no accident
_SHORT = 4  # entries from which a series is no accident
_SMOOTH = 1e-3  # of what differences of numbers by chance are
_FOURTH = 70**0.5  # the standard deviation of fourth differences of numbers by chance, relative to theirs
_LINES = 256  # lines of a table that are compared with a wave


def two_values(array: np.ndarray) -> tuple[float, float] | None:
    """(low, high) of a table of two values that mixes them along each of its axes; None for anything else."""
    flat = array.reshape(-1)
    if flat.size < _SHORT or any(len({*flat[:count].tolist()}) > 2 for count in (_SHORT, _HEAD)):
        return None
    low, high = flat.min(), flat.max()
    if low == high or not bool(((flat == low) | (flat == high)).all()):
        return None
    wide = [place for place, size in enumerate(array.shape) if size > 1]
    if len(wide) > 1 and any(repeats(array, place) for place in wide):
        return two_values(array.take(0, next(p for p in wide if repeats(array, p))))
    return float(low), float(high)


def _square(array: np.ndarray, fits: Callable[[np.ndarray], bool]) -> np.ndarray | None:
    """The one square matrix that an array holds, once or repeated over leading axes; None if there is none.

    `fits`: whether a corner may be one of what is looked for: nearly every other table fails here.
    """
    if array.ndim < 2 or array.shape[-1] != array.shape[-2] or array.shape[-1] < _SHORT:
        return None
    head = array.reshape(-1, *array.shape[-2:])
    corner = head[:, :_CORNER, :_CORNER]
    if not fits(corner[0]):
        return None
    return head[0] if bool((corner == corner[0]).all() and (head == head[0]).all()) else None


def _has_two_values(corner: np.ndarray) -> bool:
    return len({*corner.ravel().tolist()}) <= 2


def _has_diagonals(corner: np.ndarray) -> bool:
    return bool(corner[0, 0] == corner[1, 1] and (corner[1:, 1:] == corner[:-1, :-1]).all())


def triangle(array: np.ndarray) -> tuple[str, int, float, float] | None:
    """(shape, first diagonal, inside, outside) of square tables of two values that a diagonal parts; None for others.

    The shape is "eye" (the diagonal alone), "tril" or "triu" (all up to a diagonal near the main one).
    """
    square = _square(array, _has_two_values)
    if square is None:
        return None
    size = len(square)
    places = np.subtract.outer(np.arange(size), np.arange(size))
    for shape, inside in (("eye", places == 0), *((f"tril{k:+d}", places >= -k) for k in (0, -1, 1))):
        values, others = square[inside], square[~inside]
        if is_uniform(values) and is_uniform(others) and values[0] != others[0]:
            name, first = ("eye", 0) if shape == "eye" else ("tril", int(shape[4:]))
            return name, first, float(values[0]), float(others[0])
    return None


def is_toeplitz(array: np.ndarray) -> bool:
    """True for square tables that are constant along every diagonal and nowhere else."""
    square = _square(array, _has_diagonals)
    if square is None:
        return False
    return not is_uniform(square) and bool((square[1:, 1:] == square[:-1, :-1]).all())


def is_orthogonal(array: np.ndarray) -> bool:
    """True for square matrices H with H H' = c I that are dense: rotations."""
    if array.ndim != 2 or array.shape[0] != array.shape[1] or array.shape[0] < _SHORT:
        return False
    norms = np.square(array[:_SHORT].astype(np.float64)).sum(axis=1).tolist()
    if not norms[0] or not all(abs(norm - norms[0]) <= 1e-8 + _close(array) * norms[0] for norm in norms):
        return False
    head = array[:_CORNER].astype(np.float64)
    if not all_near(head @ head.T, norms[0] * np.eye(len(head)), rtol=1e-5, atol=norms[0] * _close(array)):
        return False
    if np.count_nonzero(array[0]) < 2:
        return False  # the identity, or a permutation
    whole = array.astype(np.float64)
    return bool(all_near(whole @ whole.T, norms[0] * np.eye(len(whole)), rtol=1e-5, atol=norms[0] * _close(array)))


def is_series(array: np.ndarray) -> bool:
    """True for numbers that grow by equal steps, in the order in which they lie: places, bins, centres."""
    flat = array.reshape(-1)
    if flat.size < _SHORT:
        return False
    first, second, third, _ = map(float, flat[:_SHORT].tolist())
    close = _close(array) * max(abs(first), abs(float(flat[-1])))
    if abs(first - 2 * second + third) > 5 * close or not np.isfinite(flat[:_CORNER]).all():
        return False  # nearly every bias
    head = flat[:_CORNER].astype(np.float64)
    whole = flat.astype(np.float64)
    for values in (head, whole):
        wanted = values[0] + (values[-1] - values[0]) * np.arange(values.size) / (values.size - 1)
        if not np.isfinite(values[-1]) or values[0] == values[-1] or not all_near(values, wanted, atol=close):
            return False
    return True


def is_smooth(array: np.ndarray) -> bool:
    """True for numbers that lie on a smooth curve along the one axis that is not 1: powers, exponentials, products.

    Fourth differences of a curve vanish where those of numbers by chance are eight times as large as the numbers; they
    vanish of its logarithm where it decays fast. Powers are steep at their beginning, so the first quarter is left out.
    """
    flat = array.reshape(-1)
    if flat.size <= _CORNER or max(array.shape) != array.size or not np.isfinite(flat).all():
        return False
    later = flat[flat.size // 4 :].astype(np.float64)
    curves = [later, np.log(np.abs(later))] if later.all() and (np.sign(later) == np.sign(later[0])).all() else [later]
    return any(_is_curve(curve) for curve in curves)


def are_curves(array: np.ndarray) -> bool:
    """True for tables in which every line along one axis is smooth, or one value: powers of time, windows of decay."""
    wide = [place for place, size in enumerate(array.shape) if size > 1]
    if len(wide) != 2:
        return False
    table = array.reshape(array.shape[wide[0]], array.shape[wide[1]])
    return any(_all_curves(lines) for lines in (table, table.T))


def _all_curves(lines: np.ndarray) -> bool:
    count, size = lines.shape
    if size <= _CORNER or not all(_begins_smoothly(lines[at]) for at in (count - 1, count // 2)):
        return False
    others = [line for line in lines if not is_uniform(line)]
    return len(others) > 1 and all(is_smooth(line) for line in others)


def _begins_smoothly(line: np.ndarray) -> bool:
    """True unless five numbers in the middle of a line jump about as numbers by chance do: nearly every weight's."""
    middle = len(line) // 2
    a, b, c, d, e = line[middle - 2 : middle + 3].tolist()
    few = [float(line[0]), float(line[middle // 2]), c, float(line[-1])]
    return bool(abs(a - 4 * b + 6 * c - 4 * d + e) <= 10 * _SMOOTH * _FOURTH * (max(few) - min(few) or 1.0))


def _is_curve(values: np.ndarray) -> bool:
    spread = values.std()
    if spread <= _SMOOTH * np.abs(values).max():  # one value, or nearly
        return False
    return bool((np.abs(np.diff(values, 4)) <= _SMOOTH * _FOURTH * spread).all())


def oscillates(array: np.ndarray) -> bool:
    """True for tables in which every line along an axis is a sampled sine: Fourier and cosine bases, windowed or not.

    A sine of angles k t meets x[k+1] + x[k-1] = 2 cos(t) x[k], whatever its phase and amplitude are. Cosine and sine
    rows may lie one behind the other or in turn, and the first row may have a scale of its own.
    """
    wide = [place for place, size in enumerate(array.shape) if size > 1]
    if len(wide) != 2 or not array.size >= 4 * _LEAST:
        return False
    table = array.reshape(array.shape[wide[0]], array.shape[wide[1]])
    return any(_waves_along(rows, _close(array)) for rows in (table, table.T))


def _waves_along(rows: np.ndarray, close: float) -> bool:
    """True if every column of a table is a sine along the rows, in one of the ways that cosines and sines are kept."""
    count, fewest = len(rows), _CORNER - 1
    if count < fewest:
        return False
    ways = [[slice(0, count)]]
    if count % 2 == 0 and count >= 2 * fewest:
        ways += [[slice(0, count // 2), slice(count // 2, count)], [slice(0, count, 2), slice(1, count, 2)]]
    head = rows[: 4 * _CORNER, :_LINES].astype(np.float64)  # all that each way looks at first
    largest = float(np.abs(head).max())
    if math.isfinite(largest):
        room = 4 * close * largest
        ways = [way for way in ways if _begins_as_sine(rows[way[0]][1:5, 0].tolist(), room)]
    return any(all(_are_sines(rows[part], close) for part in way) for way in ways)


def _are_sines(rows: np.ndarray, close: float) -> bool:
    if len(rows) > 2 * _CORNER and not _are_sines(rows[: 2 * _CORNER, :_CORNER], close):
        return False
    rows = rows[1:, :_LINES].astype(np.float64)  # the first row of a cosine basis is scaled
    room = 4 * close * float(np.abs(rows).max(initial=0.0))
    if not _begins_as_sine(rows[:4, 0].tolist(), room):
        return False
    before, here, after = rows[:-2], rows[1:-1], rows[2:]
    energy = np.square(here).sum(axis=0)
    largest = np.sqrt(np.square(rows).mean(axis=0).max(initial=0.0))
    twice = np.divide((here * (before + after)).sum(axis=0), energy, where=energy > 0, out=np.zeros_like(energy))
    off = np.abs(before + after - twice * here).max(axis=0)
    turning = np.abs(twice) < 2 - close  # a line that is straight is no wave
    return bool((np.abs(twice) <= 2 + close).all() and (off <= 4 * close * largest).all() and turning.sum() >= 2)


def _begins_as_sine(line: list[float], room: float) -> bool:
    """True if the first four numbers of a line may be a sine's, `room` off: nearly every other line fails here.

    (x[0] + x[2]) / x[1] and (x[1] + x[3]) / x[2] are both 2 cos(t).
    """
    a, b, c, d = line
    return abs((a + c) * c - (b + d) * b) <= 1.01 * room * (abs(b) + abs(c))


def is_filter_bank(array: np.ndarray) -> bool:
    """True for tables of bands: every line along an axis is one bump of positive numbers among zeros, further on each.

    Triangular filters over the bins of a spectrum (mel banks) are of this form.
    """
    wide = [place for place, size in enumerate(array.shape) if size > 1]
    if len(wide) != 2 or array.size < 2 * _LEAST or any(not x >= 0 for x in array.reshape(-1)[:_HEAD].tolist()):
        return False
    table = array.reshape(array.shape[wide[0]], array.shape[wide[1]])
    return any(_are_bumps(lines) for lines in (table, table.T))


def _are_bumps(lines: np.ndarray) -> bool:
    count, size = lines.shape
    held = lines > 0
    if count < _SHORT or size < 2 * _SHORT or (lines < 0).any() or 2 * held.sum() > held.size:
        return False
    peaks = []
    for line, there in zip(lines, held, strict=True):
        places = np.flatnonzero(there)
        if not len(places):
            continue  # a filter between two bins
        if places[-1] - places[0] + 1 != len(places):
            return False
        peak = int(line.argmax())
        if (np.diff(line[places[0] : peak + 1]) < 0).any() or (np.diff(line[peak : places[-1] + 1]) > 0).any():
            return False
        peaks.append(peak)
    return len(peaks) >= _SHORT and bool((np.diff(peaks) >= 0).all()) and len(set(peaks)) >= _SHORT


def _close(array: np.ndarray) -> float:
    """How far from exact an entry may be, relative to the largest: rounding of the type it is written in."""
    if array.dtype.kind in "iub":
        return 0.0
    return max(2e-5, 8 * machine_epsilon(array.dtype))
