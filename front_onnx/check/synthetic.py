"""Inputs made up for a graph: ids below every table they index, masks of ones, noise, consistent symbolic sizes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

import numpy as np
from onnx import helper

from front_onnx.axes.size import size_of
from front_onnx.errors import FrontError, RequestError
from front_onnx.operators.analysis import Analysis, analyse
from front_onnx.operators.record import Trait, record_of
from front_onnx.read.graph import Graph

__all__ = ["entries", "index_limits", "synthetic_inputs"]

_BATCH, _LENGTH = 2, 7


def synthetic_inputs(
    graph: Graph, given: Mapping[str, np.ndarray], seed: int = 0, analysis: Analysis | None = None
) -> dict[str, np.ndarray]:
    """One array per graph input; those given are taken as they are. An analysis of the graph may be at hand.

    Raises:
        RequestError: a given array has no input, or another type or rank.
    """
    known = {info.name: info for info in graph.inputs}
    for name in given:
        if name not in known and not known.keys() <= given.keys():  # labels beside all inputs do no harm
            raise RequestError(f"the model has no input {name!r}", wanted=", ".join(known))
    analysis = analysis or analyse(graph)
    limits = index_limits(graph, analysis)
    sizes = _symbol_sizes(graph, analysis, given, limits)
    rng = np.random.default_rng(seed)
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
        raise RequestError(f"input {name} has another type", got=array.dtype, wanted=dtype)
    fits = shape is None or (
        len(shape) == array.ndim
        and all(not isinstance(n, int) or n == m for n, m in zip(shape, array.shape, strict=True))
    )
    if not fits:
        raise RequestError(f"input {name} has another shape", got=list(array.shape), wanted=shape)
    return array


def _symbol_sizes(
    graph: Graph, analysis: Analysis, given: Mapping[str, np.ndarray], limits: Mapping[str, int]
) -> dict[str, int]:
    """A size for each symbolic dim: that of a given array, a size the exporter baked in, or a small one.

    A dim called `a + b` is the sum of those two, and so is the length of a mask over what is cached and what is new.
    """
    asked = {name: array.shape for name, array in given.items()}
    told: dict[str, int] = {}
    free: dict[str, int] = {}
    for name, place, dim in _symbols(graph):
        if name in asked and place < len(asked[name]):
            told[dim] = asked[name][place]
        elif dim not in analysis.baked:
            free.setdefault(dim, _BATCH if place == 0 else _LENGTH)
    sizes = {**free, **told}
    stands = {size: name for name, size in analysis.symbols.items() if name not in analysis.baked}
    for dim, size in analysis.baked.items():  # two batches may have to agree
        sizes.setdefault(dim, sizes[stands[size]] if size in stands else analysis.symbol_size(dim, sizes))
    for dim in free.keys() - told.keys():
        parts = _parts(graph, dim, limits)
        if parts and all(part.isdigit() or part in sizes for part in parts):
            sizes[dim] = sum(int(part) if part.isdigit() else sizes[part] for part in parts)
    return sizes


def _symbols(graph: Graph) -> Iterator[tuple[str, int, str]]:
    """(input, axis, name) of every symbolic dim."""
    for info in graph.inputs:
        for place, dim in enumerate(graph.declared_shape(info.name) or []):
            if isinstance(dim, str):
                yield info.name, place, dim


def _parts(graph: Graph, dim: str, limits: Mapping[str, int]) -> list[str]:
    """What a symbolic dim is the sum of; empty if it is none."""
    if "+" in dim:
        return [part.strip() for part in dim.split("+")]
    tensors = [v for v in graph.inputs if v.type.HasField("tensor_type")]  # sequences and optional inputs have no kind
    kinds = {v.name: helper.tensor_dtype_to_np_dtype(v.type.tensor_type.elem_type).kind for v in tensors}
    masks = {name for name, kind in kinds.items() if kind in "biu" and name not in limits}
    by_dim: dict[str, set[str]] = defaultdict(set)
    for name, place, other in _symbols(graph):
        if place:
            by_dim[other].add(name)
    if not by_dim[dim] or not by_dim[dim] <= masks:
        return []
    new = [other for other, names in by_dim.items() if not names.isdisjoint(limits)]
    cached = [other for other, names in by_dim.items() if other not in new and names.isdisjoint(masks)]
    return [*new, *cached] if len(new) == len(cached) == 1 else []


def index_limits(graph: Graph, analysis: Analysis | None = None) -> dict[str, int]:
    """For each integer input that indexes tables: the smallest table, as far as only simple operators lie between.

    Args:
        graph: the graph.
        analysis: that of it, if there is one already.
    """
    analysis = analyse(graph) if analysis is None else analysis
    limits: dict[str, int] = {}
    for info in graph.inputs:
        waiting, seen = [info.name], set()
        while waiting:
            for edge in graph.consumers.get(waiting.pop(), ()):
                node = graph.nodes[edge.node]
                record = record_of(node)
                if record.has(Trait.GATHERS) and edge.slot == 1:
                    rows = entries(analysis, edge.node)
                    if rows is not None:
                        limits[info.name] = min(limits.get(info.name, 1 << 30), rows)
                elif record.has(Trait.MOVES | Trait.SHIFTS) and edge.slot == 0 and edge.node not in seen:
                    seen.add(edge.node)
                    waiting += node.output
    return limits


def entries(analysis: Analysis, index: int) -> int | None:
    """How many entries a lookup chooses from, if it looks into a constant or what is computed from constants alone."""
    graph = analysis.graph
    name = graph.nodes[index].input[0]
    fact = analysis.facts.get(name)
    dims = list(graph.constants[name].dims) if name in graph.constants else []
    if not dims and fact is not None and fact.constant and fact.axes is not None:
        dims = [size_of(axis) for axis in fact.axes]
    axis = int(graph.attribute(index, "axis", 0) or 0)
    return dims[axis] if -len(dims) <= axis < len(dims) else None
