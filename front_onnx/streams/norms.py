"""Norms: what is divided by its deviation or root mean square along its last axis, in one operator or written out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from front_onnx.axes.size import Axis
from front_onnx.operators.analysis import Analysis
from front_onnx.operators.record import Trait, record_of
from front_onnx.read.graph import Edge

__all__ = ["Norm", "find_norms"]

_STEPS = 6  # nodes between a mean of squares and the division by its root
_SAME = Trait.VIEW | Trait.REPEATS


@dataclass(frozen=True)
class Norm:
    """A norm over the last axis of a tensor.

    Attributes:
        inputs: what is normalised: one tensor, or several that the operator adds up first.
        output: the result, behind gain and bias.
        nodes: the nodes that it is made of.
        axis: the axis that it takes means over.
        centred: True if the mean is taken away first (LayerNorm); False for a root mean square (RMSNorm).
        gain: where the gain is read; None without one.
        bias: where the bias is read; None without one.
        added: constants that the operator adds to its inputs.
        epsilon: where the epsilon is read; None without one, or if it is an attribute (of `operator`).
        operator: the node of a norm that is one operator.
        plain: False if something computed stands in the place of the gain or the bias.
    """

    inputs: tuple[str, ...]
    output: str
    nodes: frozenset[int]
    axis: Axis
    centred: bool
    gain: Edge | None
    bias: Edge | None
    added: tuple[Edge, ...] = ()
    epsilon: Edge | None = None
    operator: int | None = None
    plain: bool = True


def find_norms(analysis: Analysis) -> list[Norm]:
    """The norms of a graph, in the order of its nodes."""
    return list(_Norms(analysis).run())


class _Norms:
    def __init__(self, analysis: Analysis) -> None:
        self.analysis, self.graph = analysis, analysis.graph

    def run(self) -> Iterator[Norm]:
        for index, node in enumerate(self.graph.nodes):
            record = record_of(node)
            if record.has(Trait.LAYERWISE):
                yield from self._fused(index)
            elif record.has(Trait.SCALES):
                yield from self._written(index)

    def _last(self, name: str) -> Axis | None:
        fact = self.analysis.facts.get(name)
        return self.analysis.algebra.expand(fact.axes[-1]) if fact is not None and fact.axes else None

    def _fused(self, index: int) -> Iterator[Norm]:
        node, record = self.graph.nodes[index], record_of(self.graph.nodes[index])
        axis = self._last(node.output[0])
        rank = len(self.analysis.facts[node.output[0]].axes or ()) if axis is not None else 0
        last = int(self.graph.attribute(index, "axis", -1) or -1)
        if axis is None or last not in (-1, rank - 1):
            return
        slots = {what: slot for slot, what in record.parameters.items() if self._given(index, slot)}
        gain, bias = (Edge(index, slots[w]) if w in slots else None for w in ("gain", "bias"))
        others = [slot for slot in range(len(node.input)) if slot not in record.parameters and node.input[slot]]
        inputs = [name for slot in others if self._is_data(name := node.input[slot]) and self._last(name) == axis]
        added = [Edge(index, slot) for slot in others if not self._is_data(node.input[slot])]
        plain = all(edge is None or edge in self.analysis.uses for edge in (gain, bias))
        sums = [name for name in node.output[1:] if name and self._last(name) == axis]  # the sum before the norm
        yield Norm(
            (*inputs, *sums),
            node.output[0],
            frozenset((index,)),
            axis,
            record.has(Trait.CENTRES),
            gain,
            bias,
            tuple(added),
            operator=index,
            plain=plain,
        )

    def _given(self, index: int, slot: int) -> bool:
        node = self.graph.nodes[index]
        return slot < len(node.input) and bool(node.input[slot])

    def _is_data(self, name: str) -> bool:
        fact = self.analysis.facts.get(name)
        return name not in self.graph.constants and not (fact is not None and fact.constant)

    # -- written out ------------------------------------------------------------------------------------------------

    def _written(self, index: int) -> Iterator[Norm]:
        """A division by a root of a mean of squares, then perhaps a gain and a bias."""
        node = self.graph.nodes[index]
        if len(node.input) != 2 or not all(map(self._is_data, node.input)):
            return
        for slot in (1,) if record_of(node).has(Trait.DIVIDES) else (1, 0):
            root = self._root(node.input[slot])
            if root is None:
                continue
            squared, nodes, epsilon = root
            over = self._through(node.input[1 - slot])
            if over != squared:
                continue
            axis = self._last(node.output[0])
            centre = self._centre(over)
            start = over if centre is None else centre[0]
            if axis is None:
                continue
            nodes |= {index} | (set() if centre is None else centre[1])
            output, gain, bias, own, plain = self._parameters(node.output[0])
            yield Norm(
                (start,), output, frozenset(nodes | own), axis, centre is not None, gain, bias, (), epsilon, None, plain
            )
            return

    def _through(self, name: str) -> str:
        """A tensor before casts."""
        while (maker := self.graph.producer.get(name)) is not None and self.graph.nodes[maker].op_type == "Cast":
            name = self.graph.nodes[maker].input[0]
        return name

    def _root(self, name: str) -> tuple[str, set[int], Edge | None] | None:
        """What the mean of squares behind a root (or one over it) is of, the nodes between, and the epsilon's place."""
        nodes: set[int] = set()
        epsilon: Edge | None = None
        rooted = False
        for _ in range(_STEPS):
            maker = self.graph.producer.get(name)
            if maker is None:
                return None
            node, record = self.graph.nodes[maker], record_of(self.graph.nodes[maker])
            nodes.add(maker)
            data = [slot for slot, each in enumerate(node.input) if each and self._is_data(each)]
            if record.has(Trait.REDUCES):
                squared = self._squared(node.input[0])
                taken = rooted and node.op_type == "ReduceMean" and squared is not None
                return (squared[0], nodes | squared[1], epsilon) if taken and squared is not None else None
            if record.has(Trait.ROOT) or node.op_type == "Pow":
                rooted = True
            elif record.has(Trait.SHIFTS) and len(data) == 1:
                if epsilon is not None:
                    return None
                epsilon = Edge(maker, 1 - data[0])
            elif not (record.has(_SAME) or node.op_type in ("Reciprocal", "Div")):
                return None
            if len(data) != 1:
                return None
            name = node.input[data[0]]
        return None

    def _squared(self, name: str) -> tuple[str, set[int]] | None:
        """What a tensor is the square of."""
        maker = self.graph.producer.get(name)
        if maker is None:
            return None
        node = self.graph.nodes[maker]
        if node.op_type == "Cast":
            return self._squared(node.input[0])
        if node.op_type == "Mul" and node.input[0] == node.input[1]:
            return self._through(node.input[0]), {maker}
        if node.op_type == "Pow":
            power = self.graph.constants.get(node.input[1])
            if power is not None and float(self.graph.array(node.input[1]).reshape(-1)[0]) == 2:
                return self._through(node.input[0]), {maker}
        return None

    def _centre(self, name: str) -> tuple[str, set[int]] | None:
        """What a tensor is without its own mean."""
        maker = self.graph.producer.get(name)
        node = self.graph.nodes[maker] if maker is not None else None
        if node is None or maker is None or node.op_type != "Sub":
            return None
        mean = self.graph.producer.get(node.input[1])
        if mean is None or self.graph.nodes[mean].op_type != "ReduceMean":
            return None
        start = self._through(node.input[0])
        return (start, {maker, mean}) if self._through(self.graph.nodes[mean].input[0]) == start else None

    def _parameters(self, name: str) -> tuple[str, Edge | None, Edge | None, set[int], bool]:
        """The result behind a gain and a bias, where those are read, the nodes, and False for what is computed."""
        found: dict[str, Edge] = {}
        nodes: set[int] = set()
        for what, trait in (("gain", Trait.MULTIPLIES), ("bias", Trait.SHIFTS)):
            while len(readers := self.graph.consumers.get(name, ())) == 1:
                edge = next(iter(readers))
                node = self.graph.nodes[edge.node]
                if node.op_type == "Cast":
                    nodes.add(edge.node)
                    name = node.output[0]
                    continue
                other = node.input[1 - edge.slot] if len(node.input) == 2 else ""
                if record_of(node).has(trait) and other and not self._is_data(other) and node.op_type != "Sub":
                    if other not in self.graph.constants:
                        return name, None, None, nodes, False
                    if len(self.graph.constants[other].dims) == 0:
                        break
                    found[what] = Edge(edge.node, 1 - edge.slot)
                    nodes.add(edge.node)
                    name = node.output[0]
                break
        return name, found.get("gain"), found.get("bias"), nodes, True
