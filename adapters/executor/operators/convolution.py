"""Convolutions and pools, of any rank that torch has (1 to 3 sides)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from front_onnx.adapters.executor.table import Step, operator
from torch import Tensor
from torch.nn import functional

__all__ = ["activated", "convolve"]

_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}
_MEAN = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}
_MAX = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}


def _pads(step: Step, sides: Sequence[int], kernel: Sequence[int]) -> tuple[list[int], list[int]]:
    """What is put before and after each side."""
    rank = len(sides)
    auto = step.get("auto_pad", "NOTSET")
    if auto in ("NOTSET", "VALID"):
        pads = list(step.get("pads") or [0] * 2 * rank) if auto == "NOTSET" else [0] * 2 * rank
        return pads[:rank], pads[rank:]
    strides, dilations = step.get("strides") or [1] * rank, step.get("dilations") or [1] * rank
    before, after = [], []
    for n, k, s, d in zip(sides, kernel, strides, dilations, strict=True):
        total = max(0, (-(-n // s) - 1) * s + d * (k - 1) + 1 - n)
        small = total // 2
        before.append(small if auto == "SAME_UPPER" else total - small)
        after.append(total - before[-1])
    return before, after


def _padded(x: Tensor, before: Sequence[int], after: Sequence[int], value: float = 0.0) -> Tensor:
    if not any(before) and not any(after):
        return x
    order = reversed(list(zip(before, after, strict=True)))
    return functional.pad(x, list(itertools.chain.from_iterable(order)), value=value)


def convolve(step: Step, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Conv of the specification."""
    rank = x.dim() - 2
    before, after = _pads(step, x.shape[2:], weight.shape[2:])
    padding: Sequence[int] = before
    if before != after:
        x, padding = _padded(x, before, after), [0] * rank
    return _CONVOLUTIONS[rank](
        x,
        weight,
        bias,
        stride=step.get("strides") or [1] * rank,
        padding=padding,
        dilation=step.get("dilations") or [1] * rank,
        groups=step.get("group", 1),
    )


