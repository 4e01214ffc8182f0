"""Products of matrices."""

from __future__ import annotations

import torch
from front_onnx.adapters.executor.table import Step, operator
from torch import Tensor

__all__: list[str] = []


@operator("MatMul")
def matmul(step: Step, a: Tensor, b: Tensor) -> Tensor:
    """As numpy's."""
    return torch.matmul(a, b)


@operator("MatMulInteger")
def matmul_integer(
    step: Step, a: Tensor, b: Tensor, a_zero: Tensor | None = None, b_zero: Tensor | None = None
) -> Tensor:
    """Of whole numbers, less their zero points; in double precision, which holds them exactly: CUDA has no product of
    whole numbers."""
    left = a.double() if a_zero is None else a.double() - a_zero.double()
    right = b.double() if b_zero is None else b.double() - b_zero.double()
    return torch.matmul(left, right).to(torch.int32)


@operator("Gemm")
def gemm(step: Step, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    """alpha A' B' + beta C."""
    left = a.T if step.get("transA") else a
    right = b.T if step.get("transB") else b
    alpha, beta = step.get("alpha"), step.get("beta")
    if c is not None and alpha == beta == 1 and c.dim() == 1:
        return torch.addmm(c, left, right)
    product = left @ right if alpha == 1 else alpha * (left @ right)
    if c is None:
        return product
    return product + (c if beta == 1 else beta * c)


@operator("Einsum")
def einsum(step: Step, *x: Tensor) -> Tensor:
    """By the equation."""
    return torch.einsum(step.get("equation").replace(" ", ""), *x)
