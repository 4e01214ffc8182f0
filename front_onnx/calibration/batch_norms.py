"""Batch norms behind layers: they are taken as a part of the layer, and get the statistics of what it makes."""

from __future__ import annotations

import numpy as np

from front_onnx.calibration.layers import Layer
from front_onnx.calibration.matrices import Matrices
from front_onnx.calibration.solving import Sums
from front_onnx.read.graph import Edge

__all__ = ["BatchNorms"]


class BatchNorms:
    """The batch norms of a target.

    Args:
        matrices: its layers.
    """

    def __init__(self, matrices: Matrices) -> None:
        self.matrices, self.held = matrices, matrices.held

    def behind(self, layer: Layer) -> tuple[np.ndarray, np.ndarray] | None:
        """What a batch norm behind a layer multiplies by and adds; None without one."""
        if layer.batch_norm is None:
            return None
        node = self.held.mine(layer.batch_norm)
        gain, bias, mean, variance = (
            self.held.array(self.held.name(Edge(layer.batch_norm, slot))).astype(np.float64) for slot in (1, 2, 3, 4)
        )
        scale = gain / np.sqrt(variance + float(self.held.graph.attribute(node, "epsilon", 1e-5)))
        return scale, bias - mean * scale

    def whole_bias(self, layer: Layer, scale: tuple[np.ndarray, np.ndarray] | None) -> np.ndarray:
        """[N], what a layer and the norm behind it add."""
        shape = self.matrices.weight(layer).shape
        width = int(np.prod([shape[axis] for axis in layer.out]))
        own = np.zeros(width)
        if layer.bias is not None:
            own = layer.bias_of(self.held.array(self.held.name(layer.bias)))
        return own if scale is None else own * scale[0] + scale[1]

    def kept_scale(self, scale: tuple[np.ndarray, np.ndarray] | None) -> np.ndarray:
        """[N], what a norm goes on to multiply by: not so little that a weight would have to make up for it."""
        assert scale is not None
        size = np.abs(scale[0])
        return np.where(size > 1e-3 * size.max(), scale[0], size.max() if size.max() > 0 else 1.0)

    def put(
        self,
        layer: Layer,
        sums: Sums,
        fitted: np.ndarray,
        shift: np.ndarray,
        scale: tuple[np.ndarray, np.ndarray] | None,
    ) -> None:
        """Let a batch norm have the mean and variance of what the fitted layer makes, and make of it what is wanted."""
        assert layer.batch_norm is not None
        gram, _ = sums.moments(next(iter(sums.cross)), centred=True)
        kept = self.kept_scale(scale).reshape(layer.groups, 1, -1)
        weight = fitted / kept
        variance = np.einsum("gkn,gkl,gln->gn", weight, gram, weight, optimize=True).reshape(-1)
        mean = (np.asarray(sums.read)[:, None, :] / sums.count @ weight).reshape(-1)
        if layer.bias is not None:
            mean = mean + layer.bias_of(self.held.array(self.held.name(layer.bias)))
        epsilon = float(self.held.graph.attribute(self.held.mine(layer.batch_norm), "epsilon", 1e-5))
        gain = kept.reshape(-1) * np.sqrt(variance + epsilon)
        wanted = shift.reshape(-1) + (np.asarray(sums.read)[:, None, :] / sums.count @ fitted).reshape(-1)
        for slot, values in ((1, gain), (2, wanted), (3, mean), (4, variance)):
            self.held.put(Edge(layer.batch_norm, slot), values)
