"""What methods share that put another orthonormal basis in the place of the DCT (the paper's Table 11)."""

from __future__ import annotations

import numpy as np

from front_onnx.methods.front import coefficients
from front_onnx.methods.method import Method, Use
from front_onnx.methods.scale import gain
from front_onnx.read.graph import Edge
from front_onnx.transform.maps import AxisMap, Matrix

__all__ = ["Basis"]


class Basis(Method):
    """Coefficients in a basis of the source's size are taken for coefficients in that of the target's size.

    R = B_M^T P B_N        P copies the first coefficients, and pads with zeros
    """

    cuts = True
    scaled = True

    def basis(self, size: int) -> np.ndarray:
        """[size, size] with orthonormal rows, in the order in which they are kept."""
        raise NotImplementedError

    def axis(self, use: Use) -> AxisMap:
        """The map of one size variable."""
        factor = gain(self.setting.scale, use.var.size, use.target, matrix=use.matrix, contracted=use.summed)
        return self._resampled(use.var.size, use.target, factor, use.var.size)

    def depth(self, edges: tuple[Edge, ...], names: tuple[str, ...], target: int, *, matrix: bool) -> AxisMap:
        """The map over the blocks."""
        factor = gain(self.setting.scale, len(names), target, matrix=matrix, contracted=False)
        return self._resampled(len(names), target, factor, coefficients(self.setting.ratio, len(names)))

    def cut(self, size: int) -> AxisMap | None:
        """What the first coefficients hold of an axis."""
        keep = coefficients(self.setting.ratio, size)
        return None if keep == size else self._resampled(size, size, 1.0, keep)

    def _resampled(self, source: int, target: int, factor: float, keep: int) -> AxisMap:
        key = (source, target, factor, keep)
        if key not in self._known:
            kept = min(keep, source, target)
            matrix = self.basis(target)[:kept].T @ self.basis(source)[:kept]
            self._known[key] = Matrix(factor * matrix)
        return self._known[key]
