"""Least squares from sums: what a layer is to make, of what it reads, without ever holding all samples.

Every sum is in float64. With rows a [K] of what a layer reads and t [N] of what it is to make,

    C = sum a a^T,  B = sum a t^T,  both about their means where the layer has a bias

and W' = W0 + (C + l I)^-1 (B - C W0): ridge toward the weights W0 that the layer has, not toward zero, which is what
makes few samples enough. l = ridge times the mean diagonal of C.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy.linalg

__all__ = ["Sums", "best_ridge"]

_FEW = 8


@dataclass
class Sums:
    """Sums over rows of what a layer reads [groups, K], and of what several layers are to make of it [groups, N]."""

    count: float = 0.0
    read: np.ndarray | float = 0.0
    gram: np.ndarray | float = 0.0
    made: dict[int, np.ndarray] = field(default_factory=dict)
    cross: dict[int, np.ndarray] = field(default_factory=dict)
    square: dict[int, float] = field(default_factory=dict)

    def add(self, rows: np.ndarray, wanted: dict[int, np.ndarray]) -> None:
        """Take in rows [any, groups, K] and, by layer, [any, groups, N]."""
        a = np.ascontiguousarray(rows.transpose(1, 0, 2), dtype=np.float64)
        self.count += a.shape[1]
        self.read = self.read + a.sum(1)
        self.gram = self.gram + _products(a, a)
        for layer, target in wanted.items():
            t = np.ascontiguousarray(target.transpose(1, 0, 2), dtype=np.float64)
            self.made[layer] = self.made.get(layer, 0.0) + t.sum(1)
            self.cross[layer] = self.cross.get(layer, 0.0) + _products(a, t)
            self.square[layer] = self.square.get(layer, 0.0) + float((t**2).sum())

    def moments(self, layer: int, *, centred: bool) -> tuple[np.ndarray, np.ndarray]:
        """C [groups, K, K] and B [groups, K, N], divided by the number of rows."""
        gram, cross = np.asarray(self.gram) / self.count, self.cross[layer] / self.count
        if centred:
            mean, made = np.asarray(self.read) / self.count, self.made[layer] / self.count
            gram = gram - mean[:, :, None] * mean[:, None, :]
            cross = cross - mean[:, :, None] * made[:, None, :]
        return gram, cross

    def __add__(self, other: Sums) -> Sums:
        """The sums over the rows of both."""
        both = Sums(self.count + other.count, self.read + other.read, self.gram + other.gram)
        for name in ("made", "cross", "square"):
            mine, theirs = getattr(self, name), getattr(other, name)
            getattr(both, name).update(
                {layer: mine.get(layer, 0.0) + theirs.get(layer, 0.0) for layer in {**mine, **theirs}}
            )
        return both

    def solve(self, layer: int, before: np.ndarray, *, centred: bool, ridge: float) -> np.ndarray:
        """W' [groups, K, N], of W0 [groups, K, N]."""
        gram, cross = self.moments(layer, centred=centred)
        out = np.empty_like(before)
        for group, (c, b, w) in enumerate(zip(gram, cross, before, strict=True)):
            level = max(ridge, 1e-9) * float(np.trace(c)) / len(c)
            if level <= 0:
                out[group] = w
                continue
            out[group] = w + scipy.linalg.solve(c + level * np.eye(len(c)), b - c @ w, assume_a="pos")
        return out

    def shift(self, layer: int, weight: np.ndarray) -> np.ndarray:
        """The bias [groups, N] with which the mean of what is made is right."""
        mean = np.asarray(self.read) / self.count
        found: np.ndarray = self.made[layer] / self.count - (mean[:, None, :] @ weight)[:, 0]
        return found

    def error(self, layer: int, weight: np.ndarray, bias: np.ndarray | float = 0.0) -> float:
        """What is missed, as a part of the square of what is to be made."""
        gram, cross = self.moments(layer, centred=False)
        mean, made = np.asarray(self.read) / self.count, self.made[layer] / self.count
        fitted = float(np.einsum("gkn,gkl,gln->", weight, gram, weight, optimize=True))
        fitted -= 2 * float((cross * weight).sum())
        if not np.isscalar(bias):
            out = (mean[:, None, :] @ weight)[:, 0]
            fitted += float((np.asarray(bias) ** 2).sum()) + 2 * float((bias * (out - made)).sum())
        total = self.square[layer] / self.count
        return max(fitted + total, 0.0) / max(total, 1e-30)


def _products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a^T b of each group: one after another where they are few, as stacked products of views are slow."""
    if len(a) <= _FEW:
        return np.stack([one.T @ other for one, other in zip(a, b, strict=True)])
    found: np.ndarray = np.matmul(np.ascontiguousarray(a.transpose(0, 2, 1)), b)
    return found


def best_ridge(
    fitted: Sums, others: Sums, layer: int, before: np.ndarray, *, centred: bool, ridges: Sequence[float]
) -> float | None:
    """The ridge whose weights, fitted to some rows, miss least of others; None if those before miss less.

    The middle one if there are no other rows.
    """
    if len(ridges) == 1 or not others.count or not fitted.count:
        return ridges[len(ridges) // 2]

    def missed(weight: np.ndarray) -> float:
        return others.error(layer, weight, fitted.shift(layer, weight) if centred else 0.0)

    found = [missed(fitted.solve(layer, before, centred=centred, ridge=ridge)) for ridge in ridges]
    best = int(np.argmin(found))
    return ridges[best] if found[best] <= missed(before) else None
