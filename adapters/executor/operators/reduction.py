"""Operators that sum axes up, or choose along them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from front_onnx.adapters.executor.table import Step, ints, operator
from torch import Tensor

__all__: list[str] = []


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted((a % x.dim() for a in axes), reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


_REDUCTIONS: dict[str, Callable[[Tensor, list[int], bool], Tensor]] = {
    "ReduceL1": lambda x, axes, keep: x.abs().sum(axes, keep),
    "ReduceL2": lambda x, axes, keep: torch.linalg.vector_norm(x, dim=axes, keepdim=keep),
    "ReduceLogSum": lambda x, axes, keep: x.sum(axes, keep).log(),
    "ReduceLogSumExp": lambda x, axes, keep: x.logsumexp(axes, keep),
    "ReduceMax": lambda x, axes, keep: x.amax(axes, keep),
    "ReduceMean": lambda x, axes, keep: x.mean(axes, keep),
    "ReduceMin": lambda x, axes, keep: x.amin(axes, keep),
    "ReduceProd": _product,
    "ReduceSum": lambda x, axes, keep: x.sum(axes, keep, dtype=x.dtype),
    "ReduceSumSquare": lambda x, axes, keep: (x * x).sum(axes, keep, dtype=x.dtype),
}


@operator(*_REDUCTIONS)
def reduce(step: Step, x: Tensor, given: Tensor | None = None) -> Tensor:
    """Axes are an attribute, or since version 18 (ReduceSum: 13) an input; none are all, or no axis at all."""
    axes = list(step.get("axes") or []) if given is None else ints(given)
    if not axes:
        if step.get("noop_with_empty_axes", 0):
            return _alone(step.op_type, x)
        axes = list(range(x.dim()))
    if not axes:
        return _alone(step.op_type, x)
    return _REDUCTIONS[step.op_type](x, axes, bool(step.get("keepdims", 1)))


def _alone(op_type: str, x: Tensor) -> Tensor:
    """What is done to each element where nothing is summed up."""
    return _REDUCTIONS[op_type](x[..., None], [-1], False) if op_type not in ("ReduceMax", "ReduceMin") else x


@operator("ArgMax", "ArgMin")
def arg(step: Step, x: Tensor) -> Tensor:
    """The first place of the largest or smallest, or the last one."""
    axis, keep = step.get("axis"), bool(step.get("keepdims"))
    choose: Any = torch.argmax if step.op_type == "ArgMax" else torch.argmin
    if step.get("select_last_index"):
        return x.shape[axis] - 1 - choose(x.flip(axis), dim=axis, keepdim=keep)
    return choose(x, dim=axis, keepdim=keep)


@operator("TopK")
def top_k(step: Step, x: Tensor, count: Tensor | None = None) -> Any:
    """Values and places of the k largest or smallest; of equal ones the first come first."""
    k = int(step.get("k")) if count is None else ints(count)[0]
    axis = step.get("axis")
    values, places = torch.sort(x, dim=axis, descending=bool(step.get("largest", 1)), stable=True)
    return values.narrow(axis, 0, k), places.narrow(axis, 0, k)


@operator("CumSum")
def cumsum(step: Step, x: Tensor, axis: Tensor) -> Tensor:
    """Running sums, from either end, with or without the element itself."""
    at = ints(axis)[0]
    x = x.flip(at) if step.get("reverse") else x
    total = x.cumsum(at, dtype=x.dtype)
    if step.get("exclusive"):
        total = total - x
    return total.flip(at) if step.get("reverse") else total


@operator("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def global_pool(step: Step, x: Tensor) -> Tensor:
    """Over all axes from the third on."""
    sides = list(range(2, x.dim()))
    if step.op_type == "GlobalMaxPool":
        return x.amax(sides, True)
    if step.op_type == "GlobalLpPool":
        return torch.linalg.vector_norm(x, ord=step.get("p", 2), dim=sides, keepdim=True)
    return x.mean(sides, True)


@operator("Softmax", "LogSoftmax", "Hardmax")
def softmax(step: Step, x: Tensor) -> Tensor:
    """Along one axis; before version 13 along all axes from the given one on."""
    if step.version < 13:
        axis = step.get("axis", 1) % max(1, x.dim())
        flat = x.reshape(math.prod(x.shape[:axis]), -1)
        return _softmax(step.op_type, flat, 1).reshape(x.shape)
    return _softmax(step.op_type, x, step.get("axis", -1))


def _softmax(op_type: str, x: Tensor, axis: int) -> Tensor:
    if op_type == "Softmax":
        return torch.softmax(x, axis)
    if op_type == "LogSoftmax":
        return torch.log_softmax(x, axis)
    return torch.zeros_like(x).scatter(axis, x.argmax(axis, keepdim=True), 1)
