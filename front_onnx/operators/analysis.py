"""Understanding: run the operator rules over a graph, so that every axis of every tensor is known in size variables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cached_property

import numpy as np
from onnx import TensorProto, helper

from front_onnx.axes.algebra import Algebra
from front_onnx.axes.equations import follow_siblings, solve
from front_onnx.axes.holds import Hold, Telling, Why
from front_onnx.axes.numbers import Binding, Number, Site, Varying, as_literals, literals
from front_onnx.axes.size import Axis, Conflict, size_of
from front_onnx.operators import OPERATORS, AbstractTensor, Loop, RuleContext, Trait, record_of
from front_onnx.operators.free_sizes import LARGEST_SIDE, FreeSizes
from front_onnx.operators.indexing import settle_picks
from front_onnx.operators.record import load_plugins
from front_onnx.operators.symbols import Symbols
from front_onnx.operators.troubles import Trouble, behind, causes_of, hidden
from front_onnx.read.arrays import is_arange, is_uniform, repeats
from front_onnx.read.graph import Edge, Graph
from front_onnx.read.subgraphs import Subgraph
from front_onnx.read.tensor_data import is_float, numpy_type

__all__ = ["Analysis", "analyse"]

_LITERALS = 64  # the longest constant vector that can be a shape or a list of places
# What a rule may trip over where a node is not as the specification says.
_UNFOLLOWED = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)
_PASSES = ("Transpose", "Identity", "Cast", "Squeeze", "Slice")  # from a weight to its reader
_LOOKING_UP = ("Gather", "GatherND")  # GatherND by one index: batches are no lookups


class Analysis:
    """Facts about every tensor of a graph, and what has to follow when a dim changes.

    Attributes:
        facts: axes of every activation, by tensor name.
        uses: axes of every constant, by the node input that reads it: one tensor may stand for several things.
        equations: (node, number, axis): at run time the number is computed, and it has to be the axis' size.
        conditions: (node, number): shape arithmetic that chose a branch and has to choose it again.
        attributes: (node, attribute, element, binding): attributes that are sizes.
        sites: every number of the file that shape arithmetic reads.
        summed: the axes of a node input that a product sums over, kernels included.
        contractions: the axis of a weight that a contraction sums over, by the node input that reads the weight; of
            matrices that data look up (experts), by the lookup.
        summing: the nodes that sum over a weight, be it one that is computed from constants.
        products: the size that a product of two activations sums over, by its node.
        totals: the size that a sum adds up, by its node.
        tables: node inputs that read a weight as a table indexed at run time (embeddings).
        picks: axes of which a node picks one written place.
        transposed: weights that hold the transpose of a table, and the table they are tied to.
        loops: the bodies that run as often as an axis is long.
        passed: what enters a body unchanged or entry by entry: the node input, and the axis that is picked from.
        troubles: where the axes could not be followed.
        symbols: the sizes known only at run time.
        ratios: wanted / got where sizes did not fit.
    """

    def __init__(self, graph: Graph, free: FreeSizes | None = None) -> None:
        self.graph = graph
        self.algebra = Algebra()
        self.symbols = Symbols(graph, self.algebra, free or FreeSizes())
        self.opset = graph.opset
        self.facts: dict[str, AbstractTensor] = {}
        self.uses: dict[Edge, AbstractTensor] = {}
        self.equations: list[tuple[int, Number, Axis]] = []
        self.conditions: list[tuple[int, Number]] = []
        self.attributes: list[tuple[int, str, int | None, Binding]] = []
        self.sites: list[Site] = []
        self.summed: dict[Edge, tuple[int, ...]] = {}
        self.contractions: dict[Edge, int] = {}
        self.summing: set[int] = set()
        self.tables: set[Edge] = set()
        self.picks: list[tuple[RuleContext, Axis]] = []
        self.transposed: dict[str, str] = {}
        self.products: dict[int, Axis] = {}
        self.totals: dict[int, Axis] = {}
        self.loops: list[Loop] = []
        self.passed: dict[str, tuple[Edge, int | None]] = {}
        self.troubles: list[Trouble] = []
        self._reasons: dict[int, str] = {}  # of the troubles, by node
        self._derived: dict[tuple[object, ...], Axis] = {}
        self._keys: list[object] = []
        self._cut: dict[tuple[object, ...], Axis] = {}
        self._index, self._at = 0, ""  # the node that is looked at, and what it makes
        self._tied: dict[str, Edge] = {}
        self.ratios: list[Fraction] = []

    # -- what rules ask for (registry.Records) ----------------------------------------------------------------

    def derived(self, key: tuple[object, ...], size: int, hold: Hold) -> Axis:
        """A fixed axis that the same key gives again."""
        if key not in self._derived:
            self._derived[key] = self.algebra.new(size, hold)
            self._keys.append(key)
        return self._derived[key]

    def cut_alike(self, end: Axis, axis: Axis) -> None:
        """Buffers of one length that are cut to the same length at run time are all as long as inputs may be."""
        key = (tuple(map(id, self.algebra.expand(end))), size_of(axis))
        self.algebra.unify(self._cut.setdefault(key, axis), axis)

    def raw(self, name: str) -> np.ndarray | None:
        """The contents of a constant of the file."""
        return self.graph.array(name) if name in self.graph.constants else None

    def only_measured(self, name: str) -> bool:
        """True for a constant that nothing but Shape reads."""
        readers = (record_of(self.graph.nodes[edge.node]) for edge in self.graph.consumers[name])
        return name in self.graph.constants and all(reader.has(Trait.MEASURES) for reader in readers)

    def is_data(self, name: str) -> bool:
        """True for a tensor that is not made of weights and constants alone."""
        fact = self.facts.get(name)
        return bool(name) and name not in self.graph.constants and not (fact is not None and fact.constant)

    def scalar(self, tensor: TensorProto) -> int | float | bool:
        """The one element of a tensor."""
        value: int | float | bool = self.graph.model.array(tensor).reshape(-1)[0].item()
        return value

    def scalar_at(self, node: int, slot: int) -> Number | None:
        """The one number that a node input reads, if it is followed."""
        fact = self._fact(Edge(node, slot))
        if fact is None or fact.value is None or fact.value.size != 1:
            return None
        number = fact.value.reshape(-1)[0]
        return None if isinstance(number, Varying) else number

    def origin(self, edge: Edge, axis: int) -> tuple[Edge, int] | None:
        """The reading of a weight behind a node input, and where the given axis is in the weight."""
        while edge not in self.uses:
            name = self.graph.nodes[edge.node].input[edge.slot]
            if name in self.passed:
                edge, picked = self.passed[name]
                axis += int(picked is not None and axis >= picked)
                continue
            maker = self.graph.producer.get(name)
            node = self.graph.nodes[maker] if maker is not None else None
            if node is None or maker is None or node.op_type not in _PASSES:
                return None
            whole = self._fact(Edge(maker, 0)) if node.op_type == "Slice" else None
            if whole is not None and whole.axes != self.facts[name].axes:
                return None  # else it only turns axes around, as kernels of transposed convolutions are
            if node.op_type == "Transpose":
                rank = len(self.facts[name].axes or ())
                axis = self.graph.attribute(maker, "perm", list(range(rank))[::-1])[axis]
            elif node.op_type == "Squeeze":  # it takes away axes of size 1
                before, after = self._wide(self._fact(Edge(maker, 0))), self._wide(self.facts[name])
                if axis not in after:
                    return None
                axis = before[after.index(axis)]
            edge = Edge(maker, 0)
        return edge, axis

    def entry(self, edge: Edge, axis: int) -> tuple[Edge, int] | None:
        """The reading of a table of which data look up entries, behind a node input, and the entry's axis in it.

        None if no table is behind it, or if the axis is one of those that data look up by.
        """
        while True:
            name = self.graph.nodes[edge.node].input[edge.slot]
            maker = self.graph.producer.get(name)
            node = self.graph.nodes[maker] if maker is not None else None
            if node is None or maker is None or node.op_type not in (*_LOOKING_UP, "Transpose", "Identity", "Cast"):
                return None
            if node.op_type in _LOOKING_UP:
                break
            if node.op_type == "Transpose":
                rank = len(self.facts[name].axes or ())
                axis = self.graph.attribute(maker, "perm", list(range(rank))[::-1])[axis]
            edge = Edge(maker, 0)
        table, indices = Edge(maker, 0), self._fact(Edge(maker, 1))
        if not (table in self.tables or table in self.contractions) or indices is None or indices.axes is None:
            return None
        several = node.op_type == "GatherND"  # the last axis of the indices is one of as many axes of the table
        at = 0 if several else self.graph.attribute(maker, "axis") % len(self.uses[table].axes or ())
        picked = len(indices.axes) - several
        found = axis if axis < at else axis + 1 - picked
        return None if found == at or at <= axis < at + picked else (table, found)

    def _fact(self, edge: Edge) -> AbstractTensor | None:
        return self.uses.get(edge) or self.facts.get(self.graph.nodes[edge.node].input[edge.slot])

    def _wide(self, fact: AbstractTensor | None) -> list[int]:
        axes = (fact.axes if fact is not None else None) or ()
        return [place for place, axis in enumerate(axes) if size_of(axis) != 1]

    def read(self, node: int) -> list[AbstractTensor | None]:
        """What a node reads. Each reading of a constant has axes of its own."""
        inputs = zip(self.graph.reads[node], self.graph.nodes[node].input, strict=True)
        return [self.facts.get(name) or self._read_constant(edge, name) if name else None for edge, name in inputs]

    def _read_constant(self, edge: Edge, name: str) -> AbstractTensor | None:
        tensor = self.graph.constants.get(name)
        if tensor is None:
            return None
        self.uses[edge] = self._constant(tensor, name, edge)
        return self.uses[edge]

    def unify_readings(self, left: Edge, right: Edge) -> None:
        """Give two readings of constants the same axes.

        Raises:
            Conflict: they cannot have.
        """
        for x, y in zip(self.uses[left].axes or (), self.uses[right].axes or (), strict=True):
            self.algebra.unify(x, y)

    # -- leaves -----------------------------------------------------------------------------------------------

    def _constant(self, tensor: TensorProto, name: str, edge: Edge) -> AbstractTensor:
        dims = tuple(tensor.dims)
        dtype, count = numpy_type(tensor), math.prod(dims)
        whole = dtype.kind in "iub"
        if (whole and len(dims) <= 1 and count <= _LITERALS) or (count == 1 and (whole or is_float(dtype))):
            numbers = as_literals(self.graph.array(name), edge.node, edge.slot)
            self.sites.extend(lit.site for number in numbers.flat for lit in literals(number))
            axes = tuple(self.algebra.new(n, Hold(Why.NUMBERS)) for n in dims)
            return AbstractTensor(axes, numbers, constant=True)
        if whole:
            if is_arange(self.graph.array(name)):
                steps = {i - len(dims): math.prod(dims[i + 1 :]) for i, n in enumerate(dims) if n > 1}
                counted = tuple(self.algebra.new(n) for n in dims)
                below = counted[max(steps) + len(dims)] if len(steps) == 1 else None
                return AbstractTensor(counted, None, True, dict(steps), below)
            table = self.graph.array(name)
            free = [is_uniform(table) or repeats(table, place) for place in range(len(dims))]
            holds = (() if anything else (Hold(Why.INTEGER_TABLE),) for anything in free)
            return AbstractTensor(
                tuple(self.algebra.new(n, *held) for n, held in zip(dims, holds, strict=True)), constant=True
            )
        axes = tuple(self.algebra.new(n) for n in dims)
        if dims:
            self._tie(self.graph.constant_name(name), edge, axes)
        return AbstractTensor(axes, constant=True)

    def _tie(self, name: str, edge: Edge, axes: tuple[Axis, ...]) -> None:
        """Tied weights stay tied; fresh tensors that are equal by chance (all zeros, all ones) are not tied."""
        if len(self.graph.consumers[name]) < 2:
            return
        if name not in self._tied:
            if is_uniform(self.graph.array(name)):
                return
            self._tied[name] = edge
            return
        for axis, other in zip(axes, self.uses[self._tied[name]].axes or (), strict=True):
            self.algebra.unify(axis, other)

    def _input(self, name: str) -> AbstractTensor:
        shape = self.graph.declared_shape(name)
        if shape is None:
            return AbstractTensor(None)
        axes = []
        for place, size in enumerate(shape):
            hold = Hold(Why.INPUT_AXIS, tensor=name, axis=place)
            if isinstance(size, int):
                axes.append(self.algebra.new(size, hold))
            else:
                axes.append(self.symbols.axis(self.symbols.free.key(size, name, place), hold, named=bool(size)))
        return AbstractTensor(tuple(axes))

    # -- nodes ------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Apply the rule of every node, in order."""
        for info in self.graph.inputs:
            self.facts[info.name] = self._input(info.name)
        self._apply(self.graph.order.main.nodes)
        for picking, conflict in settle_picks(self.picks):
            self._give_up(picking.index, picking, conflict)
        solve(self.algebra, self.equations)
        follow_siblings(self.conditions, self.sites, lambda site: self.graph.read_by(Edge(site.node, site.slot)))
        self.algebra.settle()

    def _apply(self, nodes: Iterable[int]) -> None:
        for index in nodes:
            node = self.graph.nodes[index]
            domain = node.domain or "ai.onnx"
            if node.output and node.output[0] in self.graph.constants:
                continue  # Constant, or Identity of one: read where it is used
            self._index, self._at = index, next(filter(None, node.output), "")
            context = RuleContext(self, index, node)
            found = OPERATORS.get((domain, node.op_type))
            try:
                if found is None:
                    raise Conflict(f"operator {node.op_type} of {domain} has no rule")
                found.rule(context)
                if not context.counted and any(fact is not None and fact.value is None for fact in context.outputs):
                    context.note_counters(context.facts)
            except (Conflict, *_UNFOLLOWED) as error:
                self._give_up(index, context, error)
            lost = behind(context)
            for name, fact in zip(node.output, context.outputs, strict=True):
                if name:
                    self.facts[name] = hidden(fact if fact is not None else AbstractTensor(None), lost)

    def subgraphs(self, node: int) -> dict[str, Subgraph]:
        """The graphs inside a node, by the attribute that holds them."""
        return self.graph.order.subgraphs.get(node, {})

    def follow(self, body: Subgraph, given: Sequence[AbstractTensor | None]) -> list[AbstractTensor]:
        """What a body gives back for what it is given. What it returns as it is written in the file is kept."""
        for name, fact in zip(body.inputs, given, strict=True):
            self.facts[name] = fact if fact is not None else AbstractTensor(None)
        self._apply(body.nodes)
        return [self.facts.get(name) or self._returned(name) for name in body.outputs]

    def _returned(self, name: str) -> AbstractTensor:
        return AbstractTensor(tuple(self.algebra.new(n, Hold(Why.GIVEN_BACK)) for n in self.graph.constants[name].dims))

    def behind(self, name: str) -> str:
        """The tensor that a name stands for, Identity nodes skipped."""
        while (maker := self.graph.producer.get(name)) is not None and self.graph.nodes[maker].op_type == "Identity":
            name = self.graph.nodes[maker].input[0]
        return name

    def is_read(self, name: str) -> bool:
        """True if a node reads a tensor, or if it is an output of the graph or of a body."""
        outputs = (self.graph.outputs, *(body.outputs for body in self.graph.order.all_subgraphs()))
        return bool(self.graph.consumers.get(name)) or any(name in names for names in outputs)

    def is_read_once(self, name: str) -> bool:
        """True if one node alone reads the contents of a tensor."""
        readers = (record_of(self.graph.nodes[edge.node]) for edge in self.graph.consumers.get(name, ()))
        return sum(not reader.has(Trait.MEASURES) for reader in readers) == 1 and name not in self.graph.outputs

    def unknown(self, hold: Hold) -> Axis:
        """A fixed axis of a size that is only known at run time."""
        return self.symbols.unknown(self._at, hold)

    def made_of(self, axis: Axis, made: Axis, *, by_windows: bool) -> None:
        """Note that the size of an axis is computed from that of another one, by windows or not."""
        self.symbols.made_of(axis, made, by_windows=by_windows)

    def declared(self, slot: int, place: int, hold: Hold) -> Axis:
        """A fixed axis of an output of the node that is looked at, as long as is declared."""
        shape = self.graph.declared_shape(self.graph.nodes[self._index].output[slot])
        size = shape[place] if shape is not None and place < len(shape) else ""
        if isinstance(size, int):
            return self.algebra.new(size, hold)
        return self.symbols.axis(size, hold) if size else self.unknown(hold)

    def _give_up(self, index: int, context: RuleContext, error: Exception) -> None:
        """Freeze what touches a node that cannot be followed; go on from its declared output shapes.

        What is not known because of other unfollowed nodes is their doing: the holds name them.
        """
        node = self.graph.nodes[index]
        ratio = getattr(error, "ratio", None)
        self.ratios += [] if ratio is None else [ratio]
        causes = causes_of(self.algebra, error) or frozenset((index,))
        reason = str(error) if isinstance(error, Conflict) else f"{type(error).__name__}: {error}"
        self._reasons[index] = reason
        self.troubles.append(Trouble(index, reason, causes))
        facts = [fact for fact in context.facts if fact is not None]
        facts += [self.facts[name] for name in self.graph.outer_scope.get(index, ()) if name in self.facts]
        for inner in self.graph.order.inside(index):
            names = (*self.graph.nodes[inner].input, *self.graph.nodes[inner].output)
            facts += [self.facts[name] for name in names if name in self.facts]
            facts += [fact for edge, fact in self.uses.items() if edge.node == inner]
        before = behind(context)
        blamed = [self._blame(Why.UNFOLLOWED, cause) for cause in sorted(causes | before)]
        for axis in (axis for fact in facts for axis in fact.axes or ()):
            self.algebra.hold(axis, *blamed)
        source = before or causes
        for slot, name in enumerate(node.output):
            shape = self.graph.declared_shape(name) if name else None
            if shape is None:
                context.outputs[slot] = AbstractTensor(None, behind=source)
                continue
            self._at = name
            axes = tuple(self._declared(size, source) for size in shape)
            context.outputs[slot] = AbstractTensor(axes, behind=source if self._is_whole(name) else frozenset())

    def _is_whole(self, name: str) -> bool:
        """True for a tensor of whole numbers, which may be sizes or places."""
        return not is_float(helper.tensor_dtype_to_np_dtype(self.graph.value_info[name].type.tensor_type.elem_type))

    def _declared(self, size: int | str, causes: frozenset[int]) -> Axis:
        """An axis of the output of an unfollowed node, of which nothing but the declared size is known."""
        known = isinstance(size, str) and size in self.symbols
        if isinstance(size, int):
            axis = self.algebra.new(size)
        else:
            axis = self.symbols.axis(size, Hold(Why.UNKNOWN)) if size else self.unknown(Hold(Why.UNKNOWN))
        why = Why.UNFOLLOWED if known else Why.BEHIND
        self.algebra.hold(axis, *(self._blame(why, cause) for cause in sorted(causes)))
        return axis

    def _blame(self, why: Why, node: int) -> Hold:
        return Hold(why, node, detail=self._reasons[node])

    @cached_property
    def telling(self) -> Telling:
        """Which of several reasons is told."""
        return Telling(self.graph)


