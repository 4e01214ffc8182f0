"""One straight line in each channel, from sums: what is wanted over what is there (gains and biases of norms)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Lines"]


@dataclass
class Lines:
    """Sums over rows of what is there and what is wanted."""

    count: int = 0
    sums: np.ndarray | float = 0.0  # x, t, x x, x t, t t: [5, channels]

    def add(self, there: np.ndarray, wanted: np.ndarray) -> None:
        """Take in what is there and what is wanted, both [..., channels]."""
        x = there.reshape(-1, there.shape[-1]).astype(np.float64)
        t = wanted.reshape(-1, wanted.shape[-1]).astype(np.float64)
        self.count += len(x)
        self.sums = self.sums + np.stack([x.sum(0), t.sum(0), (x * x).sum(0), (x * t).sum(0), (t * t).sum(0)])

    @property
    def _means(self) -> np.ndarray:
        return np.asarray(self.sums) / max(self.count, 1)

    @property
    def missed(self) -> float:
        """The error of what is there as it is."""
        x, _, _, _, _ = self._means
        return self.error(np.ones(len(x)), np.zeros(len(x)))

    def solve(self, *, gain: bool, bias: bool) -> tuple[np.ndarray, np.ndarray]:
        """Slopes and shifts; a slope is one, or a shift zero, where there is none."""
        x, t, xx, xt, _ = self._means
        slope = np.ones(len(x))
        if gain:
            above, below = (xt - x * t, xx - x * x) if bias else (xt, xx)
            slope = above / np.maximum(below, 1e-12 * max(float(xx.max()), 1e-30))
        return slope, t - slope * x if bias else np.zeros(len(x))

    def error(self, slope: np.ndarray, shift: np.ndarray) -> float:
        """What is missed, as a part of the square of what is wanted."""
        x, t, xx, xt, tt = self._means
        missed = slope**2 * xx + shift**2 + tt + 2 * slope * shift * x - 2 * slope * xt - 2 * shift * t
        return float(missed.sum()) / max(float(tt.sum()), 1e-30)
