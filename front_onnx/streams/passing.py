"""Feed-forward layers that can pass a number on: two of their units do, if act(a) - act(-a) is a multiple of a.

So it is for Relu, Gelu, SiLU and others, in one operator or written out; what lies between the two weights is run to
see it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from front_onnx.axes.size import SizeVar
from front_onnx.operators.analysis import Analysis
from front_onnx.operators.record import Trait, record_of
from front_onnx.read.graph import Edge
from front_onnx.streams.local import small_session

__all__ = ["Passing", "find_passing"]

_STEPS = 12  # nodes of an activation that is written out
_TRIED = np.linspace(-6, 6, 49)


@dataclass(frozen=True)
class Passing:
    """A feed-forward layer.

    Attributes:
        into: where its first weight is read.
        bias: where the bias behind it is read; None without one.
        out: where its last weight is read.
        result: the tensor that the last weight makes.
        units: the size variable of its units.
        slope: act(a) - act(-a) over a.
    """

    into: Edge
    bias: Edge | None
    out: Edge
    result: str
    units: SizeVar
    slope: float


def find_passing(analysis: Analysis, tensor: str) -> Iterator[Passing]:
    """The feed-forward layers that read a tensor."""
    search = _Search(analysis)
    for node in search.readers(tensor):
        found = search.behind(node)
        if found is not None:
            yield found


class _Search:
    def __init__(self, analysis: Analysis) -> None:
        self.analysis, self.graph, self.algebra = analysis, analysis.graph, analysis.algebra

    def readers(self, tensor: str) -> Iterator[int]:
        """The nodes that read a tensor, through views that leave its last axis as it is."""
        for edge in self.graph.consumers.get(tensor, ()):
            if self._passes(edge.node):
                yield from self.readers(str(self.graph.nodes[edge.node].output[0]))
            else:
                yield edge.node

    def _last(self, tensor: str) -> tuple[SizeVar, ...] | None:
        fact = self.analysis.facts.get(tensor)
        return self.algebra.expand(fact.axes[-1]) if fact is not None and fact.axes else None

    def behind(self, node: int) -> Passing | None:
        into = self._weight(node)
        if into is None:
            return None
        tensor, bias = self._biased(self.graph.nodes[node].output[0], node, into)
        last = self._last(tensor) or ()
        if len(last) != 1 or last[0].parts is not None:
            return None
        found = self._activation(tensor)
        if found is None:
            return None
        nodes, end, reader = found
        out = self._weight(reader)
        slope = self._slope(nodes, tensor, end)
        if out is None or slope is None:
            return None
        return Passing(into, bias, out, str(self.graph.nodes[reader].output[0]), last[0], slope)

    def _weight(self, node: int) -> Edge | None:
        """Where the weight that a node sums over is read, by the node or by views before it."""
        for slot, name in enumerate(self.graph.nodes[node].input):
            places = self.analysis.summed.get(Edge(node, slot))
            fact = self.analysis.uses.get(Edge(node, slot)) or self.analysis.facts.get(name)
            if places is None or fact is None or not fact.constant or len(places) != 1:
                continue
            origin = self.analysis.origin(Edge(node, slot), places[0])
            if origin is not None and origin[0] in self.analysis.contractions:
                return origin[0]
        return None

    def _biased(self, tensor: str, node: int, into: Edge) -> tuple[str, Edge | None]:
        """The result with its bias, and where that is read."""
        given = self.graph.nodes[node].input
        if len(given) > 2 and given[2] in self.graph.constants:
            return tensor, Edge(node, 2)
        readers = list(self.graph.consumers.get(tensor, ()))
        while len(readers) == 1 and self._passes(readers[0].node):
            tensor = str(self.graph.nodes[readers[0].node].output[0])
            readers = list(self.graph.consumers.get(tensor, ()))
        if len(readers) == 1:
            edge = readers[0]
            reader = self.graph.nodes[edge.node]
            other = 1 - edge.slot
            added = record_of(reader).has(Trait.SHIFTS) and len(reader.input) == 2 and reader.op_type != "Sub"
            held = self.graph.constants.get(reader.input[other]) if added else None
            if held is not None and held.dims:
                return str(reader.output[0]), Edge(edge.node, other)
        return tensor, None

    def _passes(self, node: int) -> bool:
        """True for a view that leaves the last axis as it is."""
        found = self.graph.nodes[node]
        return record_of(found).has(Trait.VIEW) and self._last(found.output[0]) == self._last(found.input[0])

    def _activation(self, tensor: str) -> tuple[list[int], str, int] | None:
        """The nodes from a tensor to the one contraction that reads what they make: (nodes, their result, reader)."""
        inside = {tensor}
        nodes: list[int] = []
        waiting = sorted({edge.node for edge in self.graph.consumers.get(tensor, ())})
        end: tuple[str, int] | None = None
        while waiting:
            index = waiting.pop(0)
            if index in nodes:
                continue
            node, record = self.graph.nodes[index], record_of(self.graph.nodes[index])
            if record.has(Trait.MEASURES):
                continue  # only its size is read
            if record.has(Trait.CONTRACTS):
                if end is not None or node.input[0] not in inside:
                    return None
                end = (str(node.input[0]), index)
                continue
            simple = record.has(Trait.BENDS | Trait.ARITHMETIC | Trait.MAGNITUDE | Trait.ROOT) or node.op_type in (
                "Cast",
                "Pow",
                "Sigmoid",
                "Erf",
                "Identity",
            )
            known = all(name in inside or self._is_scalar(name) for name in node.input if name)
            if not ((simple and known) or self._passes(index)) or len(nodes) >= _STEPS:
                return None
            nodes.append(index)
            inside.add(str(node.output[0]))
            # In the order of the graph: what a node needs comes before it.
            waiting = sorted({*waiting, *(edge.node for edge in self.graph.consumers.get(node.output[0], ()))})
        if end is None or not nodes:
            return None
        return nodes, *end

    def _is_scalar(self, name: str) -> bool:
        return name in self.graph.constants and self.graph.array(name).size == 1

    def _slope(self, nodes: list[int], start: str, end: str) -> float | None:
        """act(a) - act(-a) over a, if that is one number."""
        found = [self.graph.nodes[index].proto for index in nodes]
        found = [
            helper.make_node("Identity", node.input[:1], node.output[:1]) if self._passes(index) else node
            for index, node in zip(nodes, found, strict=True)
        ]
        held = {name for node in found for name in node.input if name in self.graph.constants}
        tensors = [numpy_helper.from_array(np.asarray(self.graph.array(name)), name) for name in sorted(held)]
        fact = self.graph.model.proto
        kind = next((t.data_type for t in tensors if t.data_type in (1, 10, 11)), onnx.TensorProto.FLOAT)
        graph = helper.make_graph(
            found,
            "activation",
            [helper.make_tensor_value_info(start, kind, [None])],
            [helper.make_tensor_value_info(end, kind, [None])],
            tensors,
        )
        model = helper.make_model(graph, opset_imports=fact.opset_import, ir_version=fact.ir_version)
        tried = _TRIED.astype(helper.tensor_dtype_to_np_dtype(kind))
        try:
            session = small_session(model)
            there, back = (np.asarray(session.run([end], {start: x})[0], np.float64) for x in (tried, -tried))
        except Exception:  # an activation that onnxruntime does not run by itself passes nothing on
            return None
        slope = (there - back)[-1] / tried[-1]
        exact = np.allclose(there - back, slope * tried, atol=1e-5)
        return float(slope) if exact and slope > 0.1 else None
