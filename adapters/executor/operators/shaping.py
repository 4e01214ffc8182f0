"""Operators that move elements about, or make tensors of a shape."""

from __future__ import annotations

import math
from typing import Any

import torch
from front_onnx.adapters.executor.table import Step, ints, operator
from front_onnx.adapters.executor.types import from_numpy, torch_type
from onnx import numpy_helper
from torch import Tensor
from torch.nn import functional

from front_onnx.errors import UntrainableError

__all__: list[str] = []


@operator("Shape")
def shape(step: Step, x: Tensor) -> Tensor:
    """The shape, or a part of it, as numbers on the processor."""
    sizes = list(x.shape)
    start, end = step.get("start", 0), step.get("end", len(sizes))
    start, end = (min(max(n + len(sizes) if n < 0 else n, 0), len(sizes)) for n in (start, end))
    return torch.tensor(sizes[start:end], dtype=torch.int64)


@operator("Size")
def size(step: Step, x: Tensor) -> Tensor:
    """How many elements."""
    return torch.tensor(x.numel(), dtype=torch.int64)


@operator("Constant")
def constant(step: Step) -> Tensor:
    """A constant that the module does not hold: its tensor is in an attribute."""
    for name, value in step.attributes.items():
        if name == "value":
            return from_numpy(numpy_helper.to_array(value), step.label)
        if name in ("value_int", "value_ints"):
            return torch.tensor(value, dtype=torch.int64)
        if name in ("value_float", "value_floats"):
            return torch.tensor(value, dtype=torch.float32)
    raise UntrainableError("a constant that is no tensor of numbers", node=step.label)


@operator("ConstantOfShape")
def constant_of_shape(step: Step, sizes: Tensor) -> Tensor:
    """One value everywhere, 0 unless given."""
    value = step.get("value")
    filled = torch.zeros(1) if value is None else from_numpy(numpy_helper.to_array(value), step.label)
    return filled.reshape(()).expand(ints(sizes)).clone()


@operator("EyeLike")
def eye_like(step: Step, x: Tensor) -> Tensor:
    """Ones on a diagonal."""
    dtype = x.dtype if step.get("dtype") is None else torch_type(step.get("dtype"), step.label)
    k = step.get("k")
    rows = torch.arange(x.shape[0], device=x.device)[:, None]
    return (torch.arange(x.shape[1], device=x.device) == rows + k).to(dtype)


