"""Tables of sines and cosines: positions, and the angles of rotary embeddings, stored whole.

A table has one row for each position and one column for each wave: sin or cos (or the bare angle) of position times
frequency. What differs between libraries is how the columns are laid out, how frequencies are spaced, where positions
begin, whether some rows are zeros (padding, a class token), and whether positions are those of a line or of a grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product

import numpy as np

from front_onnx.read.arrays import all_near

__all__ = ["FEWEST", "Waves", "find_waves", "series", "series_base"]

Column = tuple[str, int]  # (function, number of the frequency)
_FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sin": np.sin,
    "cos": np.cos,
    "angle": np.asarray,
    "zero": np.zeros_like,
}
_INVERSES: dict[str, Callable[[float], float]] = {"sin": math.asin, "cos": math.acos, "angle": float}
FEWEST = 3  # positions of a table
_FEW = 4  # rows that nearly every other table fails at
_HEAD = 64  # rows that are looked at next
_DIGITS = 3  # bases are round: 10000, 500000
_USUAL = 10000.0  # Vaswani et al. 2017, and nearly everybody since
_TINY = 1e-9
_SINGLE = 3e-7  # relative error of an angle computed in single precision


# -- frequencies ------------------------------------------------------------------------------------------------


def series(base: float, steps: float, places: np.ndarray) -> np.ndarray:
    """base^(-i/steps) at places i."""
    return np.asarray(base ** (-places / steps))


def series_base(values: np.ndarray, close: float) -> tuple[float, float] | None:
    """(base, steps) of n values base^(-i/steps), i = 0 ... n-1, with steps = n or n-1; None for any other values."""
    if values.size < 2 or values[0] != 1 or not 0 < values[1] < 1:
        return None
    found = [
        (base, steps)
        for steps in (values.size, values.size - 1)
        for base in _bases(float(values[1]), steps)
        if np.allclose(values, series(base, steps, np.arange(values.size)), rtol=close, atol=0)
    ]
    return _likely(found)


def _bases(second: float, steps: float) -> list[float]:
    """Round bases whose series goes on from 1 with a given value, roundest first."""
    base = second**-steps
    return list(dict.fromkeys(float(f"{base:.{digits}e}") for digits in range(_DIGITS)))


def _likely(found: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    """The series if it is the only one; of several (1, 0.1, 0.01, 0.001) the one with the usual base."""
    usual = [entry for entry in found if entry[0] == _USUAL]
    return found[0] if len(found) == 1 else usual[0] if len(usual) == 1 else None


# -- layouts: the columns of a table of a given width -----------------------------------------------------------


def _halves(first: str, second: str) -> Callable[[int], list[Column]]:
    return lambda width: [(first, k) for k in range(width - width // 2)] + [(second, k) for k in range(width // 2)]


def _padded(first: str, second: str) -> Callable[[int], list[Column]]:
    return lambda width: [*_halves(first, second)(width - width % 2), *[("zero", 0)] * (width % 2)]


def _in_turn(first: str, second: str) -> Callable[[int], list[Column]]:
    return lambda width: [(second if place % 2 else first, place // 2) for place in range(width)]


@dataclass(frozen=True)
class _Layout:
    """`columns` of a width; `pairs` if two columns have one frequency; `ends` if the last frequency is 1/base."""

    columns: Callable[[int], list[Column]]
    pairs: bool = True
    ends: bool = False

    @cached_property
    def leading(self) -> str:
        """The function of the first column."""
        return self.columns(4)[0][0]

    def steps(self, width: int) -> float:
        """The number of steps that take the frequency from 1 to 1/base."""
        if self.ends:
            return (width // 2 if self.pairs else width) - 1
        return width / 2 if self.pairs else width


_LINES = [
    _Layout(_in_turn("sin", "cos")),  # Vaswani et al. 2017
    _Layout(_halves("sin", "cos")),
    _Layout(_padded("sin", "cos"), ends=True),  # tensor2tensor
    _Layout(_halves("cos", "sin")),
    _Layout(_in_turn("cos", "sin")),
    *(_Layout(_halves(f, f)) for f in ("sin", "cos", "angle")),  # rotary embeddings
    *(_Layout(_in_turn(f, f)) for f in ("sin", "cos", "angle")),
    *(_Layout(lambda width, f=f: [(f, k) for k in range(width)], pairs=False) for f in ("sin", "cos", "angle")),  # type: ignore[misc]
]
_GRIDS = [  # each for one half of the columns
    _Layout(_halves("sin", "cos")),
    _Layout(_halves("cos", "sin")),
    _Layout(_in_turn("sin", "cos")),
    _Layout(_halves("sin", "cos"), ends=True),
]


# -- tables -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Places:
    """Which position every row has.

    Attributes:
        start: the first position.
        step: from one row to the next: -1 where relative positions count down.
        blank: rows of zeros.
        counted: True if rows of zeros have a position too.
        line: the length of a line of the grid, or None.
        down: True if the first half of the columns is for the number of the line.
    """

    start: int = 0
    step: int = 1
    blank: tuple[int, ...] = ()
    counted: bool = True
    line: int | None = None
    down: bool = False

    def positions(self, rows: int) -> list[np.ndarray]:
        """The positions of every row; on a grid, first those that the first half of the columns is for."""
        place = np.arange(rows) + 0.0
        if not self.counted:
            place -= np.searchsorted(np.asarray(self.blank), place)
        if self.line is None:
            return [place * self.step + self.start]
        across, lines = place % self.line + self.start, place // self.line + self.start
        return [lines, across] if self.down else [across, lines]

    @property
    def relative(self) -> bool:
        """True if where positions begin depends on how many there are."""
        return self.step < 0 or self.start < 0

    def lead(self, function: str, rows: int) -> np.ndarray:
        """The wave of frequency 1, which the first column of a table has."""
        lead = _FUNCTIONS[function](self.positions(rows)[0])
        lead[[row for row in self.blank if row < rows]] = 0
        return lead


@dataclass(frozen=True)
class Waves:
    """How a table of waves is computed.

    Attributes:
        layout: its columns; on a grid, those of each half.
        base: see `series`.
        places: the positions of its rows.
        scale: what everything is multiplied by.
    """

    layout: _Layout
    base: float
    places: _Places
    scale: float = 1.0

    def table(self, rows: int, width: int) -> np.ndarray:
        """The table at any size. Shape [rows, width]."""
        coordinates = self.places.positions(rows)
        out = np.concatenate([self.waves(position, width // len(coordinates)) for position in coordinates], axis=1)
        out[list(self.places.blank)] = 0
        return out

    def waves(self, positions: np.ndarray, width: int) -> np.ndarray:
        """The waves of one coordinate. Shape [positions, width]."""
        columns, steps = self.layout.columns(width), self.layout.steps(width)
        numbers = np.array([number for _, number in columns])
        out: np.ndarray = positions[:, None] * (series(self.base, steps, numbers) if steps > 0 else numbers == 0)
        for function in {name for name, _ in columns}:
            where = [place for place, (name, _) in enumerate(columns) if name == function]
            out[:, where] = _FUNCTIONS[function](out[:, where])
        out *= self.scale
        return out

    def fits(self, rows: np.ndarray, close: float) -> bool:
        """True if a table is this one."""
        room = self.scale * (close + _SINGLE * len(rows))
        return all(
            np.allclose(rows[:count], self.table(len(rows), rows.shape[1])[:count], rtol=close, atol=room)
            for count in (4, len(rows))
        )


def find_waves(rows: np.ndarray, close: float) -> Waves | None:
    """How a table [positions, width] is computed, if it is made of waves and nothing else.

    `close` is how far from the formula an entry may be, relative to the largest.
    """
    count, width = rows.shape
    if count < FEWEST or width < 2 or not np.isfinite(rows[:3]).all():
        return None
    first = rows[:, 0].astype(np.float64)
    blank = tuple(int(row) for row in np.flatnonzero(first == 0) if not rows[row].any())
    if len(blank) > 2:
        return None
    found = [c for c in _candidates(rows, first, blank, close) if c.fits(rows, close)]
    return next((c for c in found if c.base == _USUAL), found[0] if len({c.base for c in found}) == 1 else None)


def _candidates(rows: np.ndarray, first: np.ndarray, blank: tuple[int, ...], close: float) -> Iterator[Waves]:
    """Every way to lay out a table whose first column has the waves of frequency 1."""
    count, width = rows.shape
    for start, step in _relative(count):
        places = _Places(start, step)
        leading = {function for function in ("sin", "cos", "angle") if _leads(first, places, function)}
        for layout in (layout for layout in _LINES if layout.leading in leading):
            yield from _fitted(layout, places, rows, close)
    for start, counted in product((0, 1), (True, False) if blank else (True,)):
        squares = count - (0 if counted else len(blank))
        possible = np.arange(2, squares // 2 + 1)
        lines = possible[squares % possible == 0].tolist() if width % 4 == 0 else []
        for line, down in [(None, False), *product(lines, (False, True))]:
            places = _Places(start, 1, blank, counted, line, down)
            leading = {function for function in ("sin", "cos", "angle") if _leads(first, places, function)}
            for layout in _GRIDS if line else _LINES:
                if layout.leading in leading:
                    yield from _fitted(layout, places, rows, close)


def _relative(count: int) -> list[tuple[int, int]]:
    """(first position, step) of positions relative to each other: of n places to n, or to m <= n and what is cached.

    Dai et al. 2019 count down to 0 or through it to the other end, Yang et al. 2019 from one further, others up.
    """
    half = count // 2
    return [(count - 1, -1), (half, -1), (-half, 1)] if count % 2 else [(count - 1, -1), (half, -1), (half - 1, -1)]


def _leads(first: np.ndarray, places: _Places, function: str) -> bool:
    """True if a first column is about the wave of frequency 1, at any scale."""
    few = first[:_FEW].tolist()
    lead = _begin(places, function, len(few))
    scale = max(map(abs, few)) / max(*map(abs, lead), _TINY)
    pairs = zip(few, lead, strict=True)
    if any(abs(entry - wanted * scale) > 0.01 * scale * (1 + abs(wanted)) for entry, wanted in pairs):
        return False  # nearly every other table
    for rows in (min(_HEAD, len(first)), len(first)):
        wave = places.lead(function, rows)
        scale = float(np.abs(first[:rows]).max()) / max(float(np.abs(wave).max()), _TINY)
        if not all_near(first[:rows], wave * scale, rtol=0.01, atol=0.01 * scale):
            return False
    return True


@lru_cache(maxsize=4096)
def _begin(places: _Places, function: str, rows: int) -> tuple[float, ...]:
    return tuple(places.lead(function, rows).tolist())


def _fitted(layout: _Layout, places: _Places, rows: np.ndarray, close: float) -> Iterator[Waves]:
    """The candidate with the scale and the bases that a row near position 1 shows."""
    width = rows.shape[1] // (2 if places.line else 1)
    columns, steps = layout.columns(width), layout.steps(width)
    position = places.positions(len(rows))[0]
    ones = [int(row) for value in (1, 2) for row in np.flatnonzero(position == value) if row not in places.blank]
    at = next(iter(ones), None)
    if at is None or steps <= 0:
        return
    values = {column: float(value) for column, value in zip(columns, rows[at, :width], strict=True)}
    scale = 1.0
    if ("sin", 0) in values and ("cos", 0) in values:
        scale = math.hypot(values["sin", 0], values["cos", 0])
        scale = 1.0 if math.isclose(scale, 1, rel_tol=close) else scale
    if not scale:
        return
    second = _angle({f: value / scale for (f, number), value in values.items() if number == 1}) / position[at]
    for base in _bases(second, steps) if 0 < second < 1 else ():
        yield Waves(layout, base, places, scale)


def _angle(values: dict[str, float]) -> float:
    """The angle whose sine or cosine (or both) is given; nan if there is none."""
    if "sin" in values and "cos" in values:
        return math.atan2(values["sin"], values["cos"])
    (function, value), *_ = [*values.items(), ("angle", math.nan)]
    return float(_INVERSES[function](value)) if function == "angle" or abs(value) <= 1 else math.nan
