"""Contents: what a constant of the resized graph is to hold, as data.

The rewriter gives node inputs with one content one tensor. So a tensor that several uses share is split where they
part, and tied weights stay tied.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from front_onnx.transform.maps import AxisMap

__all__ = [
    "Computed",
    "Content",
    "Counted",
    "Drawn",
    "Eye",
    "Factor",
    "Filled",
    "Numbers",
    "Original",
    "Patch",
    "Pending",
    "Repeated",
    "Resampled",
]


@dataclass(frozen=True)
class Original:
    """The source's tensor, byte for byte."""

    name: str


@dataclass(frozen=True, eq=False)
class Patch:
    """Entries `start` ... of one axis of a matrix that hold values of their own.

    Attributes:
        axis: which axis.
        start: the first entry.
        values: [entries, size of the other axis].
    """

    axis: int
    start: int
    values: np.ndarray

    @cached_property
    def _key(self) -> tuple[int, int, bytes]:
        return self.axis, self.start, np.ascontiguousarray(self.values).tobytes()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Patch) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def put(self, into: np.ndarray) -> np.ndarray:
        """A copy of a matrix with these entries."""
        out = into.copy()
        rows = out if self.axis == 0 else out.T
        rows[self.start : self.start + len(self.values)] = self.values
        return out


@dataclass(frozen=True)
class Resampled:
    """Entry `index` of the stack of `names`, resampled along depth and along each axis, perhaps transposed.

    `lowest`: what no value falls below; variances that ring around a peak stay positive. `before`: permutations of the
    axes of each of `names`, before anything else; none if empty.
    `patch`: entries that hold something else.
    """

    names: tuple[str, ...]
    index: int
    depth: AxisMap
    axes: tuple[AxisMap, ...]
    transposed: bool = False
    lowest: float | None = None
    before: tuple[tuple[AxisMap, ...], ...] = ()
    patch: Patch | None = None

    @property
    def dims(self) -> tuple[int, ...]:
        """The shape of the entry."""
        dims = tuple(axis.target for axis in self.axes)
        return dims[::-1] if self.transposed else dims


@dataclass(frozen=True)
class Filled:
    """One value everywhere.

    `apart`: tells tensors apart that are equal now and may part in training; else they become one. `names`, `index`:
    the tensors in the same place of every unit and the number of this one, by which an added one is called.
    """

    dims: tuple[int, ...]
    data_type: int
    value: float
    apart: str = ""
    names: tuple[str, ...] = field(default=(), compare=False)
    index: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Eye:
    """What passes each entry on: ones on the diagonal of the first two axes, at one place of a kernel; else zeros.

    `names`, `index`, `apart`: as those of `Filled`.
    """

    dims: tuple[int, ...]
    data_type: int
    centre: tuple[int, ...] = ()
    apart: str = ""
    names: tuple[str, ...] = field(default=(), compare=False)
    index: int = field(default=0, compare=False)

    def array(self, dtype: np.dtype) -> np.ndarray:
        """The values, in a type."""
        out = np.zeros(self.dims, dtype)
        place = 0
        for at, side in zip(self.centre, self.dims[2:], strict=True):
            place = place * side + at
        np.fill_diagonal(out.reshape(*self.dims[:2], -1)[:, :, place], 1)
        return out


@dataclass(frozen=True)
class Counted:
    """0, 1, 2 ... in row-major order."""

    dims: tuple[int, ...]
    data_type: int


@dataclass(frozen=True)
class Computed:
    """What the formula behind a table of the source gives at another size (`constants/formulas.py`)."""

    name: str
    dims: tuple[int, ...]
    data_type: int


@dataclass(frozen=True)
class Numbers:
    """A few numbers that stand for sizes."""

    dims: tuple[int, ...]
    data_type: int
    values: tuple[int | float | bool, ...]


@dataclass(frozen=True)
class Repeated:
    """The source's tensor with more or fewer copies of what it holds along the axes that change."""

    name: str
    dims: tuple[int, ...]


@dataclass(frozen=True)
class Factor:
    """A part of a drawn matrix that makes, with a part of another, the product alpha Z + beta I (`drawing.py`).

    Z [width, width] has independent normal entries of deviation width^-1/2.

    Attributes:
        key: the same for both factors.
        side: "left", [width, heads repeat inner], or "right", its partner [heads inner, width] transposed; "spread" is
            a right side that several heads share in equal parts, [heads repeat inner, width] transposed.
        alpha: of the noise.
        beta: of the identity.
        width: the size that both factors share with the identity.
        heads: the products, one for each, or one of all together if there is 1.
        repeat: how many left sides have one right side.
        inner: the size that is summed over in each product.
        axis: the axis of the tensor that the entries are along; the other one is the width.
        places: where along it, in order.
    """

    key: str
    side: str
    alpha: float
    beta: float
    width: int
    heads: int
    repeat: int
    inner: int
    axis: int
    places: tuple[int, ...]


@dataclass(frozen=True)
class Drawn:
    """Numbers drawn anew; two are equal if they have one key.

    Attributes:
        dims: the shape.
        data_type: the type.
        how: "normal"; "truncated", a normal one cut at two deviations; "uniform"; "constant", drawn by nobody.
        scale: the deviation; the largest value of a uniform one; the constant.
        key: by which, with the seed, the numbers are drawn.
        seed: the same for all.
        transposed: True if what is drawn is the transpose.
        factors: parts that are drawn otherwise.
        names: the tensors in the same place of every unit, by which those of added units are called; they and `index`
            say nothing of the numbers.
        index: which unit it is for.
    """

    dims: tuple[int, ...]
    data_type: int
    how: str
    scale: float
    key: str
    seed: int
    transposed: bool = False
    factors: tuple[Factor, ...] = ()
    names: tuple[str, ...] = field(default=(), compare=False)
    index: int = field(default=0, compare=False)


Content = Original | Resampled | Filled | Eye | Counted | Computed | Numbers | Repeated | Drawn
Pending = Original | Resampled | Filled | Eye | Repeated | Drawn
