"""Size variables and axes: a size that nothing has cut yet, and products of them.

An **axis** is a tuple of size variables, a product in row-major order: 768 = 12 x 64 after a Reshape; `()` has size 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import Enum, auto
from fractions import Fraction

from front_onnx.axes.holds import Hold, Why

__all__ = ["Axis", "AxisRole", "Conflict", "SizeVar", "size_of"]


class AxisRole(Enum):
    """What the graph uses a size for."""

    CONTRACTED = auto()  # a weight is summed over it
    INNER = auto()  # a product of two activations sums over it
    BATCH = auto()  # a product of two activations keeps it apart: heads, if it can be resized
    HEAD = auto()  # summed over beside heads: their size
    REPEAT = auto()  # something is repeated so often: the queries of a key head
    GROUPS = auto()  # of channels
    SINGLE = auto()  # groups of a convolution that take one channel each, and make several
    KERNEL = auto()
    VOCABULARY = auto()  # entries of a table that is indexed by what is fed
    UNKNOWN = auto()  # a size that is known only at run time, and has no name


_NOTHING_HELD: frozenset[Hold] = frozenset()
_NO_ROLES: frozenset[AxisRole] = frozenset()
_NO_SYMBOLS: frozenset[str] = frozenset()


class Conflict(Exception):
    """Two axes that a rule wants equal cannot be, a cut falls inside a size, or what a rule needs is not known.

    Attributes:
        ratio: wanted / got where sizes differ: a size known only at run time may have been baked into the graph.
        axes: the sizes that do not fit.
        behind: the unfollowed nodes because of which something is not known.
    """

    def __init__(
        self,
        message: str,
        ratio: Fraction | None = None,
        *,
        axes: Iterable[SizeVar] = (),
        behind: frozenset[int] = frozenset(),
    ) -> None:
        super().__init__(message)
        self.ratio, self.axes, self.behind = ratio, tuple(axes), behind


class SizeVar:
    """One size.

    Attributes:
        size: in the source model.
        link: the size variable that it was made one with, if it is no root any more.
        factors: the product that it is bound to.
        parts: the sum of axes that it is.
        holds: why it keeps its size.
        roles: what it is used for.
        symbols: the names of the symbolic dims that it is.
    """

    __slots__ = ("factors", "holds", "link", "parts", "roles", "size", "symbols")

    def __init__(self, size: int, holds: frozenset[Hold] = _NOTHING_HELD) -> None:
        self.size = size
        self.link: SizeVar | None = None
        self.factors: tuple[SizeVar, ...] | None = None
        self.parts: list[Axis] | None = None
        self.holds = holds
        self.roles = _NO_ROLES
        self.symbols = _NO_SYMBOLS

    @property
    def fixed(self) -> bool:
        """True if it keeps its size unless it is set by name. Groups of a norm that are heads grow as heads do."""
        heads = AxisRole.BATCH in self.roles
        return any(hold.why.fixes and not (heads and hold.why is Why.NORM_GROUPS) for hold in self.holds)

    @property
    def frozen(self) -> bool:
        """True if its size can never change."""
        return any(hold.why.freezes for hold in self.holds)

    @property
    def symbol(self) -> str | None:
        """The name of the symbolic dim that it is; the first in the alphabet where it has several."""
        return min(self.symbols, default=None)

    def is_held(self, *whys: Why) -> bool:
        """True if one of these is among the reasons for which it stays."""
        return any(hold.why in whys for hold in self.holds)

    def __repr__(self) -> str:
        return f"<{self.size}{'!' if self.frozen else '*' if self.fixed else ''}>"


Axis = tuple[SizeVar, ...]


def size_of(axis: Iterable[SizeVar]) -> int:
    """Size of an axis in the source model (with primes for sizes known only at run time)."""
    return math.prod([var.size for var in axis])
