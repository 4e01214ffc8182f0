"""Degrees: how a tensor grows with the sizes that were summed over on the way to it.

Entries of size one, n of them: their sum of squares grows like n, its root like n^(1/2), and a product of two
activations over n like n^(1/2) if their signs have nothing to do with each other, like n if they have. What is divided
by its own norm shrinks like n^(-1/2). A scalar that takes such a growth back is there for the size, whatever its
spelling; beside a tensor that does not grow, the same number means something else (a temperature).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from front_onnx.axes.numbers import value_of
from front_onnx.axes.size import Axis, size_of
from front_onnx.operators.record import Trait, record_of
from front_onnx.read.arrays import is_uniform
from front_onnx.read.graph import Edge

if TYPE_CHECKING:
    from front_onnx.operators.analysis import Analysis

__all__ = ["STRAIGHT", "Degrees", "Growth"]

STRAIGHT = Trait.MOVES | Trait.MAGNITUDE  # what comes out is as large as what went in
_TO_SOFTMAX = STRAIGHT | Trait.ARITHMETIC | Trait.CHOOSES
_FAR = 48  # nodes that are followed back
_DOT = frozenset((0.5, 1.0))


@dataclass(frozen=True)
class Growth:
    """A tensor grows like the size of `axis` to one of `powers`.

    Attributes:
        axis: what was summed over.
        powers: the exponents that are possible; one, unless products of unrelated signs were added.
    """

    axis: Axis
    powers: frozenset[float]

    def times(self, factor: float) -> Growth:
        """The growth of a power of the tensor."""
        return replace(self, powers=frozenset(factor * power for power in self.powers))


_Degree = dict[tuple[int, ...], Growth]  # by the size variables of the axis


class Degrees:
    """The degrees of an analysed graph's tensors, each found when it is asked for."""

    def __init__(self, analysis: Analysis) -> None:
        self.analysis, self.graph, self.algebra = analysis, analysis.graph, analysis.algebra
        self.products: dict[int, Axis] = {**self._scores_of_weights(), **analysis.products}
        self._known: dict[str, _Degree] = {}
        self._taken: dict[int, list[Growth]] = {}  # by node: what a scalar there takes back

    def of(self, tensor: str) -> list[Growth]:
        """All growths of a tensor."""
        return list(self._degree(tensor, 0).values())

    def take_back(self, node: int, axis: Axis, power: float) -> None:
        """Note that a node scales by a power of a size: what comes after it has grown less."""
        self._taken.setdefault(node, []).append(Growth(axis, frozenset((power,))))
        for name in self.graph.nodes[node].output:
            self._known.pop(name, None)

    def summed_by(self, edge: Edge) -> Axis | None:
        """The axes of an operand that a product sums over, kernels included."""
        fact = self.analysis.uses.get(edge) or self.analysis.facts.get(self.graph.nodes[edge.node].input[edge.slot])
        places = self.analysis.summed.get(edge)
        if places is None or fact is None or not fact.axes:
            return None
        return tuple(var for place in places for var in self.algebra.expand(fact.axes[place]))

    def mean_over(self, tensor: str) -> tuple[Axis, bool] | None:
        """What a tensor is a mean over, and whether nothing has scaled it since; None if it is no mean."""
        plain = True
        for _ in range(_FAR):
            maker = self.graph.producer.get(tensor)
            if maker is None:
                return None
            node, record = self.graph.nodes[maker], record_of(self.graph.nodes[maker])
            if node.op_type == "ReduceMean":
                fact = self.analysis.uses.get(Edge(maker, 0)) or self.analysis.facts.get(node.input[0])
                axes = list(fact.axes or ()) if fact is not None else []
                places = self._reduced_axes(maker, len(axes))
                return None if places is None else (self._joined(axes, places), plain)
            if record.has(Trait.SCALES) and self._number(maker, 1) is not None:
                plain = False
            elif not record.has(STRAIGHT):
                return None
            tensor = node.input[0]
        return None

    def _joined(self, axes: list[Axis], places: list[int]) -> Axis:
        return tuple(var for place in places for var in self.algebra.expand(axes[place]))

    # -- backwards ------------------------------------------------------------------------------------------------

    def _degree(self, tensor: str, far: int) -> _Degree:
        if tensor not in self._known:
            maker = self.graph.producer.get(tensor)
            if maker is None or tensor in self.graph.constants or far > _FAR:
                return {}
            self._known[tensor] = {}
            made = self._made(maker, far + 1)
            for growth in self._taken.get(maker, ()):
                made = self._add(made, self._keyed([growth]))
            self._known[tensor] = {k: g for k, g in made.items() if 0 not in g.powers}
        return self._known[tensor]

    def _keyed(self, growths: list[Growth]) -> _Degree:
        return {tuple(map(id, self.algebra.expand(g.axis))): g for g in growths if size_of(g.axis) > 1}

    def _add(self, left: _Degree, right: _Degree) -> _Degree:
        out = dict(left)
        for key, growth in right.items():
            mine = out.get(key)
            if mine is None:
                out[key] = growth
            else:
                powers = frozenset(a + b for a in mine.powers for b in growth.powers)
                out[key] = Growth(growth.axis, powers)
        return out

    def _made(self, index: int, far: int) -> _Degree:
        node = self.graph.nodes[index]
        kind, inputs, record = node.op_type, list(node.input), record_of(node)
        if index in self.products:
            return self._product(index, far)
        if record.has(Trait.CONTRACTS):
            return self._weighted(index)
        if record.has(STRAIGHT):
            return self._degree(inputs[0], far)
        if record.has(Trait.REDUCES):
            return self._reduced(index, far)
        if record.has(Trait.SOFTMAX):
            return self._softmax(index)
        if record.has(Trait.ROOT):
            return self._times(self._degree(inputs[0], far), 0.5)
        if kind == "Reciprocal":
            return self._times(self._degree(inputs[0], far), -1)
        if kind == "Pow":
            power = self._number(index, 1)
            return {} if power is None else self._times(self._degree(inputs[0], far), power)
        if record.has(Trait.SCALES):
            left, right = (self._degree(name, far) for name in inputs)
            return self._add(left, right if record.has(Trait.MULTIPLIES) else self._times(right, -1))
        if record.has(Trait.SHIFTS) or record.has(Trait.BOUNDS | Trait.CHOOSES):
            return self._beside_constants(index, far)
        return {}

    def _times(self, degree: _Degree, factor: float) -> _Degree:
        return {key: growth.times(factor) for key, growth in degree.items()}

    def _number(self, index: int, slot: int) -> float | None:
        number = self.analysis.scalar_at(index, slot)
        return None if number is None else float(value_of(number))

    def _product(self, index: int, far: int) -> _Degree:
        """Two activations summed over an axis, which both may have been normalised along."""
        inner = self.algebra.expand(self.products[index])
        made = self._keyed([Growth(inner, _DOT)])
        for name in self.graph.nodes[index].input[:2]:
            made = self._add(made, self._degree(name, far))
        return made

    def _weighted(self, index: int) -> _Degree:
        """A weight sums, of any scale that training gave it: it grows where it only adds up."""
        node = self.graph.nodes[index]
        for slot in range(len(node.input)):
            name = node.input[slot]
            fact = self.analysis.uses.get(Edge(index, slot)) or self.analysis.facts.get(name)
            axis = self.summed_by(Edge(index, slot))
            if fact is None or not fact.constant or not axis:
                continue
            ones = name in self.graph.constants and is_uniform(array := self.graph.array(name)) and array.flat[0] == 1
            if ones:
                return self._keyed([Growth(axis, frozenset((1.0,)))])
        return {}

    def _scores_of_weights(self) -> dict[int, Axis]:
        """Products whose queries or keys are parameters: a softmax reads them, so they are activations all the same."""
        found: dict[int, Axis] = {}
        for index, node in enumerate(self.graph.nodes):
            if record_of(node).has(Trait.PRODUCT) and index not in self.analysis.products and len(node.input) == 2:
                axis = self.summed_by(Edge(index, 0))
                if axis and self._scores(node.output[0]):
                    found[index] = axis
        return found

    def _scores(self, tensor: str) -> bool:
        """True if a tensor goes to a softmax, nothing between but views, scalars and masks."""
        for _ in range(_FAR):
            readers = [self.graph.nodes[edge.node] for edge in self.graph.consumers.get(tensor, ())]
            if len(readers) != 1:
                return False
            if record_of(readers[0]).has(Trait.SOFTMAX):
                return True
            if not record_of(readers[0]).has(_TO_SOFTMAX):
                return False
            tensor = readers[0].output[0]
        return False

    def _reduced(self, index: int, far: int) -> _Degree:
        node = self.graph.nodes[index]
        before = self._degree(node.input[0], far)
        fact = self.analysis.facts.get(node.input[0])
        axes = list(fact.axes) if fact is not None and fact.axes is not None else []
        powers = {"ReduceSum": (1, 1), "ReduceL1": (1, 1), "ReduceSumSquare": (1, 2), "ReduceL2": (0.5, 1)}
        if node.op_type not in powers:
            return before if node.op_type in ("ReduceMean", "ReduceMax", "ReduceMin") else {}
        power, raised = powers[node.op_type]
        reduced = self._reduced_axes(index, len(axes))
        if not axes or reduced is None:
            return {}
        summed = self._joined(axes, reduced)
        return self._add(self._keyed([Growth(summed, frozenset((power,)))]), self._times(before, raised))

    def _reduced_axes(self, index: int, rank: int) -> list[int] | None:
        node = self.graph.nodes[index]
        axes = self.graph.attribute(index, "axes")
        if axes is None and len(node.input) > 1 and node.input[1]:
            fact = self.analysis.uses.get(Edge(index, 1)) or self.analysis.facts.get(node.input[1])
            if fact is None or fact.value is None:
                return None
            axes = [int(value_of(number)) for number in fact.value.flat]
        if not axes:
            axes = [] if self.graph.attribute(index, "noop_with_empty_axes") else range(rank)
        return sorted(axis % rank for axis in axes) if rank else None

    def _softmax(self, index: int) -> _Degree:
        """Shares of one: each shrinks like 1/n."""
        node = self.graph.nodes[index]
        axes = list(self.analysis.facts[node.output[0]].axes or ())
        place = int(self.graph.attribute(index, "axis"))
        if not -len(axes) <= place < len(axes):
            return {}
        return self._keyed([Growth(self.algebra.expand(axes[place]), frozenset((-1.0,)))])

    def _beside_constants(self, index: int, far: int) -> _Degree:
        """A tensor to which an epsilon, a bound or a mask is added stays what it is."""
        node = self.graph.nodes[index]
        names = node.input[1:] if record_of(node).has(Trait.CHOOSES) else node.input
        grown = [self._degree(name, far) for slot, name in enumerate(names) if self._is_data(name)]
        if len(grown) == 1:
            return grown[0]
        alike = bool(grown) and all(other == grown[0] for other in grown)
        return grown[0] if alike else {}

    def _is_data(self, name: str) -> bool:
        fact = self.analysis.facts.get(name)
        return name not in self.graph.constants and (fact is None or (fact.value is None and not fact.constant))
