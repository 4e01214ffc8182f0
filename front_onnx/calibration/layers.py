"""The layers of a graph that are affine in what they read: weight, bias and batch norm, whatever operators they are.

A layer is taken as a matrix [K, N] (for groups of channels one each) that rows of K entries are multiplied by: the last
axes of a tensor, or the patches of a convolution. Whether a node is that is tried on numbers, not known (`fitting.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from front_onnx.axes.size import Axis, size_of
from front_onnx.dims.structure import Structure
from front_onnx.operators.record import Trait, record_of
from front_onnx.read.graph import Edge, Graph
from front_onnx.roles.trace import Contraction, Trace

__all__ = ["Layer", "find_layers", "readers"]

_PRODUCTS = ("MatMul", "Gemm", "FusedMatMul")
_SCALED = ("Gemm", "FusedMatMul")  # alpha and beta


@dataclass(frozen=True)
class Layer:
    """A contraction with a learned weight and what is affine behind it.

    Attributes:
        node: the contraction.
        data: the tensor that it reads.
        weight: where its weight is read, perhaps by a view before the node.
        into: the weight's axes that are summed over, kernel sides not counted.
        out: those that are in the result.
        bias: where a bias is read, by the node or by an addition right behind it; None without one.
        batch_norm: a batch norm right behind that; None without one.
        raw: what the node and its bias make.
        output: what all of it makes.
        convolves: True for a convolution.
        groups: of channels.
        read: the axes of `data` in the order in which a row is last: what is summed over, as in `into`; None if it is.
        made: the axes of the result, those of `data` that are left before those of `out`; None if they lie so.
        batch: axes in front of a weight that are in the result beside those of the rows: one matrix for each of their
            entries (experts), which are the groups.
        transposed: True for a transposed convolution; its weight is taken as that of a convolution is.
        view: what the node reads, as axes, where its weight is kept in another shape.
        factor: that the node multiplies its product by (alpha of Gemm).
        share: that it multiplies its bias by (beta of Gemm).
    """

    node: int
    data: str
    weight: Edge
    into: tuple[int, ...]
    out: tuple[int, ...]
    bias: Edge | None
    batch_norm: int | None
    raw: str
    output: str
    convolves: bool
    groups: int
    read: tuple[int, ...] | None = None
    made: tuple[int, ...] | None = None
    batch: int = 0
    transposed: bool = False
    view: tuple[Axis, ...] | None = None
    factor: float = 1.0
    share: float = 1.0

    def rows_last(self, data: np.ndarray, batch: tuple[int, ...] = ()) -> np.ndarray:
        """What is read, with its rows last: [..., groups, K] where there is one matrix for each entry of `batch`."""
        data = data if self.read is None else data.transpose(self.read)
        if not self.batch:
            return data
        outer = np.broadcast_shapes(data.shape[:-2], batch)
        return self._groups_inside(np.broadcast_to(data, (*outer, *data.shape[-2:])))

    def columns_last(self, result: np.ndarray) -> np.ndarray:
        """What is made, with what the weight gives last."""
        result = result if self.made is None else result.transpose(self.made)
        return self._groups_inside(result) if self.batch else result

    def _groups_inside(self, data: np.ndarray) -> np.ndarray:
        """[..., batch, rows, N] as [..., rows, batch, N]."""
        return np.moveaxis(data, -2, -2 - self.batch)

    def laid(self, weight: np.ndarray, view: tuple[int, ...] | None = None) -> np.ndarray:
        """A weight in the file's layout with the axes that `into` and `out` count; `view`: the shape that is read."""
        weight = weight if view is None else weight.reshape(view)
        if not self.transposed:
            return weight
        split = np.moveaxis(weight.reshape(self.groups, -1, *weight.shape[1:]), 2, 1)
        return split.reshape(self.groups * weight.shape[1], -1, *weight.shape[2:])

    def bias_of(self, held: np.ndarray) -> np.ndarray:
        """[N], float64, what a bias in the file's layout adds."""
        added: np.ndarray = held.astype(np.float64).reshape(-1) * self.share
        return added

    def matrix(self, weight: np.ndarray) -> np.ndarray:
        """[groups, K, N], float64, of a weight that is laid out."""
        turned = self.factor * weight.astype(np.float64).transpose(self._turned(weight.ndim))
        outer = math.prod(weight.shape[axis] for axis in self.out)
        return turned.reshape(self.groups, outer // self.groups, -1).transpose(0, 2, 1)

    def in_file(self, matrix: np.ndarray, like: np.ndarray, view: tuple[int, ...] | None = None) -> np.ndarray:
        """A weight in the file's layout, of [groups, K, N]; shape and type are those of another."""
        laid = self.laid(like, view)
        turned = self._turned(laid.ndim)
        shape = [laid.shape[axis] for axis in turned]
        back = np.argsort(turned)
        found = (matrix / self.factor).transpose(0, 2, 1).reshape(shape).transpose(back)
        if self.transposed:
            split = found.reshape(self.groups, -1, *found.shape[1:])
            found = np.moveaxis(split, 1, 2)
        return np.ascontiguousarray(found.reshape(like.shape).astype(like.dtype))

    def _turned(self, rank: int) -> tuple[int, ...]:
        kernel = (axis for axis in range(rank) if axis not in self.into + self.out)
        return (*self.out, *self.into, *kernel)


def find_layers(structure: Structure) -> dict[int, Layer]:
    """The layers of a graph, by the node of their contraction."""
    found = {}
    trace = Trace(structure.analysis).contractions
    alone = (
        each for node in range(len(structure.graph.nodes)) if node not in trace for each in _kept_apart(structure, node)
    )
    for node, contraction in [*trace.items(), *((each.node, each) for each in alone)]:
        layer = _layer(structure, node, contraction)
        if layer is not None:
            found[node] = layer
    return found


def readers(graph: Graph, constant: str) -> list[Edge]:
    """Who reads a constant, or what nodes that only move it make of it."""
    found, waiting = list[Edge](), [constant, *(name for name, base in graph.alias.items() if base == constant)]
    while waiting:
        for edge in graph.consumers.get(waiting.pop(), ()):
            node = graph.nodes[edge.node]
            if record_of(node).has(Trait.VIEW) and edge.slot == 0:
                waiting += [name for name in node.output if name not in graph.alias]
            elif not record_of(node).has(Trait.MEASURES):
                found.append(edge)
    return found


def _layer(structure: Structure, index: int, contraction: Contraction) -> Layer | None:
    graph, analysis = structure.graph, structure.analysis
    node, record = graph.nodes[index], record_of(graph.nodes[index])
    data = [slot for slot, name in enumerate(node.input) if name and analysis.is_data(name)]
    transposed = record.has(Trait.CONVOLVES) and "Transpose" in node.op_type
    alone = len(data) == 1 and len(node.output) == 1 and graph.order.home(index) == index
    if not alone or record.has(Trait.RECURRENT) or contraction.edge in analysis.tables:
        return None
    if transposed:
        contraction = replace(contraction, into=(1,), out=(0,))
    if not structure.constants.of(graph.read_by(contraction.edge)).learned:
        return None
    factor, share = (
        float(graph.attribute(index, n, 1.0)) if node.op_type in _SCALED else 1.0 for n in ("alpha", "beta")
    )
    if factor == 0:
        return None
    weights = {slot for slot, name in enumerate(node.input) if name and slot not in data}
    own = sorted(weights - {_slot(graph, index, contraction.edge)})
    edge = graph.stored(Edge(index, own[-1])) if own and share else None
    bias = edge if edge is not None and _is_bias(structure, edge, contraction) else None
    raw, within = str(node.output[0]), bias is not None
    if bias is None and not own:
        bias, behind = _added(structure, raw, contraction)
        raw = behind or raw
    place = _slot(graph, index, contraction.edge)
    batch = _batch(structure, index, place, contraction)
    groups = int(graph.attribute(index, "group", 1) or 1) if record.has(Trait.CONVOLVES) else 1
    norm = _batch_norm(graph, raw)
    read, made, out = _layout(structure, index, data[0], contraction)
    return Layer(
        index,
        str(node.input[data[0]]),
        contraction.edge,
        contraction.into,
        out,
        bias,
        norm,
        raw,
        raw if norm is None else str(graph.nodes[norm].output[0]),
        record.has(Trait.CONVOLVES),
        groups,
        read,
        made,
        batch,
        transposed,
        _view(structure, index, place, contraction),
        factor,
        share if within else 1.0,
    )


def _kept_apart(structure: Structure, index: int) -> Iterator[Contraction]:
    """Contractions that mix no channels, or whose weight is kept in another shape than it is read in."""
    graph, analysis = structure.graph, structure.analysis
    record = record_of(graph.nodes[index])
    for slot in range(len(graph.nodes[index].input) if record.has(Trait.PRODUCT | Trait.CONVOLVES) else 0):
        edge, summed = graph.stored(Edge(index, slot)), analysis.summed.get(Edge(index, slot))
        fact = analysis.uses.get(Edge(index, slot)) or analysis.facts.get(graph.nodes[index].input[slot])
        if graph.read_by(edge) not in graph.constants or edge not in analysis.uses or fact is None or fact.axes is None:
            continue
        if record.has(Trait.CONVOLVES) and slot == 1 and edge == Edge(index, 1):
            yield Contraction(index, edge, (1,), (0,))
        elif not record.has(Trait.CONVOLVES) and summed is not None and len(summed) == 1 and edge != Edge(index, slot):
            out = (axis for axis in range(len(fact.axes)) if axis not in summed)
            yield Contraction(index, edge, tuple(summed), tuple(out), counted_as_kept=False)


def _view(structure: Structure, index: int, slot: int, contraction: Contraction) -> tuple[Axis, ...] | None:
    """The axes of a weight as a node reads it, where a contraction counts them and not those that it is kept with."""
    analysis, graph = structure.analysis, structure.graph
    if (
        contraction.counted_as_kept
        or slot < 0
        or contraction.edge.node == index
        or graph.stored(Edge(index, slot)) != contraction.edge
    ):
        return None
    fact, held = analysis.facts.get(graph.nodes[index].input[slot]), analysis.uses[contraction.edge]
    axes = fact.axes if fact is not None else None
    return None if axes is None or len(axes) == len(held.axes or ()) else axes


def _batch(structure: Structure, index: int, slot: int, contraction: Contraction) -> int:
    """How many axes in front of a product's weight are no part of its matrices."""
    count = len(contraction.into) + len(contraction.out) - 2
    if structure.graph.nodes[index].op_type not in _PRODUCTS or count < 1 or len(contraction.into) != 1:
        return 0
    inner = count + (slot == 0)
    return count if contraction.out[:count] == tuple(range(count)) and contraction.into == (inner,) else 0


def _layout(
    structure: Structure, index: int, slot: int, contraction: Contraction
) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None, tuple[int, ...]]:
    """`read` and `made` of a layer, and its `out` in the order of the result."""
    node = structure.graph.nodes[index]
    facts = (structure.analysis.facts.get(name) for name in (node.input[slot], node.output[0]))
    ranks = [len(fact.axes) if fact is not None and fact.axes is not None else 0 for fact in facts]
    kept = None, None, contraction.out
    if node.op_type == "Einsum":
        return _letters(structure, index, slot, contraction) or kept
    if node.op_type not in _PRODUCTS or min(ranks) < 2:
        return kept
    turned = bool(structure.graph.attribute(index, "transA" if slot == 0 else "transB", 0))
    read = _swapped(ranks[0]) if turned == (slot == 0) else None
    return read, _swapped(ranks[1]) if slot == 1 else None, contraction.out


