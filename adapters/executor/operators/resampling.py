"""Operators that sample images at other places.

Resize is separable: along each axis that changes, a matrix [out, in] says how samples are mixed.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from front_onnx.adapters.executor.table import Step, ints, operator
from torch import Tensor
from torch.nn import functional

__all__: list[str] = []


@operator("Resize", "Upsample")
def resize(
    step: Step, x: Tensor, roi: Tensor | None = None, scales: Tensor | None = None, sizes: Tensor | None = None
) -> Tensor:
    """By factors or to sizes, by any of the specification's modes."""
    if step.op_type == "Upsample" or (step.op_type == "Resize" and step.version < 11):
        roi, scales = None, roi  # Upsample, and Resize at first, take scales only
    rank = x.dim()
    axes = [a % rank for a in step.get("axes") or range(rank)]
    if sizes is not None and sizes.numel():
        wanted = ints(sizes)
        factors = [n / x.shape[a] for n, a in zip(wanted, axes, strict=True)]
        policy = step.get("keep_aspect_ratio_policy", "stretch")
        if policy != "stretch":
            factors = [(min if policy == "not_larger" else max)(factors)] * len(factors)
            wanted = [math.floor(x.shape[a] * f + 0.5) for a, f in zip(axes, factors, strict=True)]
    else:
        factors = step.get("scales") if scales is None else scales.tolist()
        wanted = [int(np.floor(np.float32(x.shape[a]) * np.float32(f))) for a, f in zip(axes, factors, strict=True)]
    region = None if roi is None or not roi.numel() else roi.tolist()
    for place, (axis, factor, count) in enumerate(zip(axes, factors, wanted, strict=True)):
        crop = None if region is None else (region[place], region[place + len(axes)])
        if factor != 1 or count != x.shape[axis] or _crops(step):
            x = _along(step, x, axis, factor, count, crop)
    return x


def _crops(step: Step) -> bool:
    return step.get("coordinate_transformation_mode") == "tf_crop_and_resize"


def _along(step: Step, x: Tensor, axis: int, factor: float, count: int, crop: tuple[float, float] | None) -> Tensor:
    """One axis."""
    size = x.shape[axis]
    at = _coordinates(step, size, count, factor, crop)
    mode = step.get("mode", "nearest")
    if mode == "nearest":
        places = _nearest(step, at).clip(0, size - 1).astype(np.int64)
        y = x.index_select(axis, torch.from_numpy(places).to(x.device))
    else:
        mixing = torch.from_numpy(_mixing(step, at, size, factor, mode)).to(x.device, x.dtype)
        y = torch.tensordot(x, mixing, dims=([axis], [1])).movedim(-1, axis)
    if _crops(step):
        outside = torch.from_numpy((at < 0) | (at > size - 1)).to(x.device)
        shape = [-1 if i == axis else 1 for i in range(x.dim())]
        y = y.masked_fill(outside.reshape(shape), step.get("extrapolation_value", 0.0))
    return y


def _coordinates(step: Step, size: int, count: int, factor: float, crop: tuple[float, float] | None) -> np.ndarray:
    """Where in the input each output sample lies [count]."""
    x = np.arange(count, dtype=np.float64)
    default = "asymmetric" if step.version < 11 else "half_pixel"
    mode = step.get("coordinate_transformation_mode", default)
    exact = size * factor
    if mode == "half_pixel":
        return (x + 0.5) / factor - 0.5
    if mode == "half_pixel_symmetric":
        adjustment = count / exact
        return size / 2 * (1 - adjustment) + (x + 0.5) / factor - 0.5
    if mode == "pytorch_half_pixel":
        return (x + 0.5) / factor - 0.5 if count > 1 else np.full(count, -0.5 if factor else 0.0)
    if mode == "align_corners":
        return x * (size - 1) / (count - 1) if count > 1 else np.zeros(count)
    if mode == "tf_half_pixel_for_nn":
        return (x + 0.5) / factor
    if mode == "tf_crop_and_resize" and crop is not None:
        start, end = crop
        if count > 1:
            return start * (size - 1) + x * (end - start) * (size - 1) / (count - 1)
        return np.full(count, 0.5 * (start + end) * (size - 1))
    return x / factor


def _nearest(step: Step, at: np.ndarray) -> np.ndarray:
    mode = step.get("nearest_mode", "round_prefer_floor") if step.version >= 11 else "floor"
    roundings: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "floor": np.floor,
        "ceil": np.ceil,
        "round_prefer_floor": lambda x: np.ceil(x - 0.5),
        "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    }
    return roundings[mode](at)


def _mixing(step: Step, at: np.ndarray, size: int, factor: float, mode: str) -> np.ndarray:
    """The weights of the input samples for each output sample [count, size], linear or cubic."""
    wide = min(factor, 1.0) if step.get("antialias", 0) else 1.0
    reach = (1 if mode == "linear" else 2) / wide
    first = np.floor(at - reach).astype(int) + 1
    offsets = np.arange(math.ceil(2 * reach) + 1)
    places = first[:, None] + offsets
    distance = np.abs(places - at[:, None]) * wide
    weights = np.clip(1 - distance, 0, None) if mode == "linear" else _cubic(distance, step.get("cubic_coeff_a", -0.75))
    if step.get("exclude_outside", 0):
        weights = weights * ((places >= 0) & (places < size))
    if step.get("exclude_outside", 0) or wide < 1:
        weights = weights / weights.sum(axis=1, keepdims=True)
    out = np.zeros((len(at), size))
    np.add.at(out, (np.arange(len(at))[:, None], places.clip(0, size - 1)), weights)
    return out


def _cubic(distance: np.ndarray, a: float) -> np.ndarray:
    """Keys' cubic kernel."""
    near = (a + 2) * distance**3 - (a + 3) * distance**2 + 1
    far = a * distance**3 - 5 * a * distance**2 + 8 * a * distance - 4 * a
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))


_GRID_MODES = {"linear": "bilinear", "cubic": "bicubic"}


@operator("GridSample")
def grid_sample(step: Step, x: Tensor, grid: Tensor) -> Tensor:
    """At places between -1 and 1."""
    mode = step.get("mode", "bilinear")
    return functional.grid_sample(
        x, grid, _GRID_MODES.get(mode, mode), step.get("padding_mode"), bool(step.get("align_corners"))
    )
