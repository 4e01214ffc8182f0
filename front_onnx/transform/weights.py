"""Computing the pending weights of a rewritten graph, one stack at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from onnx import helper

from front_onnx.read.graph import Graph
from front_onnx.transform.contents import Drawn, Eye, Original, Pending, Repeated, Resampled
from front_onnx.transform.drawing import draw
from front_onnx.transform.maps import AxisMap, Identity
from front_onnx.transform.spectral import apply_map, is_identity, selection
from front_onnx.transform.stack import resize_stack

__all__ = ["fill"]

_Key = tuple[tuple[str, ...], AxisMap, tuple[AxisMap, ...], tuple[tuple[AxisMap, ...], ...]]


def fill(
    graph: Graph,
    pending: Mapping[str, Pending],
    put: Callable[[str, np.ndarray], None],
    progress: Callable[[int], None] = lambda done: None,
) -> None:
    """Compute every pending weight and hand it to `put`. Memory: one stack at its new size.

    Args:
        graph: the source.
        pending: what to compute, by the name it goes to.
        put: takes a name and its values.
        progress: told the number of tensors done so far.
    """
    stacks: dict[_Key, list[tuple[str, Resampled]]] = defaultdict(list)
    done = 0
    for name, content in pending.items():
        if isinstance(content, Resampled):
            content = _alone(content)
            stacks[content.names, content.depth, content.axes, content.before].append((name, content))
            continue
        if isinstance(content, Original):
            put(name, graph.array(content.name))
        elif isinstance(content, Repeated):
            table = graph.array(content.name)
            one = tuple(slice(None if n == m else 1) for n, m in zip(table.shape, content.dims, strict=True))
            put(name, np.broadcast_to(table[one], content.dims))
        elif isinstance(content, Eye):
            put(name, content.array(helper.tensor_dtype_to_np_dtype(content.data_type)))
        elif isinstance(content, Drawn):
            put(name, draw(content))
        else:
            dtype = helper.tensor_dtype_to_np_dtype(content.data_type)
            put(name, np.full(content.dims, content.value, dtype))
        progress(done := done + 1)
    for (names, depth, axes, before), members in stacks.items():
        blocks = [graph.array(name) for name in names]
        if before:
            blocks = [_permuted(block, maps) for block, maps in zip(blocks, before, strict=True)]
        stack = resize_stack(blocks, depth, axes)
        for name, content in members:
            entry = stack[content.index]
            if content.lowest is not None:
                entry = np.maximum(entry, np.asarray(content.lowest, entry.dtype))
            if content.patch is not None:
                entry = content.patch.put(entry)
            put(name, np.ascontiguousarray(entry.T) if content.transposed else entry)
            progress(done := done + 1)


def _alone(content: Resampled) -> Resampled:
    """An entry that is one block of a stack, not mixed with others: the stack of this block."""
    chosen = selection(content.depth) if len(content.names) > 1 else None
    if chosen is None or chosen.gains[content.index] != 1:
        return content
    only = slice(chosen.indices[content.index], chosen.indices[content.index] + 1)
    return replace(content, names=content.names[only], before=content.before[only], index=0, depth=Identity(1))


def _permuted(block: np.ndarray, maps: tuple[AxisMap, ...]) -> np.ndarray:
    """A block with the entries of its axes in another order, of any type."""
    for axis, axis_map in enumerate(maps):
        if not is_identity(axis_map):
            order = apply_map(np.arange(axis_map.source, dtype=np.float64), 0, axis_map)
            block = np.take(block, order.astype(np.int64), axis)
    return block
