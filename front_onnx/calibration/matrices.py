"""The layers of a target as matrices: its weights, what they are multiplied by and what they make, as rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from front_onnx.calibration.held import Held
from front_onnx.calibration.layers import Layer
from front_onnx.calibration.rows import Positions, gathered, patches, spread
from front_onnx.plan.plan import Plan

__all__ = ["Matrices"]


class Matrices:
    """The layers of a target as matrices.

    Args:
        plan: how the target was made.
        held: its weights.
    """

    def __init__(self, plan: Plan, held: Held) -> None:
        self.plan, self.held = plan, held

    def sized(self, layer: Layer) -> Layer:
        """A layer with the groups that it has in the target."""
        if layer.convolves:
            count = int(self.held.graph.attribute(self.held.mine(layer.node), "group", 1) or 1)
        else:
            count = int(np.prod(self.read_shape(layer)[: layer.batch]))
        return replace(layer, groups=count)

    def view(self, layer: Layer) -> tuple[int, ...] | None:
        """The shape in which the target reads a weight that is kept in another one."""
        return None if layer.view is None else tuple(self.plan.size(axis) for axis in layer.view)

    def read_shape(self, layer: Layer) -> tuple[int, ...]:
        """The shape in which the target reads a weight."""
        return self.view(layer) or self.held.array(self.held.name(layer.weight)).shape

    def weight(self, layer: Layer) -> np.ndarray:
        """A weight of the target, laid out."""
        return layer.laid(self.held.array(self.held.name(layer.weight)), self.view(layer))

    def columns(self, layer: Layer) -> int:
        """K, what each output is a sum over."""
        dims = list(self.weight(layer).shape)
        out = int(np.prod([dims[axis] for axis in layer.out]))
        return int(np.prod(dims)) // max(out, 1)

    def kernel(self, layer: Layer) -> tuple[int, ...]:
        """The sides of a convolution's kernel."""
        shape = self.weight(layer).shape
        return tuple(size for axis, size in enumerate(shape) if axis not in layer.into + layer.out)

    def rows(self, layer: Layer, data: np.ndarray, at: Positions | None) -> np.ndarray:
        """[any, groups, K]: what a layer's matrix is multiplied by."""
        columns = self.columns(layer) * layer.groups
        if not layer.convolves:
            batch = self.read_shape(layer)[: layer.batch]
            return layer.rows_last(data, batch).reshape(-1, layer.groups, columns // layer.groups)
        assert at is not None
        read = spread if layer.transposed else patches
        found = read(self.held.graph, self.held.mine(layer.node), self.kernel(layer), data, at)
        return found.reshape(-1, layer.groups, columns // layer.groups)

    def as_rows(self, layer: Layer, made: np.ndarray, at: Positions | None) -> np.ndarray:
        """[any, N], what a layer makes."""
        if not layer.convolves:
            shape = self.weight(layer).shape
            return layer.columns_last(made).reshape(-1, int(np.prod([shape[axis] for axis in layer.out])))
        assert at is not None
        return gathered(made, at).transpose(0, 2, 1).reshape(-1, made.shape[1])
