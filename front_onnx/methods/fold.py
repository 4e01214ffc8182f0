"""Fold: units that are alike become one (Theus et al., Intra-Fusion, arXiv:2312.07424; Wang et al., model folding,
arXiv:2502.10216)."""

from __future__ import annotations

import numpy as np

from front_onnx.methods.copies import copied
from front_onnx.methods.entries import gram, weighed
from front_onnx.methods.method import Method, Use
from front_onnx.methods.private import Private
from front_onnx.transform.maps import AxisMap, Matrix

__all__ = ["Fold", "clusters"]

_ROUNDS = 100
_STARTS = 4


class Fold(Method):
    """The N entries are put into M groups by k-means; what makes a group is averaged, what reads it is summed.

    Entries are compared by the weights that make them, biases and norms included, each divided by its root mean square.
    Exact where the entries of a group are equal. What is private to a unit (`private.py`) has groups of its own in each
    unit. A larger size is that of `duplicate`.
    """

    name = "fold"
    directions = ("width",)
    apart = True
    ties = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._private = Private(self.setting.structure)
        self._groups: dict[object, np.ndarray] = {}

    def axis(self, use: Use) -> AxisMap:
        """Means of the entries of each group, or their sums where the axis is summed over."""
        if use.target > use.var.size:
            return copied(self.setting, use, np.arange(use.target) % use.var.size)
        member = (self._grouped(use) == np.arange(use.target)[:, None]).astype(np.float64)
        return Matrix(member if use.summed else member / member.sum(axis=1, keepdims=True))

    def _grouped(self, use: Use) -> np.ndarray:
        """[N], the group of each entry."""
        readings = self._private.readings(use.var, use.edges)
        key = (use.var, use.target, tuple(readings))
        if key not in self._groups:
            structure, size = self.setting.structure, use.var.size
            products = gram((rows for rows, read in weighed(structure, use.var, readings) if not read), size)
            self._groups[key] = clusters(products, use.target, self.setting.seed)
        return self._groups[key]


def clusters(products: np.ndarray, count: int, seed: int) -> np.ndarray:
    """[N] of 0 ... count - 1, the groups of k-means, each of one point at least, numbered by their first points.

    The best of a few starts by k-means++ (Arthur & Vassilvitskii, 2007), all drawn by the seed.

    Args:
        products: [N, N], the inner products of the points.
        count: the number of groups, N at most.
        seed: for the starts.
    """
    values, vectors = np.linalg.eigh(products)
    points = vectors * np.sqrt(np.maximum(values, 0))  # as far from each other as the rows themselves
    rng = np.random.default_rng(seed)
    best: np.ndarray = min(
        (_lloyd(points, count, rng) for _ in range(_STARTS)), key=lambda found: _spread(points, found)
    )
    _, first = np.unique(best, return_index=True)
    number = np.empty(count, np.int64)
    number[np.argsort(first)] = np.arange(count)
    found: np.ndarray = number[best]
    return found


def _lloyd(points: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    centres = _starts(points, count, rng)
    group = np.full(len(points), -1)
    for _ in range(_ROUNDS):
        distance = _distances(points, centres)
        new = np.argmin(distance, axis=1)
        own = distance[np.arange(len(points)), new]
        for empty in np.setdiff1d(np.arange(count), new):  # takes what is farthest from its centre, and not alone
            alone = np.bincount(new, minlength=count)[new] == 1
            farthest = int(np.argmax(np.where(alone, -1.0, own)))
            new[farthest], own[farthest] = empty, 0
        if np.array_equal(new, group):
            break
        group = new
        member = (group == np.arange(count)[:, None]).astype(np.float64)
        centres = member @ points / member.sum(axis=1, keepdims=True)
    return group


def _starts(points: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """The first centres: points drawn by their squared distance to those drawn before."""
    chosen = [int(rng.integers(len(points)))]
    nearest = _distances(points, points[chosen])[:, 0]
    while len(chosen) < count:
        nearest[chosen] = 0
        total = nearest.sum()
        free = np.setdiff1d(np.arange(len(points)), chosen)
        place = int(rng.choice(len(points), p=nearest / total)) if total > 0 else int(free[0])
        chosen.append(place)
        nearest = np.minimum(nearest, _distances(points, points[[place]])[:, 0])
    return points[chosen]


def _distances(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """[points, centres], squared."""
    squared = (points**2).sum(axis=1)[:, None] - 2 * points @ centres.T + (centres**2).sum(axis=1)
    found: np.ndarray = np.maximum(squared, 0)
    return found


def _spread(points: np.ndarray, group: np.ndarray) -> float:
    member = (group == np.arange(group.max() + 1)[:, None]).astype(np.float64)
    centres = member @ points / member.sum(axis=1, keepdims=True)
    return float(((points - centres[group]) ** 2).sum())
