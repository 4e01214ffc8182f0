"""Finding parameters in an exported graph by their values, whatever the exporter called them or did to them.

Every element of every parameter gets a float32 of its own. However a tensor of the graph was transposed, reshaped,
cut or joined, its elements then say where they come from.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from front_onnx.errors import FrontError

__all__ = ["Fingerprint"]

_TOP = 0x3F800000  # the bits of 1.0: codes lie below, so that they are positive and small
_LOWEST = 0x20000000  # the bits of 2 ** -63: products of two codes are still normal numbers


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

    @property
    def total(self) -> int:
        """Elements of all parameters."""
        return int(self.starts[-1])

    def codes(self, name: str) -> np.ndarray:
        """The values by which the elements of a parameter are found, float32 in its shape."""
        place = self.names.index(name)
        bits = np.arange(_TOP - 1 - self.starts[place], _TOP - 1 - self.starts[place + 1], -1)
        return bits.astype(np.uint32).view(np.float32).reshape(self.shapes[name])

    def decode(self, array: np.ndarray) -> np.ndarray:
        """For each element, which of all elements it is; -1 for those that are none. int64 in the array's shape."""
        if array.dtype != np.float32:
            return np.full(array.shape, -1, np.int64)
        bits = np.ascontiguousarray(array).view(np.uint32).astype(np.int64)
        found = _TOP - 1 - bits
        return np.where((found >= 0) & (found < self.total), found, -1)

    def owner(self, element: int) -> str:
        """The parameter that an element is of."""
        return self.names[int(np.searchsorted(self.starts, element, side="right")) - 1]

    def owners(self, array: np.ndarray) -> set[str]:
        """The parameters that a tensor of the graph holds elements of."""
        found = self.decode(array)
        places = np.unique(np.searchsorted(self.starts, found[found >= 0], side="right") - 1)
        return {self.names[int(place)] for place in places}
