"""What each layer of a target is to make: what the source makes there, less what sums already have.

A layer whose result joins a residual stream makes up for what went wrong before: with the source's sum s, encoded, and
what the target's other operands already are, it is to make P s - skip'. The last one of a block makes the state at the
end of the span that the block stands for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from front_onnx.calibration.layers import Layer
from front_onnx.dims.structure import Structure
from front_onnx.operators.record import Trait, record_of
from front_onnx.read.graph import Edge
from front_onnx.streams.norms import Norm

__all__ = ["Target", "Targets"]

_Sum = tuple[int, tuple[str, ...], tuple[Edge, ...], tuple[Edge, ...]]  # node, what it makes, others, gains before it
_SUMS = 3  # that one result may join, one behind another


@dataclass(frozen=True)
class Target:
    """What a layer or a norm is to make, by the names of the target.

    Attributes:
        plus: tensors of the source that are added up (those that they stand for), encoded like the first.
        minus: where sums read what is taken off, by the source's nodes.
        scaled: gains that the result is multiplied by before it joins them.
        ends: True if it joins the stream for the last time in its block.
    """

    plus: tuple[str, ...]
    minus: tuple[Edge, ...] = ()
    scaled: tuple[Edge, ...] = ()
    ends: bool = False


@dataclass
class Targets:
    """Finds targets in a source graph.

    Attributes:
        structure: the source.
        layers: its layers.
        norms: its norms.
        last: nodes that make the last sum of a block, and all behind them in it.
    """

    structure: Structure
    layers: Mapping[int, Layer]
    norms: Sequence[Norm]
    last: frozenset[int] = field(init=False)

    def __post_init__(self) -> None:
        self.graph = self.structure.graph
        self._norm_of = {node: norm for norm in self.norms for node in norm.nodes}
        self._newest = self._newest_layers()
        self._sums = {node: self._joined(layer) for node, layer in self.layers.items()}
        self.last = self._ends()

    def of(self, layer: Layer) -> Target:
        """What a layer is to make."""
        found = self._sums[layer.node]
        if found is None:
            return Target((layer.output,))
        summed, plus, minus, scaled = found
        return Target(plus, minus, scaled, summed in self.last)

    def of_norm(self, norm: Norm) -> Target:
        """What a norm is to make."""
        return Target((norm.output,))

    def _newest_layers(self) -> dict[str, int]:
        """By tensor, the last layer on the way to it; -1 for none."""
        found: dict[str, int] = {}
        for index, node in enumerate(self.graph.nodes):
            before = [found.get(n, -1) for n in (*node.input, *self.graph.outer_scope.get(index, ())) if n]
            newest = max([index if index in self.layers else -1, *before])
            for name in node.output:
                found[name] = newest
        return found

    def _joined(self, layer: Layer) -> _Sum | None:
        """The sum that a layer's result joins: its node, its operands or result, the others, gains before it."""
        name, scaled = layer.output, list[Edge]()
        found: _Sum | None = None
        others: tuple[Edge, ...] = ()
        for _ in range(_SUMS + 1):
            reader = self.graph.only_reader(name)
            if reader is None:
                return found
            index, name = reader.node, self.graph.nodes[reader.node].input[reader.slot]
            node, record = self.graph.nodes[index], record_of(self.graph.nodes[index])
            norm = self._norm_of.get(index)
            if norm is not None and len(norm.operands) > 1 and name in norm.operands:
                rest = (*others, *self._beside(index, name, norm.operands))
                return (index, norm.operands, rest, tuple(scaled)) if self._ready(rest, layer) else found
            data = [each for each in node.input if each and self.structure.analysis.is_data(each)]
            if record.has(Trait.MULTIPLIES) and len(data) == 1 and len(node.input) == 2 and not others:
                edge = self.graph.stored(Edge(index, 1 - reader.slot))
                if self.graph.read_by(edge) not in self.graph.constants:
                    return found
                scaled.append(edge)
                name = str(node.output[0])
                continue
            if not record.has(Trait.SHIFTS) or node.op_type == "Sub" or len(data) < 2 or len(data) < len(node.input):
                return found
            if not self._same(name, str(node.output[0])):
                return found
            others = (*others, *self._beside(index, name, data))
            if not self._ready(others, layer):
                return found
            name = str(node.output[0])
            found = (index, (name,), others, tuple(scaled))
        return found

    def _beside(self, index: int, name: str, operands: Sequence[str]) -> list[Edge]:
        """The other operands of a sum."""
        return [
            e for e in self.graph.reads[index] if (n := self.graph.nodes[index].input[e.slot]) in operands and n != name
        ]

    def _ready(self, edges: Sequence[Edge], layer: Layer) -> bool:
        """True if the target has decided what leads to some operands before it comes to a layer."""
        names = (self.graph.nodes[edge.node].input[edge.slot] for edge in edges)
        return all(self._newest.get(name, -1) < layer.node for name in names)

    def _same(self, first: str, other: str) -> bool:
        facts = [self.structure.analysis.facts.get(name) for name in (first, other)]
        axes = [fact.axes for fact in facts if fact is not None and fact.axes is not None]
        if len(axes) < 2 or len(axes[0]) != len(axes[1]):
            return False
        return all(self.structure.analysis.algebra.same(x, y) for x, y in zip(*axes, strict=True))

    def _ends(self) -> frozenset[int]:
        """Nodes of the last sum of every unit, and all that stand behind them in it."""
        found: set[int] = set()
        for chain in self.structure.chains:
            for unit, segments in enumerate(chain.units):
                own = self.structure.flow.private(segments)
                rows = {row[unit] for row in chain.nodes.values()}
                sums = [joined[0] for node in own if (joined := self._sums.get(node)) is not None]
                if sums:
                    last = max(*sums, *self._stream_sums(chain.start_of(unit), own | rows), -1)
                    found.update(node for node in own | rows if node >= last)
        return frozenset(found)

    def _stream_sums(self, start: str, nodes: set[int]) -> list[int]:
        """The sums of some nodes by which a state goes on: a block ends with one, whatever its other operand is."""
        stream, found = {start}, []
        for index in sorted(nodes):
            node, record = self.graph.nodes[index], record_of(self.graph.nodes[index])
            if stream.isdisjoint(node.input):
                continue
            data = [name for name in node.input if name and self.structure.analysis.is_data(name)]
            summed = record.has(Trait.SHIFTS) and node.op_type != "Sub" and len(data) > 1
            if summed and self._same(next(name for name in data if name in stream), str(node.output[0])):
                found.append(index)
                stream.update(node.output)
            elif record.has(Trait.VIEW) and node.input[0] in stream:
                stream.update(node.output)
        return found
