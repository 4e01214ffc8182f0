"""What counts of a tensor: not what belongs to padded tokens, by the axes that it has in common with their mask."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from front_onnx.axes.size import size_of
from front_onnx.dims.structure import Structure

__all__ = ["Counted"]


class Counted:
    """Tells padding apart.

    Args:
        structure: the source.
        mask: its input [batch, tokens] that is 0 where tokens are padding; None where all tokens count.
    """

    def __init__(self, structure: Structure, mask: str | None) -> None:
        self.mask = mask
        analysis = structure.analysis
        self._algebra, self._facts = analysis.algebra, analysis.facts
        self._axes = [] if mask is None else [self._algebra.expand(axis) for axis in self._facts[mask].axes or ()]

    def of(self, name: str, feed: Mapping[str, np.ndarray], shape: tuple[int, ...]) -> np.ndarray | None:
        """True where an array counts, in a shape that spreads to its own; None if all of it does.

        Args:
            name: the tensor, as the source calls it.
            feed: the source's inputs.
            shape: the shape of the array.
        """
        fact = self._facts.get(name)
        if (
            self.mask is None
            or len(self._axes) != 2
            or fact is None
            or fact.axes is None
            or len(fact.axes) != len(shape)
        ):
            return None
        counted = feed[self.mask] != 0
        if counted.all():
            return None
        axes = [self._algebra.expand(axis) for axis in fact.axes or ()]
        both = tuple(var for axis in self._axes for var in axis)
        if both in axes and shape[axes.index(both)] == counted.size:
            return self._spread(counted.reshape(-1), (axes.index(both),), shape)
        places = [[n for n, axis in enumerate(axes) if axis == own and size_of(own) != 1] for own in self._axes]
        if all(len(each) == 1 for each in places):
            batch, tokens = (each[0] for each in places)
            if (shape[batch], shape[tokens]) == counted.shape:
                return self._spread(counted if batch < tokens else counted.T, tuple(sorted((batch, tokens))), shape)
        return None

    @staticmethod
    def _spread(counted: np.ndarray, places: tuple[int, ...], shape: tuple[int, ...]) -> np.ndarray:
        return counted.reshape([size if place in places else 1 for place, size in enumerate(shape)])
