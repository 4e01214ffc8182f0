"""FRONT: the low frequencies of every axis and of the depth, truncated or padded to the new size (Eq. 3, 4 and 8)."""

from __future__ import annotations

import math

import numpy as np
import scipy.fft

from front_onnx.methods.method import Method, Setting, Use
from front_onnx.methods.scale import depth_gain, gain, spread
from front_onnx.read.graph import Edge
from front_onnx.transform.maps import AxisMap, Compose, Dct, Matrix

__all__ = ["Front", "axis_gains", "band_of", "coefficients", "depth_gains"]


class Front(Method):
    """The orthonormal DCT-II along every axis, scaled by a convention."""

    name = "front"
    cuts = True
    scaled = True

    def axis(self, use: Use) -> AxisMap:
        """The truncated or padded spectrum."""
        return Dct(use.var.size, use.target, use.var.size, *axis_gains(self.setting, use))

    def depth(self, edges: tuple[Edge, ...], names: tuple[str, ...], target: int, *, matrix: bool) -> AxisMap:
        """The same over the blocks."""
        source = len(names)
        gains = depth_gains(self.setting, edges[0], source, target, matrix)
        low = self.cut(source)
        if low is not None and self.setting.band != "low":
            return Compose((low, Dct(source, target, source, *gains)))
        return Dct(source, target, coefficients(self.setting.ratio, source), *gains)

    def cut(self, size: int) -> AxisMap | None:
        """A band of the frequencies of an axis, the low ones unless another is asked for (Table 13)."""
        keep = coefficients(self.setting.ratio, size)
        if keep == size:
            return None
        if self.setting.band == "low":
            return Dct(size, size, keep)
        waves = scipy.fft.dct(np.eye(size), axis=0, norm="ortho")[band_of(self.setting.band, size, keep)]
        return Matrix(waves.T @ waves)


def band_of(band: str, size: int, keep: int) -> slice:
    """Which of `size` coefficients a band of `keep` is."""
    first = {"low": 0, "mid": (size - keep) // 2, "high": size - keep}[band]
    return slice(first, first + keep)


def axis_gains(setting: Setting, use: Use) -> tuple[float, float | None]:
    """The factor of an axis by the convention, and that of its mean if it is another one."""
    if use.var in setting.structure.depths:  # blocks in one tensor
        return depth_gains(setting, use.edges[0], use.var.size, use.target, use.matrix)
    sizes, writes = (use.var.size, use.target), bool(use.edges) and setting.writes(use.edges[0])  # a port has no edges
    factor = gain(setting.scale, *sizes, matrix=use.matrix, contracted=use.summed, writes=writes)
    rest = spread(setting.scale, *sizes, matrix=use.matrix)
    return (factor, None) if rest is None else (rest, factor)


def depth_gains(setting: Setting, edge: Edge, source: int, target: int, matrix: bool) -> tuple[float, float | None]:
    """The same over the blocks, of the weights in the place of an edge."""
    factor = depth_gain(setting.scale, source, target, matrix=matrix, writes=setting.writes(edge))
    rest = spread(setting.scale, source, target, matrix=matrix)
    return (factor, None) if rest is None else (rest, factor)


def coefficients(ratio: float, size: int) -> int:
    """How many of `size` coefficients a ratio keeps."""
    return size if ratio == 1 else max(1, math.floor(ratio * size + 1e-9))
