"""Average: whole copies, and the mean of all entries for the rest (Wang et al., LEMON, arXiv:2310.07999)."""

from __future__ import annotations

import numpy as np

from front_onnx.methods.copies import copied, refuse_smaller
from front_onnx.methods.method import Method, Use
from front_onnx.transform.maps import AxisMap, Matrix, Stacked

__all__ = ["Average"]


class Average(Method):
    """As many whole copies of the N entries as fit into M; what remains is their mean, and nothing reads it.

    The mean of a stream does not change by its own mean, so LayerNorm sees a smaller variance and nothing else.
    """

    name = "average"
    directions = ("width",)
    ties = False

    def axis(self, use: Use) -> AxisMap:
        """Copies, and means behind them that have columns of zeros.

        Raises:
            RequestError: the size shrinks.
        """
        refuse_smaller(self, use)
        source = use.var.size
        whole = use.target // source * source
        copies = copied(self.setting, use, np.arange(whole) % source)
        if whole == use.target:
            return copies
        mean = np.full((use.target - whole, source), 0.0 if use.summed else 1 / source)
        return Stacked((copies, Matrix(mean)))
