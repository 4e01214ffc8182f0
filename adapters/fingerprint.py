"""Finding parameters in an exported graph by their values, whatever the exporter called them or did to them.

Every element of every parameter gets a float32 of its own. However a tensor of the graph was transposed, reshaped,
cut or joined, its elements then say where they come from. Codes lie in no order and are spread over several powers of
two, as trained weights are: equal steps, or nearly one value, would be what no training leaves behind.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from front_onnx.errors import FrontError

__all__ = ["Fingerprint"]

_TOP = 0x3F800000  # the bits of 1.0: codes lie below, so that they are positive and small
_LOWEST = 0x20000000  # the bits of 2 ** -63: products of two codes are still normal numbers
_SPREAD = 8 << 23  # bits between the smallest and the largest code where there are few: eight powers of two
_TURN = 0.6180339887  # of all elements, between the codes of one and of the next


class Fingerprint:
    """Codes for the elements of parameters.

    Args:
        shapes: the parameters, by name.

    Raises:
        FrontError: more elements than there are codes (530 million).
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.shapes = dict(shapes)
        self.names = list(shapes)
        sizes = [int(np.prod(shape)) for shape in shapes.values()]
        self.starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        if self.total > _TOP - _LOWEST:
            raise FrontError("too many parameters to tell apart", got=self.total, wanted=_TOP - _LOWEST)
        # Even steps below 1 - 2 ** -24 never meet a power of two, which graphs hold for reasons of their own.
        self.step = max(1, _SPREAD // max(1, self.total) // 2 * 2)
        turns = range(max(1, int(_TURN * self.total)), 2 * self.total + 2)
        self.turn = next(turn for turn in turns if math.gcd(turn, self.total) == 1)
        self.back = pow(self.turn, -1, self.total) if self.total > 1 else 0

    @property
    def total(self) -> int:
        """Elements of all parameters."""
        return int(self.starts[-1])

    def codes(self, name: str) -> np.ndarray:
        """The values by which the elements of a parameter are found, float32 in its shape."""
        place = self.names.index(name)
        elements = np.arange(self.starts[place], self.starts[place + 1])
        bits = _TOP - 1 - self.step * (elements * self.turn % max(1, self.total))
        return bits.astype(np.uint32).view(np.float32).reshape(self.shapes[name])

    def decode(self, array: np.ndarray) -> np.ndarray:
        """For each element, which of all elements it is; -1 for those that are none. int64 in the array's shape."""
        if array.dtype != np.float32:
            return np.full(array.shape, -1, np.int64)
        bits = np.ascontiguousarray(array).view(np.uint32).astype(np.int64)
        found, rest = np.divmod(_TOP - 1 - bits, self.step)
        elements = found * self.back % max(1, self.total)
        return np.where((found >= 0) & (found < self.total) & (rest == 0), elements, -1)

    def owner(self, element: int) -> str:
        """The parameter that an element is of."""
        return self.names[int(np.searchsorted(self.starts, element, side="right")) - 1]

    def owners(self, array: np.ndarray) -> set[str]:
        """The parameters that a tensor of the graph holds elements of."""
        found = self.decode(array)
        places = np.unique(np.searchsorted(self.starts, found[found >= 0], side="right") - 1)
        return {self.names[int(place)] for place in places}