def analyse(graph: Graph, free: FreeSizes | None = None) -> Analysis:
    """Follow every axis of a graph through all of its nodes. Time is linear in the number of nodes.

    Where a size does not fit, the analysis is run again with other numbers for sizes that are free; see `free_sizes`.

    Args:
        graph: the graph.
        free: what is known of its free sizes.
    """
    load_plugins()
    analysis = _halved(graph, free or FreeSizes())
    while analysis.troubles:
        ratio = next(iter(analysis.ratios), None)
        best = analysis
        symbols = analysis.symbols
        for other in symbols.free.others(symbols.numbers, ratio, symbols.repeated):
            best = min(best, _halved(graph, other), key=lambda found: len(found.troubles))
            if not best.troubles:
                break
        if len(best.troubles) >= len(analysis.troubles):
            best = _with_side(graph, analysis)
        if len(best.troubles) >= len(analysis.troubles):
            break
        analysis = best
    return analysis


def _with_side(graph: Graph, analysis: Analysis) -> Analysis:
    """The analysis with the smallest number that does for all sides over which windows slide, if one does.

    A table of positions is as long as there are patches: it fits pictures of one size, and sides are found by halving.
    """
    free, before = analysis.symbols.free, next(iter(analysis.ratios), None)
    roots = {free.root(key) for key in analysis.symbols.sides} - free.baked.keys()
    if before is None or not roots:
        return analysis

    def at(side: int) -> Analysis:
        return _joined(graph, replace(free, baked={**free.baked, **dict.fromkeys(roots, side)}))

    low, high, best = 1, LARGEST_SIDE, at(LARGEST_SIDE)
    most = next(iter(best.ratios), None)
    if most is None or most == before:
        return best  # what does not fit depends on no side
    while low < high:
        side = (low + high) // 2
        found = at(side)
        ratio = next(iter(found.ratios), None)
        fits = len(found.troubles) < len(analysis.troubles)
        best = found if fits else best
        if fits or (ratio is not None and (ratio < 1) == (most < 1)):
            high = side
        else:
            low = side + 1
    return best


def _halved(graph: Graph, free: FreeSizes) -> Analysis:
    """The analysis with numbers that can be halved for sizes over which windows slide."""
    analysis = _joined(graph, free)
    while (symbols := analysis.symbols).sides - symbols.free.sides - symbols.free.baked.keys():
        halved = _joined(graph, replace(symbols.free, sides=symbols.free.sides | symbols.sides))
        if len(halved.troubles) > len(analysis.troubles):
            break
        analysis = halved
    return analysis


def _joined(graph: Graph, free: FreeSizes) -> Analysis:
    """The analysis with what is one size made one."""
    analysis = Analysis(graph, free)
    analysis.run()
    while analysis.troubles:
        joined = analysis.symbols.free.joined(analysis.symbols.numbers, analysis.ratios)
        if joined is None:
            break
        other = Analysis(graph, joined)
        other.run()
        if len(other.troubles) > len(analysis.troubles):
            break
        analysis = other
    return analysis
