"""What methods share that put another orthonormal basis in the place of the DCT (the paper's Table 11)."""

from __future__ import annotations

import numpy as np

from front_onnx.methods.front import axis_gains, band_of, coefficients, depth_gains
from front_onnx.methods.method import Method, Use
from front_onnx.read.graph import Edge
from front_onnx.transform.maps import AxisMap, Compose, Matrix

__all__ = ["Basis"]


class Basis(Method):
    """Coefficients in a basis of the source's size are taken for coefficients in that of the target's size.

    R = B_M^T P B_N        P copies the first coefficients, and pads with zeros
    """

    cuts = True
    scaled = True

    def basis(self, size: int) -> np.ndarray:
        """[size, size] with orthonormal rows, in the order in which they are kept: the mean first."""
        raise NotImplementedError

    def axis(self, use: Use) -> AxisMap:
        """The map of one size variable."""
        return self._resampled(use.var.size, use.target, use.var.size, *axis_gains(self.setting, use))

    def depth(self, edges: tuple[Edge, ...], names: tuple[str, ...], target: int, *, matrix: bool) -> AxisMap:
        """The map over the blocks."""
        gains = depth_gains(self.setting, edges[0], len(names), target, matrix)
        low = self.cut(len(names))
        if low is not None and self.setting.band != "low":
            return Compose((low, self._resampled(len(names), target, len(names), *gains)))
        return self._resampled(len(names), target, coefficients(self.setting.ratio, len(names)), *gains)

    def cut(self, size: int) -> AxisMap | None:
        """What the first coefficients hold of an axis."""
        keep = coefficients(self.setting.ratio, size)
        if keep == size or self.setting.band == "low":
            return None if keep == size else self._resampled(size, size, keep, 1.0)
        rows = self.basis(size)[band_of(self.setting.band, size, keep)]
        return Matrix(rows.T @ rows)

    def _resampled(self, source: int, target: int, keep: int, factor: float, level: float | None = None) -> AxisMap:
        key = (source, target, keep, factor, level)
        if key not in self._known:
            kept = min(keep, source, target)
            rows = self.basis(source)[:kept]
            if level is not None:  # the first row is the mean
                rows = np.concatenate([rows[:1] * (level / factor), rows[1:]])
            matrix = self.basis(target)[:kept].T @ rows
            self._known[key] = Matrix(factor * matrix)
        return self._known[key]