def _swapped(rank: int) -> tuple[int, ...]:
    return (*range(rank - 2), rank - 1, rank - 2)


def _letters(
    structure: Structure, index: int, slot: int, contraction: Contraction
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]] | None:
    """The same of an Einsum, by its equation; None where a letter is not summed over and stands in both operands."""
    equation = structure.graph.attribute(index, "equation", b"")
    text = (equation.decode() if isinstance(equation, bytes) else equation).replace(" ", "")
    operands, _, result = text.partition("->")
    terms = operands.split(",")
    if "." in text or not result or len(terms) != 2:
        return None
    data, weight = terms[slot], terms[1 - slot]
    summed = structure.analysis.summed.get(Edge(index, 1 - slot), ())
    into = [weight[axis] for axis in summed]
    out = [letter for axis, letter in enumerate(weight) if axis not in summed]
    left = [letter for letter in data if letter not in into]
    if sorted([*left, *out]) != sorted(result) or sorted([*left, *into]) != sorted(data) or set(left) & set(out):
        return None
    ordered = sorted(range(len(out)), key=lambda place: result.index(out[place]))
    read = tuple(data.index(letter) for letter in [*left, *into])
    made = tuple(result.index(letter) for letter in [*left, *(out[place] for place in ordered)])
    return read, made, tuple(contraction.out[place] for place in ordered)


