"""What a layer is multiplied by, as rows: the last axes of a tensor, or patches of it at sampled positions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from front_onnx.read.graph import Graph

__all__ = ["Positions", "gathered", "patches", "sampled", "spread"]

MANY = 48  # positions of a picture that are looked at

Positions = tuple[np.ndarray, ...]  # by spatial axis, [positions]


def sampled(shape: tuple[int, ...], seed: int) -> Positions:
    """Places of a spatial shape: all of them if there are few, else some that are drawn."""
    count = math.prod(shape)
    chosen = np.arange(count)
    if count > MANY:
        chosen = np.sort(np.random.default_rng(seed).choice(count, MANY, replace=False))
    return tuple(np.unravel_index(chosen, shape))


def gathered(data: np.ndarray, at: Positions) -> np.ndarray:
    """[batch, channels, positions] of [batch, channels, *spatial]."""
    index: tuple[Any, ...] = (slice(None), slice(None), *at)
    found: np.ndarray = data[index]
    return found


def patches(graph: Graph, node: int, kernel: tuple[int, ...], data: np.ndarray, at: Positions) -> np.ndarray:
    """[batch, positions, channels * kernel sides]: what a convolution reads to make its output at some positions.

    Args:
        graph: the graph.
        node: the convolution.
        kernel: the sides of its kernel.
        data: what it reads, [batch, channels, *spatial].
        at: positions of its output.
    """
    rank = len(kernel)
    strides = list(graph.attribute(node, "strides") or [1] * rank)
    dilations = list(graph.attribute(node, "dilations") or [1] * rank)
    before, after = _padding(graph, node, kernel, data.shape[2:], strides, dilations)
    padded = np.pad(data, ((0, 0), (0, 0), *zip(before, after, strict=True)))
    parts = []
    for offset in np.ndindex(*kernel):
        places = [a * s + o * d for a, s, o, d in zip(at, strides, offset, dilations, strict=True)]
        inside = [np.minimum(place, size - 1) for place, size in zip(places, padded.shape[2:], strict=True)]
        parts.append(padded[(slice(None), slice(None), *inside)])
    found = np.stack(parts, axis=-1)  # [batch, channels, positions, sides]
    return found.transpose(0, 2, 1, 3).reshape(len(data), len(at[0]), -1)


def spread(graph: Graph, node: int, kernel: tuple[int, ...], data: np.ndarray, at: Positions) -> np.ndarray:
    """The same of a transposed convolution: what each tap of its kernel reads to make its output at some positions.

    Output p is made of input q by the tap k for which p + pad = q stride + k dilation; other taps read nothing.
    """
    rank, shape = len(kernel), data.shape[2:]
    strides = list(graph.attribute(node, "strides") or [1] * rank)
    dilations = list(graph.attribute(node, "dilations") or [1] * rank)
    pads = list(graph.attribute(node, "pads") or [0] * 2 * rank)
    parts = []
    for offset in np.ndindex(*kernel):
        inside, places = np.ones(len(at[0]), bool), []
        for place, (a, s, o, d) in enumerate(zip(at, strides, offset, dilations, strict=True)):
            source, rest = np.divmod(a + pads[place] - o * d, s)
            inside &= (rest == 0) & (source >= 0) & (source < shape[place])
            places.append(np.clip(source, 0, shape[place] - 1))
        parts.append(data[(slice(None), slice(None), *places)] * inside.astype(data.dtype))
    found = np.stack(parts, axis=-1)
    return found.transpose(0, 2, 1, 3).reshape(len(data), len(at[0]), -1)


def _padding(
    graph: Graph, node: int, kernel: tuple[int, ...], shape: tuple[int, ...], strides: list[int], dilations: list[int]
) -> tuple[list[int], list[int]]:
    rank = len(kernel)
    how = graph.attribute(node, "auto_pad", "NOTSET")
    how = how.decode() if isinstance(how, bytes) else how
    if how.startswith("SAME"):
        whole = [
            max((-(-size // stride) - 1) * stride + (side - 1) * step + 1 - size, 0)
            for size, stride, side, step in zip(shape, strides, kernel, dilations, strict=True)
        ]
        less, more = [total // 2 for total in whole], [total - total // 2 for total in whole]
        return (less, more) if how == "SAME_UPPER" else (more, less)
    pads = list(graph.attribute(node, "pads") or [0] * 2 * rank) if how != "VALID" else [0] * 2 * rank
    return pads[:rank], pads[rank:]
