"""PCA and SVD of the weights in place of the DCT (Table 11): bases that each size variable has for itself."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.fft

from front_onnx.methods.basis import Basis
from front_onnx.methods.entries import gram, weighed
from front_onnx.methods.front import coefficients
from front_onnx.methods.method import Use
from front_onnx.methods.scale import gain
from front_onnx.read.graph import Edge
from front_onnx.transform.maps import AxisMap, Matrix

__all__ = ["Pca", "Svd"]


class Svd(Basis):
    """The principal directions of all weights that have a size variable, by their uncentred inner products.

    A source has such directions, a target has none, as the paper says (its section on PCA and SVD); so the coordinate
    along the k-th direction is taken for the k-th DCT coefficient of the target's size:

        R = C_M^T P V_N        V_N [N, N] directions, the strongest first, each with a sum that is not negative

    Over the blocks the directions are those of the weights in one place. With `--ratio`, axes and depths that change
    keep so many directions; others stay as they are.
    """

    name = "svd"
    centred = False

    def axis(self, use: Use) -> AxisMap:
        """The map of one size variable: one for all weights that have it."""
        factor = gain(self.setting.scale, use.var.size, use.target, matrix=use.matrix, contracted=use.summed)
        structure = self.setting.structure
        dim = structure.by_variable.get(use.var)
        edges = dim.edges if dim is not None else use.edges
        rows = (rows for rows, _ in weighed(structure, use.var, sorted(set(edges))))
        return self._put((use.var, use.target, factor), rows, use.var.size, use.target, factor)

    def depth(self, edges: tuple[Edge, ...], names: tuple[str, ...], target: int, *, matrix: bool) -> AxisMap:
        """The map over the blocks: one for each place."""
        factor = gain(self.setting.scale, len(names), target, matrix=matrix, contracted=False)
        graph = self.setting.structure.graph
        if len(set(names)) == 1:  # blocks that one tensor holds, or share
            rows = iter([np.eye(len(names))])
        else:
            rows = iter([np.stack([graph.array(name).astype(np.float64).reshape(-1) for name in names])])
        return self._put((names, target, factor), rows, len(names), target, factor)

    def cut(self, size: int) -> AxisMap | None:
        """Nothing: an axis that stays has no directions to be cut to."""
        return None

    def _put(
        self, key: tuple[object, ...], rows: Iterator[np.ndarray], source: int, target: int, factor: float
    ) -> AxisMap:
        if key not in self._known:
            directions = self.directions_of(rows, source)
            keep = min(coefficients(self.setting.ratio, source), source, target)
            cosines = scipy.fft.idct(np.eye(target)[:, :keep], axis=0, norm="ortho")
            self._known[key] = Matrix(factor * cosines @ directions[:keep])
        return self._known[key]

    def directions_of(self, rows: Iterator[np.ndarray], size: int) -> np.ndarray:
        """[size, size] with orthonormal rows, the strongest direction first."""
        centred = (each - each.mean(axis=1, keepdims=True) if self.centred else each for each in rows)
        _, vectors = np.linalg.eigh(gram(centred, size))
        directions: np.ndarray = vectors.T[::-1]
        return directions * np.where(directions.sum(axis=1, keepdims=True) < 0, -1.0, 1.0)


class Pca(Svd):
    """The same by the covariance of entries over all that the weights join them with: means are taken off first."""

    name = "pca"
    centred = True
