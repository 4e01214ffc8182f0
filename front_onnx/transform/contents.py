"""Contents: what a constant of the resized graph is to hold, as data.

The rewriter gives node inputs with one content one tensor. So a tensor that several uses share is split where they
part, and tied weights stay tied.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from front_onnx.transform.maps import AxisMap

__all__ = ["Computed", "Content", "Counted", "Eye", "Filled", "Numbers", "Original", "Patch", "Repeated", "Resampled"]


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

    `lowest`: what no value falls below; variances that ring around a peak stay positive.
    `patch`: entries that hold something else.
    """

    names: tuple[str, ...]
    index: int
    depth: AxisMap
    axes: tuple[AxisMap, ...]
    transposed: bool = False
    lowest: float | None = None
    patch: Patch | None = None

    @property
    def dims(self) -> tuple[int, ...]:
        """The shape of the entry."""
        dims = tuple(axis.target for axis in self.axes)
        return dims[::-1] if self.transposed else dims


@dataclass(frozen=True)
class Filled:
    """One value everywhere.

    `apart`: tells tensors apart that are equal now and may part in training; else they become one.
    """

    dims: tuple[int, ...]
    data_type: int
    value: float
    apart: str = ""


@dataclass(frozen=True)
class Eye:
    """What passes each entry on: ones on the diagonal of the first two axes, in the centre of a kernel."""

    dims: tuple[int, ...]
    data_type: int
    apart: str = ""

    def array(self, dtype: np.dtype) -> np.ndarray:
        """The values, in a type."""
        out = np.zeros(self.dims, dtype)
        centre = out.reshape(*self.dims[:2], -1)
        centre = centre[:, :, centre.shape[2] // 2]  # kernels of odd sides
        np.fill_diagonal(centre, 1)
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


Content = Original | Resampled | Filled | Eye | Counted | Computed | Numbers | Repeated
