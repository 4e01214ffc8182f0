"""How the inputs of a graph lie: their free sizes, the axis along which samples are, the tables that they index."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from onnx import helper

from front_onnx.axes.size import Axis
from front_onnx.check.synthetic import entries, index_limits
from front_onnx.operators.analysis import Analysis
from front_onnx.operators.record import Trait, record_of
from front_onnx.read.graph import Graph

__all__ = ["Shape", "input_shapes", "mixed_sizes", "sample_axes", "tables"]

Shape = tuple[int | str, ...] | None
_BATCH = "batch"
_ELEMENTWISE = {"Add", "Sub", "Mul", "Where", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Not", "Equal"}


def input_shapes(graph: Graph, analysis: Analysis) -> dict[str, Shape]:
    """The shape of each tensor: a number for a fixed size, one name for all that is one size; None if undeclared.

    What is declared free may be fixed by a size that the exporter wrote into the graph. A size without a name gets
    one of its own, `[INPUT.AXIS]`.
    """
    names: dict[Axis, str] = {}
    shapes: dict[str, Shape] = {}
    for info in graph.inputs:
        declared = graph.declared_shape(info.name)
        if declared is None:
            shapes[info.name] = None
            continue
        sizes: list[int | str] = []
        for place, axis in enumerate(analysis.facts[info.name].axes or ()):
            key, size = analysis.symbols.key(info.name, place), declared[place]
            if key is None:
                sizes.append(size)
            elif key in analysis.symbols.traced:
                sizes.append(analysis.symbols.traced[key])
            else:
                sizes.append(names.setdefault(analysis.algebra.expand(axis), key))
        shapes[info.name] = tuple(sizes)
    return shapes


def mixed_sizes(graph: Graph, analysis: Analysis, shapes: Mapping[str, Shape]) -> frozenset[str]:
    """The free sizes that sums or products of activations run over: no samples lie along these."""
    totals = (*analysis.products.values(), *analysis.totals.values())
    over = {var for total in totals for var in analysis.algebra.expand(total)}
    return frozenset(
        size
        for name, shape in shapes.items()
        for size, axis in zip(shape or (), analysis.facts[name].axes or (), strict=bool(shape))
        if isinstance(size, str) and not over.isdisjoint(analysis.algebra.expand(axis))
    )


def sample_axes(shapes: Mapping[str, Shape], mixed: frozenset[str]) -> tuple[dict[str, int | None], int | None]:
    """The axis of the samples of each input, None where all samples get the same; and their number if it is fixed.

    They lie along the free size that most inputs have in front and that nothing sums over; names decide where the
    graph does not. Free sizes in front of other inputs are samples too, unless they stand further inside of one.
    Where an input has free sizes that none with samples has, it changes from feed to feed: a feed is one sample.
    """
    best = _sample_size(shapes, mixed)
    if best is None:
        return _fixed_axes(shapes, mixed)
    inside = {size for shape in shapes.values() for size in (shape or ())[1:]}
    axes: dict[str, int | None] = {}
    for name, shape in shapes.items():
        if shape is None:
            axes[name] = 0
        elif best in shape:
            axes[name] = shape.index(best)
        else:
            apart = shape and isinstance(shape[0], str) and shape[0] not in inside and shape[0] not in mixed
            axes[name] = 0 if apart else None
    beside = {size for name, shape in shapes.items() if axes[name] is not None for size in shape or ()}
    for name, shape in shapes.items():
        if axes[name] is None and any(isinstance(size, str) and size not in beside for size in shape or ()):
            return dict.fromkeys(shapes), None
    return axes, None


def _sample_size(shapes: Mapping[str, Shape], mixed: frozenset[str]) -> str | None:
    """The free size along which samples lie."""
    free = [size for shape in shapes.values() for size in shape or () if isinstance(size, str)]
    fronts = [shape[0] for shape in shapes.values() if shape and isinstance(shape[0], str)]
    called = {size for size in free if _BATCH in size.lower()}
    candidates = called | {size for size in fronts if size not in mixed}
    if fronts and not candidates:
        candidates = {size for size in free if size not in mixed and not size.startswith("[")}

    def fitness(size: str) -> tuple[bool, bool, int, int]:
        holding = sum(size in (shape or ()) for shape in shapes.values())
        return _BATCH not in size.lower(), size in mixed, -fronts.count(size), -holding

    return min((size for size in dict.fromkeys(free) if size in candidates), key=fitness, default=None)


def _fixed_axes(shapes: Mapping[str, Shape], mixed: frozenset[str]) -> tuple[dict[str, int | None], int | None]:
    """Samples along axis 0 of as many inputs as have the first one's size there; none if that is mixed."""
    if any(shape and shape[0] in mixed for shape in shapes.values()):
        return dict.fromkeys(shapes), None
    batch = next((int(shape[0]) for shape in shapes.values() if shape), None)
    axes = {name: 0 if shape is None or (batch and shape[:1] == (batch,)) else None for name, shape in shapes.items()}
    return axes, batch


def tables(graph: Graph, analysis: Analysis) -> dict[str, int]:
    """The entries of the smallest table that each integer input indexes.

    Besides the simple ways that `index_limits` knows, an index may be computed element by element from nothing but
    the input and constants: exporters do so to count negative ones from the end. Or it is made a row of a matrix.
    """
    found = index_limits(graph, analysis)
    for info in graph.inputs:
        kind = info.type.tensor_type.elem_type
        if info.name not in found and kind and helper.tensor_dtype_to_np_dtype(kind).kind in "iu":
            limits = [*_indexed(graph, analysis, info.name)]
            if limits:
                found[info.name] = min(limits)
    return found


def _indexed(graph: Graph, analysis: Analysis, name: str) -> Iterator[int]:
    """The entries of tables that are indexed by what comes of an input element by element."""
    made = {name}
    for index, node in enumerate(graph.nodes):
        if made.isdisjoint(node.input):
            continue
        record = record_of(node)
        if record.has(Trait.GATHERS) and len(node.input) > 1 and node.input[1] in made:
            rows = entries(analysis, index)
            if rows is not None:
                yield rows
        elif node.op_type == "OneHot" and node.input[0] in made and node.input[1] in graph.constants:
            yield int(graph.array(node.input[1]).reshape(-1)[0])
        else:
            moved = record.has(Trait.MOVES | Trait.SHIFTS) and node.input[0] in made
            known = all(used in made or used in graph.constants for used in node.input)
            if moved or (node.op_type in _ELEMENTWISE and known):
                made.update(node.output)
