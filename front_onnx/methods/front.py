"""FRONT: the low frequencies of every axis and of the depth, truncated or padded to the new size (Eq. 3, 4 and 8)."""

from __future__ import annotations

import math

from front_onnx.methods.method import Method, Use
from front_onnx.methods.scale import gain
from front_onnx.read.graph import Edge
from front_onnx.transform.maps import AxisMap, Dct

__all__ = ["Front", "coefficients"]


class Front(Method):
    """The orthonormal DCT-II along every axis, scaled by a convention."""

    name = "front"
    cuts = True
    scaled = True

    def axis(self, use: Use) -> AxisMap:
        """The truncated or padded spectrum."""
        source = use.var.size
        factor = gain(self.setting.scale, source, use.target, matrix=use.matrix, contracted=use.summed)
        return Dct(source, use.target, source, factor)

    def depth(self, edges: tuple[Edge, ...], names: tuple[str, ...], target: int, *, matrix: bool) -> AxisMap:
        """The same over the blocks."""
        source = len(names)
        factor = gain(self.setting.scale, source, target, matrix=matrix, contracted=False)
        return Dct(source, target, coefficients(self.setting.ratio, source), factor)

    def cut(self, size: int) -> AxisMap | None:
        """The low frequencies of an axis."""
        keep = coefficients(self.setting.ratio, size)
        return None if keep == size else Dct(size, size, keep)


def coefficients(ratio: float, size: int) -> int:
    """How many of `size` coefficients a ratio keeps."""
    return size if ratio == 1 else max(1, math.floor(ratio * size + 1e-9))
