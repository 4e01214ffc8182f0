"""Resizing one stack of weights: the same tensor of all L blocks, along the depth axis and its own axes.

    W' = (D^-1 crop-or-pad D) W        separable: one linear map per axis (Eq. 3, 4 and 8)

The order is free and decides the cost: axes that shrink come first, axes that grow last. The depth axis is
mixed in slabs of rows, together with whatever needs only those rows: beside the result there is one
intermediate stack and a few slabs in memory, never a full [L, ...] copy of the source.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import ml_dtypes
import numpy as np

from front_onnx.errors import FrontError
from front_onnx.transform.maps import AxisMap
from front_onnx.transform.spectral import apply_map, dense_matrix, is_identity, multiply, selection

__all__ = ["resize_stack", "working_type"]

_SLAB = 4 << 20  # bytes of source per slab and thread: large enough for the transforms, small enough for caches
_PARALLEL = 1 << 16  # numbers: a smaller stack is not worth starting threads for
_THREADS = min(4, os.cpu_count() or 1)  # each has slabs of its own in memory


def resize_stack(blocks: Sequence[np.ndarray], depth: AxisMap, axes: Sequence[AxisMap]) -> np.ndarray:
    """Resize a stack of weights along all its axes.

    float32 is computed as float32 and float64 as float64; shorter floats are computed as float32 and
    rounded once. If every map is the identity the result is equal byte for byte, whatever the type, and a
    depth map that only chooses blocks copies theirs.

    Args:
        blocks: L arrays of one shape and type, possibly memory-mapped, unaligned, read-only.
        depth: map from L to L' blocks.
        axes: one map per axis of a block.

    Returns:
        [L', ...] in the type of the blocks.

    Raises:
        FrontError: a type that is no real floating-point number under a map that changes values.
        ValueError: shapes, types and maps do not agree.
    """
    shape, dtype = blocks[0].shape, blocks[0].dtype
    if any(block.shape != shape or block.dtype != dtype for block in blocks):
        raise ValueError("the blocks of a stack need one shape and one type")
    if shape != tuple(axis.source for axis in axes) or len(blocks) != depth.source:
        raise ValueError(f"{len(blocks)} blocks of shape {shape} do not fit the maps")
    chosen = selection(depth)
    if chosen is not None and np.all(chosen.gains == 1):
        blocks, mixing = [blocks[index] for index in chosen.indices], None
    else:
        mixing = None if is_identity(depth) else dense_matrix(depth)
    out = np.empty((depth.target, *(axis.target for axis in axes)), dtype)
    if mixing is None and all(is_identity(axis) for axis in axes):
        for place, block in enumerate(blocks):
            out[place] = block
        return out
    work = working_type(dtype)
    if mixing is not None:
        mixing = mixing.astype(work)
    # Scalars and vectors get axes of one entry, so that there are always rows to cut into slabs.
    flat = [block.reshape(1) if block.ndim == 0 else block for block in blocks]
    result = out.reshape(-1, 1) if len(shape) == 0 else out
    if mixing is not None and depth.target > depth.source:
        _mix_last(flat, mixing, axes, result, work)
    else:
        _mix_first(flat, mixing, axes, result, work)
    return out


def working_type(dtype: np.dtype) -> np.dtype:
    """The type in which weights of a type are computed: float64 as it is, everything shorter as float32.

    Raises:
        FrontError: no real floating-point type.
    """
    if dtype == np.float64:
        return dtype
    try:
        ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]
    except ValueError:
        raise FrontError("only floating-point weights can be resized", got=dtype) from None
    if dtype.kind == "c":
        raise FrontError("only real weights can be resized", got=dtype)
    return np.dtype(np.float32)


def _order(axes: Sequence[AxisMap]) -> list[int]:
    """The axes that change something: shrinking ones first, and of two alike the later, contiguous one."""
    changed = [place for place, axis in enumerate(axes) if not is_identity(axis)]
    return sorted(changed, key=lambda place: (axes[place].target / max(1, axes[place].source), -place))


def _mix_first(
    blocks: Sequence[np.ndarray],
    mixing: np.ndarray | None,
    axes: Sequence[AxisMap],
    out: np.ndarray,
    work: np.dtype,
) -> None:
    """Depth shrinks or stays: mix it in slabs of rows (axis 0), then do by block what needs all rows."""
    order = _order(axes)
    # In the slabs goes what comes before axis 0; everything if axis 0 stays.
    early = order[: order.index(0)] if 0 in order else order
    late = order[len(early) :]
    rows, shape = blocks[0].shape[0], list(blocks[0].shape[1:])
    for place in early:
        shape[place - 1] = axes[place].target
    between = [np.empty((rows, *shape), work) for _ in out] if late else list(out)
    step = _slab_rows(len(blocks), blocks[0], work)

    def slab(start: int) -> None:
        stop = min(rows, start + step)
        source = np.empty((len(blocks), stop - start, *blocks[0].shape[1:]), work)
        for place, block in enumerate(blocks):
            source[place] = block[start:stop]
            _forget(block, start, stop)
        mixed = source if mixing is None else multiply(mixing, source, 0)
        del source
        for place in early:
            mixed = apply_map(mixed, place + 1, axes[place], workers=1)
        for target, values in zip(between, mixed, strict=True):
            target[start:stop] = values

    def block(index: int) -> None:
        x = between[index]
        between[index] = out[index]  # frees the intermediate once x is done with
        for place in late:
            x = apply_map(x, place, axes[place], workers=1)
        out[index] = x

    size = len(blocks) * blocks[0].size
    _for_each(slab, range(0, rows, step), size)
    if late:
        _for_each(block, range(len(out)), size)


def _mix_last(
    blocks: Sequence[np.ndarray], mixing: np.ndarray, axes: Sequence[AxisMap], out: np.ndarray, work: np.dtype
) -> None:
    """Depth grows: resize the blocks first, then mix them, in place where the types allow it."""
    count = len(blocks)
    between = out[:count] if out.dtype == work else np.empty((count, *out.shape[1:]), work)

    def block(index: int) -> None:
        x = np.array(blocks[index], work)
        _forget(blocks[index], 0, len(blocks[index]))
        for place in _order(axes):
            x = apply_map(x, place, axes[place], workers=1)
        between[index] = x

    flat, result = between.reshape(count, -1), out.reshape(len(out), -1)
    step = max(1, _SLAB // (count * work.itemsize))

    def slab(start: int) -> None:
        result[:, start : start + step] = multiply(mixing, flat[:, start : start + step], 0)

    _for_each(block, range(count), out.size)
    _for_each(slab, range(0, result.shape[1], step), out.size)


def _slab_rows(count: int, block: np.ndarray, work: np.dtype) -> int:
    """Rows of each block in one slab."""
    row = count * int(np.prod(block.shape[1:])) * work.itemsize
    return max(1, min(len(block), _SLAB // max(1, row)))


def _for_each(do: Callable[[int], None], items: Sequence[int], size: int) -> None:
    """Call `do` for every item, in threads if `size` numbers are worth it (numpy and scipy let them run)."""
    if len(items) < 2 or _THREADS < 2 or size < _PARALLEL:
        for item in items:
            do(item)
        return
    with ThreadPoolExecutor(_THREADS) as pool:
        for _ in pool.map(do, items):  # raises what a thread raised
            pass


def _forget(block: np.ndarray, start: int, stop: int) -> None:
    """Give the pages of rows read from a mapped file back to the system: they are not needed again."""
    owner = block.base
    while isinstance(owner, np.ndarray | memoryview):
        owner = owner.base if isinstance(owner, np.ndarray) else owner.obj
    if not isinstance(owner, mmap.mmap) or not block.flags.c_contiguous or not hasattr(mmap, "MADV_DONTNEED"):
        return
    if not memoryview(owner).readonly:  # private or anonymous pages would lose what was written to them
        return
    origin = np.frombuffer(owner, np.uint8, 1).ctypes.data
    row = block.nbytes // max(1, len(block))
    first = block.ctypes.data - origin + start * row
    # Whole pages only; pages at the border with a neighbour are read again at little cost.
    page = mmap.PAGESIZE
    begin, end = first // page * page, -(-(first + (stop - start) * row) // page) * page
    if end > begin:
        owner.madvise(mmap.MADV_DONTNEED, begin, min(end, len(owner)) - begin)
