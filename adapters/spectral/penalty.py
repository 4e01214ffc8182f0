"""The penalty on high frequencies of one stack of weights.

    L = 1 / |M| * sum (M * D(W))^2          Eq. 5; with reduction "sum" without the factor
    M[l, m, n] = prod over axes [1 - exp(-f_d / gamma_d)],  f_d = index / size        Eq. 6

The mask is a product over axes as the transform is, so both are one matrix for each axis: diag(m) D. |M| is the number
of entries of the mask that are not 0, which is ||M * D(W)||_0 of Eq. 5 but for coefficients that vanish exactly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.fft
import torch
from torch import Tensor

__all__ = ["attenuation", "masked_transform", "spectral_penalty"]

Segments = tuple[int, ...]


def attenuation(size: int, gamma: float) -> np.ndarray:
    """The factor of one axis in the mask of Eq. 6: 0 for the mean, towards 1 for high frequencies [size]."""
    return -np.expm1(-np.arange(size) / size / gamma)


def masked_transform(size: int, gamma: float) -> np.ndarray:
    """diag(m) D for an axis: the orthonormal DCT-II with its rows attenuated [size, size], float64."""
    transform = scipy.fft.dct(np.eye(size), axis=0, norm="ortho")
    return attenuation(size, gamma)[:, None] * transform


def spectral_penalty(
    stack: Tensor, axes: Sequence[tuple[int, Sequence[Tensor]]], counted: int, reduction: str = "mean"
) -> Tensor:
    """The penalty of a stack, differentiable.

    Args:
        stack: weights [L, ...] of floating point, with at least one axis.
        axes: (axis, one matrix for each of its segments): `masked_transform`s as tensors of the stack's type.
        counted: entries of the mask that are not 0.
        reduction: "mean" as in Eq. 5, or "sum".
    """
    x = stack
    for axis, matrices in axes:
        x = _along(x, axis, matrices)
    total = x.square().sum()
    return total / max(1, counted) if reduction == "mean" else total


def _along(x: Tensor, axis: int, matrices: Sequence[Tensor]) -> Tensor:
    """Multiply along one axis, segment by segment."""
    if len(matrices) > 1:
        parts = x.split([len(matrix) for matrix in matrices], axis)
        return torch.cat([_along(part, axis, [m]) for part, m in zip(parts, matrices, strict=True)], axis)
    (matrix,) = matrices
    if axis == x.dim() - 1:
        return x @ matrix.T
    if axis == 0:
        return (matrix @ x.flatten(1)).unflatten(1, x.shape[1:]) if x.dim() > 1 else matrix @ x
    moved = x.flatten(axis + 1) if axis + 1 < x.dim() - 1 else x
    return (matrix @ moved).reshape(x.shape)
