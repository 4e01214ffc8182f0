"""Operators that pick elements, or put them somewhere."""

from __future__ import annotations

from typing import Any

import torch
from front_onnx.adapters.executor.table import Step, ints, operator
from torch import Tensor

__all__: list[str] = []


def _wrapped(indices: Tensor, size: int) -> Tensor:
    """Indices from the end counted from the front."""
    indices = indices.to(torch.int64)
    return torch.where(indices < 0, indices + size, indices)


@operator("Gather")
def gather(step: Step, x: Tensor, indices: Tensor) -> Tensor:
    """Whole slices along one axis; a table of vectors is looked up as an embedding is."""
    axis = step.get("axis") % x.dim()
    places = _wrapped(indices, x.shape[axis])
    if indices.dim() == 0 and indices.device.type == "cpu":
        return x.select(axis, int(places))
    picked = x.index_select(axis, places.reshape(-1))
    return picked.reshape([*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]])


@operator("GatherElements")
def gather_elements(step: Step, x: Tensor, indices: Tensor) -> Tensor:
    """Single elements along one axis."""
    axis = step.get("axis") % x.dim()
    return torch.gather(x, axis, _wrapped(indices, x.shape[axis]))


@operator("GatherND")
def gather_nd(step: Step, x: Tensor, indices: Tensor) -> Tensor:
    """The last axis of the indices says where, in as many axes as it is long, behind those of the batch."""
    batch, depth = step.get("batch_dims", 0), indices.shape[-1]
    grid = [
        torch.arange(x.shape[b], device=x.device).reshape([-1 if i == b else 1 for i in range(indices.dim() - 1)])
        for b in range(batch)
    ]
    places = [_wrapped(indices[..., d], x.shape[batch + d]) for d in range(depth)]
    return x[tuple([*grid, *places])]


@operator("ScatterND")
def scatter_nd(step: Step, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """A copy with slices put, added, multiplied in, or the larger or smaller of both."""
    depth, kind = indices.shape[-1], step.get("reduction", "none")
    places = tuple(_wrapped(indices[..., d], x.shape[d]) for d in range(depth))
    if kind in ("none", "add"):
        return torch.index_put(x, places, updates.to(x.dtype), accumulate=kind == "add")
    flat = x.reshape(-1, *x.shape[depth:])
    row = torch.zeros_like(places[0])
    for place, size in zip(places, x.shape, strict=False):
        row = row * size + place
    source = updates.reshape(-1, *x.shape[depth:])
    names = {"mul": "prod", "max": "amax", "min": "amin"}
    rows = row.reshape(-1, *[1] * (flat.dim() - 1)).expand_as(source)
    return flat.scatter_reduce(0, rows, source, names[kind], include_self=True).reshape(x.shape)


@operator("ScatterElements", "Scatter")
def scatter_elements(step: Step, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """A copy with single elements put, added, multiplied in, or the larger or smaller of both."""
    axis = step.get("axis") % x.dim()
    places, kind = _wrapped(indices, x.shape[axis]), step.get("reduction", "none")
    if kind == "none":
        return torch.scatter(x, axis, places, updates)
    names = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}
    return torch.scatter_reduce(x, axis, places, updates, names[kind], include_self=True)


@operator("Slice")
def slice_(
    step: Step,
    x: Tensor,
    starts: Tensor | None = None,
    ends: Tensor | None = None,
    axes: Tensor | None = None,
    steps: Tensor | None = None,
) -> Tensor:
    """As Python's slices; bounds are inputs since version 10."""
    first = list(step.get("starts")) if starts is None else ints(starts)
    last = list(step.get("ends")) if ends is None else ints(ends)
    on = (step.get("axes") if axes is None else ints(axes)) or list(range(len(first)))
    by = [1] * len(first) if steps is None else ints(steps)
    for start, end, axis, stride in zip(first, last, on, by, strict=True):
        size = x.shape[axis]
        if stride < 0 and end < -size:
            end = -size - 1  # slice() knows no "before the first" but None
        places = range(*slice(start, None if stride < 0 and end == -size - 1 else end, stride).indices(size))
        if stride > 0:
            index: list[Any] = [slice(None)] * x.dim()
            index[axis] = slice(places.start, places.stop, stride)
            x = x[tuple(index)]
        else:
            x = x.index_select(axis, places.start + stride * torch.arange(len(places), device=x.device))
    return x


@operator("OneHot")
def one_hot(step: Step, indices: Tensor, depth: Tensor, values: Tensor) -> Tensor:
    """The second value at the index, the first one elsewhere."""
    count, axis = ints(depth)[0], step.get("axis")
    axis += indices.dim() + 1 if axis < 0 else 0
    places = indices.to(torch.int64).unsqueeze(axis)
    sizes = [1] * (indices.dim() + 1)
    sizes[axis] = count
    wanted = torch.arange(count, device=indices.device).reshape(sizes)
    valid = (places >= -count) & (places < count)
    return torch.where((places % count == wanted) & valid, values[1], values[0])


@operator("NonZero")
def non_zero(step: Step, x: Tensor) -> Tensor:
    """Places of what is not 0, an axis a row."""
    return torch.nonzero(x).T


@operator("ReverseSequence")
def reverse_sequence(step: Step, x: Tensor, lengths: Tensor) -> Tensor:
    """The first `length` entries of each sequence backwards."""
    batch, time = step.get("batch_axis"), step.get("time_axis")
    moved = x.movedim((batch, time), (0, 1))
    steps = torch.arange(moved.shape[1], device=x.device)[None]
    ends = lengths.to(torch.int64)[:, None]
    order = torch.where(steps < ends, ends - 1 - steps, steps)
    rows = torch.arange(moved.shape[0], device=x.device)[:, None]
    return moved[rows, order].movedim((0, 1), (batch, time))
