"""A weight or a part of one, in every block: what is matched, read and written."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from front_onnx.axes.size import Axis
from front_onnx.roles.role import Role

__all__ = ["Piece"]


@dataclass(frozen=True, eq=False)
class Piece:
    """A weight, or a part of one, in every block.

    Attributes:
        chain: the chain of blocks it is in, or None.
        where: "blocks", or how many chains come before it outside.
        role: what it is there for.
        tensors: the tensor of each unit, in order; one outside of blocks.
        order: the tensor's axes, those summed over first and those of the result last.
        groups: how many of them are one axis of the piece each, in this order.
        places: entries of the last axis that are this piece; None for all.
        axes: what the axes of the piece are; None where the last is no product.
    """

    chain: int | None
    where: str
    role: Role
    tensors: tuple[str, ...]
    order: tuple[int, ...]
    groups: tuple[int, ...]
    places: np.ndarray | None
    axes: tuple[Axis, ...] | None

    def read(self, array: np.ndarray) -> np.ndarray:
        """The piece of a tensor: its axes in order, axes of one entry left out."""
        return np.squeeze(self._joined(array) if self.places is None else self._joined(array)[..., self.places])

    def write(self, array: np.ndarray, values: np.ndarray) -> np.ndarray:
        """The tensor with other values in this piece, which have the shape that `read` gives.

        Raises:
            ValueError: they have another shape.
        """
        if values.shape != self.read(array).shape:
            raise ValueError(f"{values.shape} is not {self.read(array).shape}")
        joined = self._joined(array).copy()
        chosen = slice(None) if self.places is None else self.places
        joined[..., chosen] = values.reshape(joined[..., chosen].shape)
        turned = joined.reshape([array.shape[axis] for axis in self.order])
        return np.ascontiguousarray(turned.transpose(np.argsort(self.order)))

    def _joined(self, array: np.ndarray) -> np.ndarray:
        sizes = iter([array.shape[axis] for axis in self.order])
        shape = [math.prod(next(sizes) for _ in range(count)) for count in self.groups]
        return array.transpose(self.order).reshape(shape)

    @property
    def key(self) -> tuple[str, Role]:
        """What has to be one in two models for their pieces to match."""
        return self.where, self.role
