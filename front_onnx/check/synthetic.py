"""Inputs made up for a graph: ids below every table they index, masks of ones, noise, consistent symbolic sizes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import helper

from front_onnx.errors import FrontError
from front_onnx.read.graph import Graph
from front_onnx.understand.analysis import understand

__all__ = ["synthetic_inputs"]

_BATCH, _LENGTH = 2, 7


def synthetic_inputs(graph: Graph, given: Mapping[str, np.ndarray], seed: int = 0) -> dict[str, np.ndarray]:
    """One array per graph input; those given are taken as they are.

    Raises:
        FrontError: (exit code 2) a given array has no input, or another type or rank.
    """
    known = {info.name: info for info in graph.inputs}
    for name in given:
        if name not in known and not known.keys() <= given.keys():  # labels beside all inputs do no harm
            raise FrontError(f"the model has no input {name!r}", wanted=", ".join(known), request=True)
    sizes = _symbol_sizes(graph, given)
    rng = np.random.default_rng(seed)
    limits = _limits(graph)
    feed: dict[str, np.ndarray] = {}
    for name, info in known.items():
        if not info.type.HasField("tensor_type"):
            if not info.type.HasField("optional_type"):
                raise FrontError(f"input {name} is no tensor, and nothing can be made up for it", hint="--no-validate")
            continue  # an optional input is left out
        tensor = info.type.tensor_type
        dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        if name in given:
            feed[name] = _checked(name, given[name], dtype, graph.declared_shape(name))
            continue
        shape = [n if isinstance(n, int) else sizes.get(n, _LENGTH) for n in graph.declared_shape(name) or []]
        if dtype.kind == "b":
            feed[name] = np.ones(shape, dtype)
        elif dtype.kind in "iu":
            top = limits.get(name, 2)
            feed[name] = rng.integers(0, top, shape).astype(dtype) if name in limits else np.ones(shape, dtype)
        else:
            feed[name] = rng.standard_normal(shape).astype(dtype)
    return feed


def _checked(name: str, array: np.ndarray, dtype: np.dtype, shape: list[int | str] | None) -> np.ndarray:
    if array.dtype != dtype:
        raise FrontError(f"input {name} has another type", got=array.dtype, wanted=dtype, request=True)
    fits = shape is None or (
        len(shape) == array.ndim
        and all(not isinstance(n, int) or n == m for n, m in zip(shape, array.shape, strict=True))
    )
    if not fits:
        raise FrontError(f"input {name} has another shape", got=list(array.shape), wanted=shape, request=True)
    return array


def _symbol_sizes(graph: Graph, given: Mapping[str, np.ndarray]) -> dict[str, int]:
    """A size for each symbolic dim: that of a given array, a size the exporter baked in, or a small one."""
    analysis = understand(graph)
    free = {size: name for name, size in analysis.symbols.items() if name not in analysis.baked}
    same = {name: free[size] for name, size in analysis.baked.items() if size in free}  # two batches that have to agree
    sizes = {name: size for name, size in analysis.baked.items() if name not in same}
    for info in graph.inputs:
        shape = graph.declared_shape(info.name) or []
        for place, dim in enumerate(shape):
            if isinstance(dim, str) and info.name in given and place < given[info.name].ndim:
                sizes[dim] = given[info.name].shape[place]
            elif isinstance(dim, str):
                sizes.setdefault(dim, _BATCH if place == 0 else _LENGTH)
    return {
        **sizes,
        **{name: sizes.get(other, _LENGTH) for name, other in same.items() if name not in _given(graph, given)},
    }


def _given(graph: Graph, given: Mapping[str, np.ndarray]) -> set[int | str]:
    return {dim for name in given for dim in graph.declared_shape(name) or []}


def _limits(graph: Graph) -> dict[str, int]:
    """For each integer input that indexes tables: the smallest table, as far as only simple operators lie between."""
    passing = {
        "Cast",
        "Identity",
        "Reshape",
        "Unsqueeze",
        "Squeeze",
        "Transpose",
        "Flatten",
        "Expand",
        "Slice",
        "Add",
    }
    limits: dict[str, int] = {}
    for info in graph.inputs:
        waiting, seen = [info.name], set()
        while waiting:
            for edge in graph.consumers.get(waiting.pop(), ()):
                node = graph.nodes[edge.node]
                if node.op_type in ("Gather", "GatherND", "GatherElements") and edge.slot == 1:
                    table = graph.constants.get(node.input[0])
                    if table is not None and table.dims:
                        limits[info.name] = min(limits.get(info.name, 1 << 30), table.dims[0])
                elif node.op_type in passing and edge.slot == 0 and edge.node not in seen:
                    seen.add(edge.node)
                    waiting += node.output
    return limits
