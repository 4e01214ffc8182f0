"""Scalars that a size hides in: 1/sqrt(head_dim) on attention scores, 1/width on a sum, fan_in^(-1/2) on a weight.

A scalar is tied to a size only where the graph says what it is for: it takes back how much the tensor beside it has
grown with the size (`degrees.py`), or how much a product that the tensor is about to enter will grow. It may be written
in any way, and be a root of a small multiple of the size (1/sqrt(3 d)), or one less in place of it (the variance of a
sample). Where a number could as well be one of its own, it is tied and told; what merely looks as if it were computed
from a size is a suspicion (`suspects.py`) and listed, not changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

from front_onnx.axes.numbers import Binding, Expression, Extent, Literal, Number, Site, evaluate, literals
from front_onnx.axes.size import Axis, AxisRole, size_of
from front_onnx.constants.degrees import Degrees
from front_onnx.constants.ways import Ways
from front_onnx.operators.record import Trait, record_of
from front_onnx.read.graph import Edge

if TYPE_CHECKING:
    from front_onnx.operators.analysis import Analysis
    from front_onnx.read.graph import Graph

__all__ = ["Guess", "maker_of", "scaled", "share_meanings", "tie_scalars"]

_WRITTEN = (1, 0.5, -0.5, -1, 0.25, -0.25)  # powers of a size that exporters write down
_CLOSE = 1e-4  # relative: exporters write roots in single precision or better
_EXACT = 1e-6  # relative: a number and one less are near to each other
_TIMES = (2, 3)  # multiples of a size in 1/sqrt(3 d), where queries meet three kinds of keys
_GAINS = (0.5,)  # fan_in / 2: half of what a ReLU reads is zero (He et al. 2015, eq. 10)
_SMALL = 4  # a root of so few is a number like any other


@dataclass(frozen=True)
class Guess:
    """A scalar that was tied to a size although it may be a number of its own.

    Attributes:
        node: the node that scales by it.
        value: the scalar in the source.
        binding: what it was taken for.
    """

    node: int
    value: float
    binding: Binding


@dataclass(frozen=True)
class _Reading:
    """What a scalar may be there for: a multiplication by a power of a size.

    Attributes:
        axis: the size.
        powers: the powers that would take a growth back.
        sure: False if the scalar may be a number of its own.
        times: multiples of the size that may stand in its place.
        sums: True if it is a sum over the size, of which one less may stand in its place.
    """

    axis: Axis
    powers: tuple[float, ...]
    sure: bool = True
    times: tuple[float, ...] = ()
    sums: bool = False


def scaled(analysis: Analysis) -> Iterator[tuple[int, Number, str]]:
    """(node, scalar, the tensor it scales) for every product or quotient of a tensor and a followed scalar."""
    for index, node in enumerate(analysis.graph.nodes):
        if not record_of(node).has(Trait.SCALES):
            continue
        for slot in (0, 1):
            number = analysis.scalar_at(index, slot)
            other = analysis.uses.get(Edge(index, 1 - slot)) or analysis.facts.get(node.input[1 - slot])
            if number is not None and isinstance(number.value, float) and other is not None and other.axes:
                yield index, number, node.input[1 - slot]


def tie_scalars(analysis: Analysis) -> list[Guess]:
    """Bind the scalars that take a growth back to the size that it comes from, and give those that were guessed."""
    tying = _Tying(analysis)
    tying.run()
    return tying.guesses


class _Tying:
    def __init__(self, analysis: Analysis) -> None:
        self.analysis, self.graph, self.algebra = analysis, analysis.graph, analysis.algebra
        self.degrees = Degrees(analysis)
        self.ways = Ways(analysis, self.degrees.products)
        self.guesses: list[Guess] = []

    def run(self) -> None:
        """All scalars, in the order of the nodes, so that what an early one takes back is gone for a later one."""
        numbers: dict[int, tuple[Number, str]] = {i: (number, tensor) for i, number, tensor in scaled(self.analysis)}
        for index, node in enumerate(self.graph.nodes):
            if index in numbers:
                self._tie(index, *numbers[index])
            elif node.op_type == "Gemm":
                self._tie_alpha(index)

    def _tie(self, index: int, number: Number, tensor: str) -> None:
        sign = 1 if record_of(self.graph.nodes[index]).has(Trait.MULTIPLIES) else -1
        found = [
            (reading, literal, binding)
            for reading in self._readings(index, tensor)
            for literal in literals(number)
            if (binding := self._binding(number, literal, sign, reading)) is not None
        ]
        if not found:
            self._tie_divisor(number, sign, tensor, index)
            return
        sure = [one for one in found if one[0].sure]  # of these the root, which is usual, and the other is told
        reading, literal, binding = (
            min(sure, key=lambda one: abs(one[2].power)) if sure else found[0]
        )  # roots are usual
        if not literal.site.bindings:
            literal.site.bindings.append(binding)
            several = any(one[1] is literal and one[2].axis != binding.axis for one in sure)
            if several or not reading.sure or binding.plus:
                self.guesses.append(Guess(index, float(number.value), binding))
        self.degrees.take_back(index, reading.axis, _power(number, literal) * binding.power * sign)

    def _binding(self, number: Number, literal: Literal, sign: int, reading: _Reading) -> Binding | None:
        """What a literal stands for if the scalar that it is, or is in, has one of the powers of a reading."""
        size, value = size_of(reading.axis), literal.value
        if isinstance(value, bool) or value <= 0 or size < 2:
            return None
        close = max(_CLOSE, literal.site.error)
        outer = _power(number, literal)
        if not outer or (number is not literal and value == 1):
            return None
        for times in (1, *(reading.times if number is literal else ())):
            for written in _WRITTEN:
                exact = written == 1 and number is not literal
                if outer * written * sign in reading.powers and math.isclose(
                    value, (times * size) ** written, rel_tol=1e-6 if exact else close
                ):
                    return Binding(reading.axis, power=written, factor=float(times) ** written)
        for written in _WRITTEN if reading.sums and size > _SMALL else ():
            fits = outer * written * sign in reading.powers
            if fits and math.isclose(value, (size - 1) ** written, rel_tol=max(_EXACT, literal.site.error)):
                return Binding(reading.axis, power=written, plus=-1)
        return None

    def _tie_divisor(self, number: Number, sign: int, tensor: str, index: int) -> None:
        """Scores by a root of `width // heads`, where the width is taken at run time and the heads are written."""
        quotient = _quotient(number)
        if quotient is None:
            return
        extent, divisor, outer = quotient
        whole = self.algebra.expand(extent.axis)
        for reading in self._readings(index, tensor):
            inner = self.algebra.expand(reading.axis)
            rest = tuple(var for var in whole if var not in inner)
            fits = outer * sign in reading.powers and set(inner) <= set(whole) and size_of(rest) == divisor.value
            if fits and not divisor.site.bindings:
                divisor.site.bind(rest)
            if fits:
                self.degrees.take_back(index, reading.axis, outer * sign)
                return

    def _tie_alpha(self, index: int) -> None:
        """The factor that a Gemm of two activations has as an attribute."""
        node = self.graph.nodes[index]
        alpha = self.graph.attribute(index, "alpha")
        if index not in self.degrees.products or not isinstance(alpha, float) or alpha in (0, 1):
            return
        for growth in self.degrees.of(node.output[0]):
            size = size_of(growth.axis)
            for power in sorted(growth.powers):
                if size > 1 and math.isclose(alpha, size**-power, rel_tol=_CLOSE):
                    self.analysis.attributes.append((index, "alpha", None, Binding(growth.axis, power=-power)))
                    self.degrees.take_back(index, growth.axis, -power)
                    return

    # -- what a scalar may be there for -----------------------------------------------------------------------------

    def _readings(self, index: int, tensor: str) -> Iterator[_Reading]:
        """All readings of a scalar, those that are certain first."""
        doubtful = []
        found = (
            self._of_growth(index, tensor),
            self._of_means(tensor),
            self._of_operands(index, tensor),
            self._of_tables(index, tensor),
        )
        for reading in chain(*found):
            if reading.sure:
                yield reading
            else:
                doubtful.append(reading)
        yield from doubtful
        yield from self._of_projections(tensor)

    def _of_growth(self, index: int, tensor: str) -> Iterator[_Reading]:
        """It takes back what the tensor has grown."""
        maker = maker_of(self.analysis, tensor)
        scores = maker in self.degrees.products
        for growth in self.degrees.of(tensor):
            powers = tuple(-power for power in sorted(growth.powers))
            grows = min(growth.powers) > 0
            entering = not grows and any(True for _ in self.ways.products(self.graph.nodes[index].output[0]))
            summed = grows and len(powers) == 1
            yield _Reading(growth.axis, powers, not entering, _TIMES if scores else (), summed)
            if scores and grows:  # some divide by the root of the whole width
                heads = [
                    var
                    for axis in self.analysis.facts[tensor].axes or ()
                    for var in self.algebra.expand(axis)
                    if AxisRole.BATCH in var.roles and not var.fixed
                ]
                if heads:
                    yield _Reading((*heads, *growth.axis), (-0.5,))

    def _of_means(self, tensor: str) -> Iterator[_Reading]:
        """It makes a sum of a mean: the variance of a sample, or what a whole filter adds up."""
        found = self.degrees.mean_over(tensor)
        if found is not None and size_of(found[0]) > _SMALL:
            yield _Reading(found[0], (1.0,), sure=found[1])

    def _of_operands(self, index: int, tensor: str) -> Iterator[_Reading]:
        """It takes back beforehand what a product with the tensor will grow."""
        made = self.graph.nodes[index].output[0]
        fact = self.analysis.uses.get(_edge_of(self.graph, index, tensor)) or self.analysis.facts.get(tensor)
        if fact is not None and fact.constant:
            for edge in self.ways.contractions(made):
                axis = self.degrees.summed_by(edge)
                if axis:
                    yield _Reading(axis, (-0.5,), times=_GAINS)
            return
        if self.ways.made_by_gate(tensor):
            return
        for edge in self.ways.products(made):
            inner = self.algebra.expand(self.degrees.products[edge.node])
            yield _Reading(inner, (-0.5, -0.25) if self._is_scaled(edge) else (-0.5,))
        for edge in self.graph.consumers.get(made, ()):
            axis = self.degrees.summed_by(edge)
            weight = self.analysis.uses.get(Edge(edge.node, 1 - edge.slot)) if edge.slot < 2 else None
            if axis and weight is not None and weight.constant and size_of(axis) > _SMALL:
                yield _Reading(axis, (-0.5,), sure=False)
        maker = self.graph.producer.get(tensor)
        if maker is not None and maker in self.analysis.summing and len(self.graph.nodes[maker].input) == 2:
            for slot in (0, 1):
                axis = self.degrees.summed_by(Edge(maker, slot))
                if Edge(maker, slot) in self.analysis.uses and axis and size_of(axis) > _SMALL:
                    yield _Reading(axis, (-0.5,), sure=False)

    def _is_scaled(self, edge: Edge) -> bool:
        """True if the other operand of a product is scaled by a number as well: a quarter of the power on each."""
        name = self.graph.nodes[edge.node].input[1 - edge.slot]
        for _ in range(2 * len(_WRITTEN)):
            maker = self.graph.producer.get(name)
            if maker is None:
                return False
            node = self.graph.nodes[maker]
            if record_of(node).has(Trait.SCALES):
                numbers = [self.analysis.scalar_at(maker, slot) for slot in (0, 1)]
                if any(number is not None and isinstance(number.value, float) for number in numbers):
                    return True
            name = next((other for other in node.input if self.ways.roots(other)), node.input[0] if node.input else "")
        return False

    def _of_tables(self, index: int, tensor: str) -> Iterator[_Reading]:
        """Embeddings times the root of their width; as output weights, what is divided by it."""
        axes = list(self.analysis.facts[tensor].axes or ()) if tensor in self.analysis.facts else []
        maker = self.graph.producer.get(tensor)
        if not axes:
            return
        table = maker is not None and Edge(maker, 0) in self.analysis.tables
        if table or _feeds_tied_head(self.analysis, index):
            yield _Reading(self.algebra.expand(axes[-1]), (0.5, -0.5))

    def _of_projections(self, tensor: str) -> Iterator[_Reading]:
        """Scores by the root of the width that queries and keys are projected from."""
        maker = maker_of(self.analysis, tensor)
        if maker is None or maker not in self.degrees.products:
            return
        if not any(min(growth.powers) > 0 for growth in self.degrees.of(tensor)):
            return
        for name in self.graph.nodes[maker].input[:2]:
            for root in self.ways.roots(name):
                made = self.graph.producer.get(root)
                axis = self.degrees.summed_by(Edge(made, 0)) if made is not None else None
                if axis and size_of(axis) > _SMALL:
                    yield _Reading(axis, (-0.5,), sure=False)


def _edge_of(graph: Graph, index: int, tensor: str) -> Edge:
    return Edge(index, list(graph.nodes[index].input).index(tensor))


def _power(number: Number, literal: Literal) -> float:
    """The exponent of a literal in a number that is a product of powers; 0 if it is none."""
    if number is literal:
        return 1.0

    def at(factor: int) -> float:
        return evaluate(number, size_of, lambda other: other.value * (factor if other is literal else 1))

    return _logarithm(at, float(number.value))


def _logarithm(at: Callable[[int], float], value: float) -> float:
    """The power of a factor that a number is times, wherever the factor stands; 0 if there is none."""
    try:
        first, second = (math.log(at(factor) / value) / math.log(factor) for factor in (4, 16))
    except (ArithmeticError, ValueError, TypeError):
        return 0.0
    return round(first, 6) if math.isclose(first, second, abs_tol=1e-6) else 0.0


def _quotient(number: Number) -> tuple[Extent, Literal, float] | None:
    """A size taken at run time, what it is divided by, and the power that a number is of the quotient."""
    waiting: list[Number] = [number]
    while waiting:
        current = waiting.pop()
        if not isinstance(current, Expression):
            continue
        extent, divisor = current.args if current.op == "div" else (None, None)
        if isinstance(extent, Extent) and isinstance(divisor, Literal):

            def at(factor: int, axis: Axis = extent.axis) -> float:
                return evaluate(number, lambda a: size_of(a) * (factor if a == axis else 1), lambda one: one.value)

            power = _logarithm(at, float(number.value))
            return (extent, divisor, power) if power else None
        waiting += current.args
    return None


def maker_of(analysis: Analysis, tensor: str) -> int | None:
    """The node that makes a tensor, those skipped that only move it about."""
    maker = analysis.graph.producer.get(tensor)
    while maker is not None and record_of(analysis.graph.nodes[maker]).has(Trait.VIEW | Trait.REPEATS):
        maker = analysis.graph.producer.get(analysis.graph.nodes[maker].input[0])
    return maker


def _feeds_tied_head(analysis: Analysis, index: int) -> bool:
    """True if nothing but products with an embedding reads what a node makes."""
    graph = analysis.graph
    tables = {graph.read_by(edge) for edge in analysis.tables}
    readers = [edge for name in graph.nodes[index].output for edge in graph.consumers.get(name, ())]
    products = [edge.node for edge in readers if record_of(graph.nodes[edge.node]).has(Trait.PRODUCT)]
    weights = [analysis.origin(Edge(node, 1), 0) for node in products]
    names = {graph.read_by(found[0]) for found in weights if found is not None}
    tied = {name for name in names if name in tables or analysis.transposed.get(name) in tables}
    return bool(readers) and len(weights) == len(readers) and None not in weights and names == tied


def share_meanings(analysis: Analysis, places: Iterable[tuple[Edge, ...]]) -> None:
    """A scalar means what the equal scalars in the same place of other blocks mean."""
    sites: dict[Edge, list[Site]] = {}
    for site in analysis.sites:
        sites.setdefault(Edge(site.node, site.slot), []).append(site)
    for edges in places:
        together = [site for edge in edges for site in sites.get(edge, ())]
        bound = next((site for site in together if site.bindings), None)
        if bound is None or any(site.value != bound.value for site in together) or not isinstance(bound.value, float):
            continue
        for site in together:
            if not site.bindings:
                site.bindings.extend(replace(binding, reader=None) for binding in bound.bindings)
