"""Inputs made up for a graph: ids below every table they index, masks of ones, noise, consistent symbolic sizes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np
from onnx import helper

from front_onnx.axes.size import size_of
from front_onnx.errors import FrontError, RequestError
from front_onnx.operators.analysis import Analysis, analyse
from front_onnx.operators.free_sizes import USUAL_SIDES
from front_onnx.operators.record import Trait, record_of
from front_onnx.read.graph import Edge, Graph

__all__ = ["entries", "index_limits", "synthetic_inputs"]

_BATCH, _LENGTH = 2, 7


def synthetic_inputs(
    graph: Graph,
    given: Mapping[str, np.ndarray],
    seed: int = 0,
    analysis: Analysis | None = None,
    sizes: Mapping[str, int] | None = None,
) -> dict[str, np.ndarray]:
    """One array per graph input; those given are taken as they are.

    Args:
        graph: the graph.
        given: arrays by the names of inputs.
        seed: of all that is drawn.
        analysis: that of the graph, if it is at hand.
        sizes: numbers for free sizes, by the keys of what they are one with.

    Raises:
        RequestError: a given array has no input, or another type or rank.
    """
    known = {info.name: info for info in graph.inputs}
    for name in given:
        if name not in known and not known.keys() <= given.keys():  # labels beside all inputs do no harm
            raise RequestError(f"the model has no input {name!r}", wanted=", ".join(known))
    analysis = analysis or analyse(graph)
    limits = index_limits(graph, analysis)
    numbers = _symbol_sizes(graph, analysis, given, limits, sizes or {})
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
        keys = [
            analysis.symbols.key(name, place) or size for place, size in enumerate(graph.declared_shape(name) or [])
        ]
        shape = [size if isinstance(size, int) else numbers.get(size, _LENGTH) for size in keys]
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
    graph: Graph,
    analysis: Analysis,
    given: Mapping[str, np.ndarray],
    limits: Mapping[str, int],
    asked_sizes: Mapping[str, int],
) -> dict[str, int]:
    """A number for each free size: that of a given array, one the exporter baked in, or a small one that fits.

    Sizes that meet in the graph are one. A dim called `a + b` is the sum of those two, and so is the length of a mask
    over what is cached and what is new.
    """
    asked = {name: array.shape for name, array in given.items()}
    told: dict[str, int] = {**asked_sizes}
    first: dict[str, int] = {}
    symbols = analysis.symbols
    for name, place, key in _symbols(graph, analysis):
        root = symbols.free.root(key)
        if name in asked and place < len(asked[name]):
            told[root] = asked[name][place]
        elif root not in symbols.free.baked:
            first.setdefault(root, _BATCH if place == 0 else _LENGTH)
    sides = {symbols.free.root(key) for key in symbols.free.sides}.intersection(first) - told.keys()
    roots = {**first, **dict.fromkeys(sides, _side(graph, analysis, sides) if sides else 0), **told}
    sizes = {key: roots[root] for key in symbols.numbers if (root := symbols.free.root(key)) in roots}
    for key in symbols.numbers:
        if symbols.free.root(key) in symbols.free.baked:
            sizes.setdefault(key, symbols.size(key, sizes))
    for key in sizes.keys() - told.keys():
        parts = _parts(graph, analysis, key, limits) if symbols.free.root(key) not in told else []
        if parts and all(part.isdigit() or part in sizes for part in parts):
            sizes[key] = sum(int(part) if part.isdigit() else sizes[part] for part in parts)
    return sizes


def _side(graph: Graph, analysis: Analysis, sides: Iterable[str]) -> int:
    """The first of the usual sides of pictures with which the graph can be followed as well as with any."""
    for side in USUAL_SIDES[:-1]:
        tried = Analysis(
            graph, replace(analysis.symbols.free, baked={**analysis.symbols.free.baked, **dict.fromkeys(sides, side)})
        )
        tried.run()
        if len(tried.troubles) <= len(analysis.troubles):
            return side
    return USUAL_SIDES[-1]


def _symbols(graph: Graph, analysis: Analysis) -> Iterator[tuple[str, int, str]]:
    """(input, axis, key) of every free size."""
    for info in graph.inputs:
        for place in range(len(graph.declared_shape(info.name) or [])):
            key = analysis.symbols.key(info.name, place)
            if key is not None:
                yield info.name, place, key


def _parts(graph: Graph, analysis: Analysis, dim: str, limits: Mapping[str, int]) -> list[str]:
    """What a symbolic dim is the sum of; empty if it is none."""
    if "+" in dim:
        return [part.strip() for part in dim.split("+")]
    tensors = [v for v in graph.inputs if v.type.HasField("tensor_type")]  # sequences and optional inputs have no kind
    kinds = {v.name: helper.tensor_dtype_to_np_dtype(v.type.tensor_type.elem_type).kind for v in tensors}
    masks = {name for name, kind in kinds.items() if kind in "biu" and name not in limits}
    by_dim: dict[str, set[str]] = defaultdict(set)
    for name, place, other in _symbols(graph, analysis):
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
        for index, above in lookups(graph, info.name):
            rows = entries(analysis, index)
            if rows is not None:
                limits[info.name] = min(limits.get(info.name, 1 << 30), max(rows - above, 1))
    return limits


def lookups(graph: Graph, name: str) -> Iterator[tuple[int, int]]:
    """The nodes that look up what an input says, with only simple operators between, and how much these add to it."""
    waiting, seen = [(name, 0)], set[int]()
    while waiting:
        name, above = waiting.pop()
        for edge in graph.consumers.get(name, ()):
            node = graph.nodes[edge.node]
            record = record_of(node)
            if record.has(Trait.GATHERS) and edge.slot == 1:
                yield edge.node, above
            elif record.has(Trait.MOVES | Trait.SHIFTS) and edge.node not in seen:
                if edge.slot and not record.has(Trait.SHIFTS):
                    continue
                seen.add(edge.node)
                waiting += [(made, above + _shift(graph, edge)) for made in node.output]


def _shift(graph: Graph, edge: Edge) -> int:
    """By how much a node adds to what one of its inputs is, at most: where features have a stretch of a table each."""
    node = graph.nodes[edge.node]
    if not record_of(node).has(Trait.SHIFTS) or len(node.input) != 2:
        return 0
    other = node.input[1 - edge.slot]
    array = graph.array(other) if other in graph.constants else np.zeros(1, np.int64)
    if not array.size or array.dtype.kind not in "iu":
        return 0
    return int(array.max()) if node.op_type == "Add" else -int(array.min())


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
