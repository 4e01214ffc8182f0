"""Copy: whole blocks of the source, for any number of blocks."""

from __future__ import annotations

import numpy as np

from front_onnx.methods.method import Method
from front_onnx.read.graph import Edge
from front_onnx.transform.maps import AxisMap, Select

__all__ = ["Copying"]


class Copying(Method):
    """Each block is one of the source's, bit for bit. Which one, of N, where there are M:

    - even: evenly spaced, the first and the last one always (round(i (N - 1) / (M - 1)));
    - first: fewer are the first M; more have the first ones twice, each copy behind its block;
    - last: fewer are the last M; more have the last ones twice, each copy behind its block;
    - interleave: block floor(i N / M), copies behind their blocks (Wu et al., LLaMA Pro, arXiv:2401.02415);
    - stack: the whole stack again and again (Du et al., G_stack, arXiv:2405.15319); fewer are the first M.
    """

    name = "copy"
    directions = ("depth",)
    variants = ("even", "first", "last", "interleave", "stack")

    def depth(self, edges: tuple[Edge, ...], names: tuple[str, ...], target: int, *, matrix: bool) -> AxisMap:
        """The chosen blocks."""
        return Select(len(names), blocks(self.variant, len(names), target), np.ones(target))


def blocks(variant: str, source: int, target: int) -> np.ndarray:
    """[target], the block of the source that each one is."""
    place = np.arange(target)
    if variant == "even":
        return np.rint(np.linspace(0, source - 1, target)).astype(np.int64)
    if variant == "interleave":
        return place * source // target
    if target <= source:
        return place + (source - target if variant == "last" else 0)
    if variant == "stack":
        return place % source
    every, more = divmod(target, source)
    counts = np.full(source, every)
    counts[slice(None, more) if variant == "first" else slice(source - more, None)] += 1
    return np.repeat(np.arange(source), counts)
