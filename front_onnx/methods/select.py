"""Select: entries of the source as they are (Xu et al., Initializing Models with Larger Ones, arXiv:2311.18823)."""

from __future__ import annotations

import math

import numpy as np

from front_onnx.methods.copies import copied
from front_onnx.methods.entries import weighed
from front_onnx.methods.method import Method, Use
from front_onnx.methods.private import Private
from front_onnx.transform.maps import AxisMap, Select

__all__ = ["Selecting"]


class Selecting(Method):
    """M of the N entries: evenly spaced, the first ones, or those whose matrices have the largest norm.

    Sums over fewer entries are smaller: weights that are summed over are multiplied by sqrt(N / M), so that the
    deviation of what they give, by their fan-in, stays that of the source. By norm, entries that are private to a unit
    (`private.py`) are chosen in each unit by itself. A larger size has copies of the entries side by side, entry
    floor(i N / M) in place i, shared out as by `duplicate`.
    """

    name = "select"
    directions = ("width",)
    variants = ("uniform", "first", "norm")
    apart = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._private = Private(self.setting.structure)
        self._ranked: dict[object, np.ndarray] = {}

    def axis(self, use: Use) -> AxisMap:
        """The chosen entries."""
        source, target = use.var.size, use.target
        even = np.arange(target) * source // target
        if target >= source:
            return copied(self.setting, use, even)
        indices = even if self.variant == "uniform" else np.arange(target)
        if self.variant == "norm":
            indices = self._strongest(use)
        return Select(source, indices, np.full(target, math.sqrt(source / target) if use.summed else 1.0))

    def _strongest(self, use: Use) -> np.ndarray:
        """[M], the entries of the largest norm over all their matrices, each with an equal say."""
        readings = self._private.readings(use.var, use.edges)
        key = (use.var, use.target, tuple(readings))
        if key not in self._ranked:
            score = np.zeros(use.var.size)
            for rows, _ in weighed(self.setting.structure, use.var, readings):
                if rows.shape[1] > 1:  # one number of a bias would say as much as a row
                    score += np.mean(rows**2, axis=1)
            self._ranked[key] = np.sort(np.argsort(-score, kind="stable")[: use.target])
        return self._ranked[key]
