"""Interpolate: straight lines between entries, along axes and over the blocks."""

from __future__ import annotations

import math

import numpy as np

from front_onnx.methods.front import axis_gains, depth_gains
from front_onnx.methods.method import Method, Use
from front_onnx.methods.scale import gain
from front_onnx.read.graph import Edge
from front_onnx.transform.maps import AxisMap, Matrix

__all__ = ["Interpolate"]


class Interpolate(Method):
    """Entry i lies at i (N - 1) / (M - 1) between two entries; one alone is the mean of all.

    Values keep their size, as those of FRONT do by the convention `amp`; other conventions differ from it by the same
    factors.
    """

    name = "interpolate"
    scaled = True

    def axis(self, use: Use) -> AxisMap:
        """Entries between entries."""
        return self._between(use.var.size, use.target, axis_gains(self.setting, use))

    def depth(self, edges: tuple[Edge, ...], names: tuple[str, ...], target: int, *, matrix: bool) -> AxisMap:
        """Blocks between blocks."""
        source = len(names)
        if target > source:  # blocks between blocks are as large as they: what front does to padded spectra is too much
            same = gain(self.setting.scale, source, target, matrix=matrix, contracted=False)
            return self._between(source, target, (same, None))
        return self._between(source, target, depth_gains(self.setting, edges[0], source, target, matrix))

    def _between(self, source: int, target: int, gains: tuple[float, float | None]) -> AxisMap:
        rest, level = gains  # vectors and tables keep the value of their mean; lines have no part beside it
        factor = (rest if level is None else level) * math.sqrt(source / target)
        key = (source, target, factor)
        if key not in self._known:
            self._known[key] = Matrix(factor * lines(source, target))
        return self._known[key]


def lines(source: int, target: int) -> np.ndarray:
    """[target, source], straight lines between entries; rows sum to one."""
    if target == 1:
        return np.full((1, source), 1 / source)
    place = np.linspace(0, source - 1, target)
    weights: np.ndarray = np.maximum(0.0, 1 - np.abs(place[:, None] - np.arange(source)))
    return weights