@operator("Conv")
def conv(step: Step, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Weights [out, in / groups, ...]."""
    return convolve(step, x, weight, bias)


@operator("ConvTranspose")
def conv_transpose(step: Step, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Weights [in, out / groups, ...]; pads cut the full result."""
    rank = x.dim() - 2
    strides, dilations = step.get("strides") or [1] * rank, step.get("dilations") or [1] * rank
    extra = step.get("output_padding") or [0] * rank
    groups, auto = step.get("group"), step.get("auto_pad")
    full = _TRANSPOSED[rank](x, weight, None, strides, 0, 0, groups, dilations)
    wanted = step.get("output_shape")
    if wanted is not None:
        wanted = list(wanted)[-rank:]
    elif auto in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [n * s for n, s in zip(x.shape[2:], strides, strict=True)]
    pads = list(step.get("pads") or [0] * 2 * rank)
    for side in range(rank):
        length = full.shape[2 + side] + extra[side]
        before, after = pads[side], pads[side + rank]
        if wanted is not None:
            total = length - wanted[side]
            after = total - total // 2 if auto == "SAME_UPPER" else total // 2
            before, after = (total - after, after) if total > 0 else (0, total)
        stop = length - before - after  # beyond what was computed there are zeros
        there = min(full.shape[2 + side] - before, stop)
        full = full.narrow(2 + side, before, there)
        if stop > there:
            full = functional.pad(full, [0, 0] * (rank - side - 1) + [0, stop - there])
    return full if bias is None else full + bias.reshape(1, -1, *[1] * rank)


def _lengths(step: Step, sides: Sequence[int], before: Sequence[int], after: Sequence[int]) -> list[int]:
    """The sides of a pool's result."""
    rank = len(sides)
    kernel, strides = step.get("kernel_shape"), step.get("strides") or [1] * rank
    dilations = step.get("dilations") or [1] * rank
    out = []
    for n, b, a, k, s, d in zip(sides, before, after, kernel, strides, dilations, strict=True):
        room = n + b + a - d * (k - 1) - 1
        count = (math.ceil(room / s) if step.get("ceil_mode", 0) else room // s) + 1
        if step.get("ceil_mode", 0) and (count - 1) * s >= n + b:
            count -= 1  # no window begins in what was put behind
        out.append(count)
    return out


def _stretched(step: Step, sides: Sequence[int]) -> tuple[list[int], list[int], list[int]]:
    """Pads before and after, and those after that make every window whole."""
    rank = len(sides)
    kernel, strides = step.get("kernel_shape"), step.get("strides") or [1] * rank
    dilations = step.get("dilations") or [1] * rank
    before, after = _pads(step, sides, kernel)
    counts = _lengths(step, sides, before, after)
    whole = [
        max(a, (c - 1) * s + d * (k - 1) + 1 - n - b)
        for n, b, a, c, k, s, d in zip(sides, before, after, counts, kernel, strides, dilations, strict=True)
    ]
    return before, after, whole


@operator("MaxPool")
def max_pool(step: Step, x: Tensor) -> Any:
    """The largest of each window, and where it is in the flattened tensor."""
    rank = x.dim() - 2
    before, _, whole = _stretched(step, x.shape[2:])
    lowest = -math.inf if x.is_floating_point() else torch.iinfo(x.dtype).min
    padded = _padded(x, before, whole, lowest)
    pooled = _MAX[rank](
        padded if x.is_floating_point() else padded.float(),
        step.get("kernel_shape"),
        stride=step.get("strides") or [1] * rank,
        dilation=step.get("dilations") or [1] * rank,
        return_indices=step.wants(1),
    )
    if not step.wants(1):
        return pooled.to(x.dtype)
    values, places = pooled
    return values.to(x.dtype), _places(step, places, x.shape, padded.shape[2:], before)


def _places(step: Step, places: Tensor, shape: Sequence[int], padded: Sequence[int], before: Sequence[int]) -> Tensor:
    """Indices in the padded sides as indices in all of x."""
    coordinates: list[Tensor] = []
    for side in reversed(range(len(padded))):
        coordinates.insert(0, places % padded[side] - before[side])
        places = places // padded[side]
    order = list(range(len(padded)))
    if step.get("storage_order", 0):
        order.reverse()
    flat = torch.zeros_like(coordinates[0])
    for side in order:
        flat = flat * shape[2 + side] + coordinates[side]
    planes = torch.arange(shape[0] * shape[1], device=flat.device).reshape(shape[0], shape[1], *[1] * len(padded))
    return planes * math.prod(shape[2:]) + flat


@operator("AveragePool")
def average_pool(step: Step, x: Tensor) -> Tensor:
    """The mean of each window; what was put around counts only if the node says so, and what rounding up adds never."""
    before, after, whole = _stretched(step, x.shape[2:])
    if step.get("count_include_pad"):
        ones = _padded(torch.ones_like(x[:1, :1]), before, after, 1.0)
        ones = _padded(ones, [0] * len(before), [w - a for w, a in zip(whole, after, strict=True)])
    else:
        ones = _padded(torch.ones_like(x[:1, :1]), before, whole)
    return _sums(step, _padded(x, before, whole)) / _sums(step, ones)


@operator("LpPool")
def lp_pool(step: Step, x: Tensor) -> Tensor:
    """The norm of each window."""
    before, _, whole = _stretched(step, x.shape[2:])
    p = step.get("p")
    return _sums(step, _padded(x, before, whole).abs() ** p) ** (1 / p)


def _sums(step: Step, x: Tensor) -> Tensor:
    """The sum of each window: a mean times its size, or where windows have gaps a convolution with ones."""
    rank = x.dim() - 2
    if set(step.get("dilations") or [1]) == {1}:
        kernel_shape = step.get("kernel_shape")
        means = _MEAN[rank](x, kernel_shape, stride=step.get("strides") or [1] * rank)
        return means * math.prod(kernel_shape)
    kernel = torch.ones(1, 1, *step.get("kernel_shape"), dtype=x.dtype, device=x.device)
    planes = x.reshape(-1, 1, *x.shape[2:])
    sums = _CONVOLUTIONS[rank](
        planes, kernel, stride=step.get("strides") or [1] * rank, dilation=step.get("dilations") or [1] * rank
    )
    return sums.reshape(*x.shape[:2], *sums.shape[2:])


_ACTIVATIONS: dict[str, Any] = {
    "": lambda x, p: x,
    "Relu": lambda x, p: torch.relu(x),
    "Sigmoid": lambda x, p: torch.sigmoid(x),
    "Tanh": lambda x, p: torch.tanh(x),
    "LeakyRelu": lambda x, p: functional.leaky_relu(x, *(p or [0.01])),
    "Clip": lambda x, p: torch.clamp(x, *p),
    "HardSigmoid": lambda x, p: torch.clamp(x * p[0] + p[1], 0, 1),
}


def activated(step: Step, x: Tensor) -> Tensor:
    """The activation that a fused node applies at its end."""
    kind = step.get("activation", "")
    if kind not in _ACTIVATIONS:
        raise NotImplementedError(f"the activation {kind}")
    parameters = step.get("activation_params")
    if kind == "LeakyRelu" and parameters is None and "activation_alpha" in step.attributes:
        parameters = [step.get("activation_alpha")]
    return _ACTIVATIONS[kind](x, parameters)