def _slot(graph: Graph, index: int, edge: Edge) -> int:
    """The input by which a node gets a weight that is read at an edge."""
    if edge.node == index:
        return edge.slot
    wanted = {name for name in graph.nodes[edge.node].output}
    while True:
        found = [slot for slot, name in enumerate(graph.nodes[index].input) if name in wanted]
        if found:
            return found[0]
        more = {n for w in wanted for e in graph.consumers.get(w, ()) for n in graph.nodes[e.node].output}
        if more <= wanted:
            return -1
        wanted |= more


def _is_bias(structure: Structure, edge: Edge, contraction: Contraction) -> bool:
    """True for a learned constant with one number for each column of a contraction, and the same for every row.

    A table of positions that is added behind a projection has more axes, and is none.
    """
    analysis, name = structure.analysis, structure.graph.read_by(edge)
    if name not in structure.graph.constants or edge not in analysis.uses or not structure.constants.of(name).learned:
        return False
    columns = _columns(structure, contraction)
    return _joined(structure, analysis.uses[edge].axes or ()) == columns


def _columns(structure: Structure, contraction: Contraction) -> Axis:
    """What a contraction makes, as one axis."""
    graph, weight = structure.graph, structure.analysis.uses[contraction.edge].axes or ()
    slot = _slot(graph, contraction.node, contraction.edge)
    if record_of(graph.nodes[contraction.node]).has(Trait.CONVOLVES):  # in groups, a transposed one has parts of it
        made = structure.analysis.facts.get(graph.nodes[contraction.node].output[0])
        return _joined(structure, (made.axes or ())[1:2] if made is not None else ())
    view = _view(structure, contraction.node, slot, contraction)
    axes = weight if view is None else view
    return _joined(structure, (axes[place] for place in contraction.out))


def _joined(structure: Structure, axes: Iterable[Axis]) -> Axis:
    """Axes as one, those of one entry left out."""
    whole = tuple(var for axis in axes if size_of(axis) != 1 for var in axis)
    return structure.analysis.algebra.expand(whole)


def _added(structure: Structure, raw: str, contraction: Contraction) -> tuple[Edge | None, str | None]:
    """A bias that is added right behind a contraction, and what that makes."""
    graph = structure.graph
    reader = graph.only_reader(raw)
    node = graph.nodes[reader.node] if reader is not None else None
    if reader is None or node is None or not record_of(node).has(Trait.SHIFTS) or node.op_type == "Sub":
        return None, None
    if len(node.input) != 2:
        return None, None
    edge = graph.stored(Edge(reader.node, 1 - reader.slot))
    return (edge, str(node.output[0])) if _is_bias(structure, edge, contraction) else (None, None)


def _batch_norm(graph: Graph, tensor: str) -> int | None:
    """A batch norm that alone reads a tensor."""
    reader = graph.only_reader(tensor)
    if reader is None:
        return None
    index = reader.node
    record = record_of(graph.nodes[index])
    return index if {"gain", "bias", "mean", "variance"} <= set(record.parameters.values()) else None
