"""Weights of one model in the graph of another: the source is resized to the target's sizes, then copied by role."""

from __future__ import annotations

import numpy as np

from front_onnx.dims.structure import Structure
from front_onnx.errors import FrontError
from front_onnx.match.matching import Match, Matching
from front_onnx.plan.request import Request
from front_onnx.roles.pieces import find_pieces

__all__ = ["moved_weights", "resize_request"]


def resize_request(structure: Structure, matching: Matching, scale: str) -> Request:
    """The request that gives the source the sizes of the target.

    Args:
        structure: what the source is.
        matching: which of its weights go where.
        scale: the scale convention.
    """
    depth = [chain.depth for chain in structure.chains]
    for number, units in matching.depth.items():
        chain = structure.chains[number]
        depth[number] = units * chain.layers + chain.beside
    dims = {
        dim.name: matching.sizes[dim.var] * dim.times
        for dim in structure.dims
        if matching.sizes.get(dim.var, dim.var.size) != dim.var.size and dim.named
    }
    changed = depth != [chain.depth for chain in structure.chains]
    return Request(depth=depth if changed else None, dims=dims, scale=scale)


def moved_weights(
    resized: Structure, matching: Matching, target: Structure
) -> tuple[dict[str, np.ndarray], list[Match]]:
    """Copy weights by role: the tensors of the target that change, and the matches as they were made.

    Args:
        resized: the source at the sizes of the target.
        matching: which of its weights go where.
        target: the model they go to.

    Raises:
        FrontError: a weight does not fit.
    """
    pieces = {piece.key: piece for piece in find_pieces(resized)}
    arrays: dict[str, np.ndarray] = {}
    done = []
    for entry in matching.matches:
        if entry.source is None or entry.tied is not None:
            if entry.tied in arrays:
                arrays[entry.target.tensors[0]] = np.ascontiguousarray(arrays[entry.tied].T)
            done.append(entry)
            continue
        piece = pieces.get(entry.source.key)
        if piece is None or len(piece.tensors) != len(entry.target.tensors):
            done.append(Match(entry.target, None, "the resized source has it elsewhere"))
            continue
        done.append(entry)
        for mine, yours in zip(piece.tensors, entry.target.tensors, strict=True):
            own = arrays.get(yours, target.graph.array(yours))
            values = piece.read(resized.graph.array(mine)).astype(own.dtype)
            try:
                arrays[yours] = entry.target.write(own, values)
            except ValueError as error:
                raise FrontError(f"{mine} does not fit {yours}: {error}") from None
    return arrays, done