@operator("Range", host=[0, 1, 2])
def range_(step: Step, start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    """start, start + delta, ... before limit."""
    first, last, by = start.item(), limit.item(), delta.item()
    count = max(0, math.ceil((last - first) / by))
    start, delta = (x.reshape(()).cpu() for x in (start, delta))  # numbers that were computed from data lie elsewhere
    return start + torch.arange(count, dtype=start.dtype) * delta


@operator("Reshape")
def reshape(step: Step, x: Tensor, sizes: Tensor | None = None) -> Tensor:
    """0 keeps a size (unless allowzero), -1 is what is left."""
    wanted = list(step.get("shape")) if sizes is None else ints(sizes)
    if not step.get("allowzero"):
        wanted = [x.shape[place] if n == 0 else n for place, n in enumerate(wanted)]
    return x.reshape(wanted)


@operator("Flatten")
def flatten(step: Step, x: Tensor) -> Tensor:
    """To two axes."""
    axis = step.get("axis")
    axis += x.dim() if axis < 0 else 0
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


@operator("Transpose")
def transpose(step: Step, x: Tensor) -> Tensor:
    """Axes in another order, reversed unless given."""
    return x.permute(step.get("perm") or list(range(x.dim()))[::-1])


@operator("Unsqueeze")
def unsqueeze(step: Step, x: Tensor, given: Tensor | None = None) -> Tensor:
    """New axes of one entry."""
    axes = list(step.get("axes")) if given is None else ints(given)
    rank = x.dim() + len(axes)
    for axis in sorted(a % rank for a in axes):
        x = x.unsqueeze(axis)
    return x


@operator("Squeeze")
def squeeze(step: Step, x: Tensor, given: Tensor | None = None) -> Tensor:
    """Axes of one entry less: the given ones, or all."""
    axes = step.get("axes") if given is None else ints(given)
    if axes is None:
        return x.squeeze()
    return x.squeeze(tuple(axes)) if axes else x


@operator("Concat")
def concat(step: Step, *x: Tensor) -> Tensor:
    """One behind the other."""
    return torch.cat(x, step.get("axis", 1))


@operator("Split")
def split(step: Step, x: Tensor, given: Tensor | None = None) -> Any:
    """Segments of the given lengths, or as many equal ones as there are outputs (the last may be shorter)."""
    axis = step.get("axis")
    lengths = step.get("split") if given is None else ints(given)
    if lengths is None:
        count = step.get("num_outputs", len(step.outputs))
        each = -(-x.shape[axis] // count)
        lengths = [each] * (count - 1) + [x.shape[axis] - each * (count - 1)]
    return x.split(list(lengths), axis)


@operator("Expand")
def expand(step: Step, x: Tensor, sizes: Tensor) -> Tensor:
    """Broadcast both ways."""
    return x.expand(torch.broadcast_shapes(x.shape, ints(sizes)))


@operator("Tile")
def tile(step: Step, x: Tensor, repeats: Tensor) -> Tensor:
    """Each axis over and over."""
    return x.repeat(ints(repeats))


@operator("Pad")
def pad(
    step: Step, x: Tensor, given: Tensor | None = None, value: Tensor | None = None, on: Tensor | None = None
) -> Tensor:
    """Begins and ends of axes; negative pads cut."""
    pads = list(step.get("pads") or step.get("paddings")) if given is None else ints(given)
    axes = list(range(x.dim())) if on is None else [a % x.dim() for a in ints(on)]
    mode = step.get("mode")
    fill = step.get("value", 0.0) if value is None else value.item()
    half = len(pads) // 2
    for place, axis in enumerate(axes):
        x = _pad_axis(x, axis, pads[place], pads[place + half], mode, fill)
    return x


def _pad_axis(x: Tensor, axis: int, before: int, after: int, mode: str, fill: float) -> Tensor:
    cut = max(0, -before), max(0, -after)
    if any(cut):
        x = x.narrow(axis, cut[0], x.shape[axis] - sum(cut))
    before, after = max(0, before), max(0, after)
    if not before and not after:
        return x
    if mode == "constant":
        return functional.pad(x, [0, 0] * (x.dim() - axis - 1) + [before, after], value=fill)
    length = x.shape[axis]
    places = torch.arange(-before, length + after, device=x.device)
    if mode == "edge":
        places = places.clamp(0, length - 1)
    elif mode == "wrap":
        places = places % length
    else:  # reflect
        period = max(1, 2 * (length - 1))
        places = places % period
        places = torch.where(places >= length, period - places, places)
    return x.index_select(axis, places)


@operator("Trilu")
def trilu(step: Step, x: Tensor, k: Tensor | None = None) -> Tensor:
    """The upper or lower triangle."""
    at = 0 if k is None else ints(k)[0]
    return torch.triu(x, at) if step.get("upper") else torch.tril(x, at)


@operator("DepthToSpace")
def depth_to_space(step: Step, x: Tensor) -> Tensor:
    """Channels to pixels; blocks first (DCR) or last (CRD)."""
    b, c, h, w = x.shape
    n = step.get("blocksize")
    if step.get("mode", "DCR") == "DCR":
        return x.reshape(b, n, n, c // n**2, h, w).permute(0, 3, 4, 1, 5, 2).reshape(b, c // n**2, h * n, w * n)
    return x.reshape(b, c // n**2, n, n, h, w).permute(0, 1, 4, 2, 5, 3).reshape(b, c // n**2, h * n, w * n)


@operator("SpaceToDepth")
def space_to_depth(step: Step, x: Tensor) -> Tensor:
    """Pixels to channels; blocks first (DCR) or last (CRD)."""
    b, c, h, w = x.shape
    n = step.get("blocksize")
    order = (0, 3, 5, 1, 2, 4) if step.get("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    return x.reshape(b, c, h // n, n, w // n, n).permute(order).reshape(b, c * n * n, h // n, w // n)
