"""Duplicate: copies of units whose readers share their weights out (Chen et al., Net2Net, arXiv:1511.05641)."""

from __future__ import annotations

import numpy as np

from front_onnx.methods.copies import copied, refuse_smaller
from front_onnx.methods.method import Method, Use
from front_onnx.transform.maps import AxisMap

__all__ = ["Duplicate"]


class Duplicate(Method):
    """Entry i is a copy of entry i mod N, and what sums over the copies sums over their shares.

    Exact wherever entries are treated one by one. A norm over M entries that are not all copied equally often, and
    `head_dim`, over which queries and keys are multiplied, change the function: `lossless` accounts for them.
    """

    name = "duplicate"
    directions = ("width",)
    ties = False

    def axis(self, use: Use) -> AxisMap:
        """Rows repeated, columns shared out.

        Raises:
            RequestError: the size shrinks.
        """
        refuse_smaller(self, use)
        indices = np.arange(use.target) % use.var.size
        return copied(self.setting, use, indices)
