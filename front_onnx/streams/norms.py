"""Norms: what is divided by its deviation or root mean square along its last axis, in one operator or written out.

Exporters write norms out in a dozen ways (E[x^2] - mean^2, a gain that is multiplied into one over the root, means by
pooling). They are known by what they compute: the nodes that only a tensor and constants lead to are run on noise, and
a result that is the tensor normalised, times a constant, plus another, is a norm.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from front_onnx.axes.size import Axis, size_of
from front_onnx.operators.analysis import Analysis
from front_onnx.operators.record import Trait, record_of
from front_onnx.read.graph import Edge
from front_onnx.read.tensor_data import numpy_type
from front_onnx.streams.local import between, computed, local_nodes, noise_like

__all__ = ["Norm", "find_norms"]

_MEANS = ("ReduceMean", "GlobalAveragePool")  # tf2onnx pools over a last axis that it takes for a spatial one
_EPSILON = 0.1  # the largest


@dataclass(frozen=True)
class Norm:
    """A norm over the last axis of a tensor.

    Attributes:
        inputs: what is normalised: one tensor, or several that the operator adds up first, with `sums`.
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
        sums: of `inputs`, those that the operator gives.
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
    sums: tuple[str, ...] = ()

    @property
    def operands(self) -> tuple[str, ...]:
        """What is added up to what is normalised."""
        return tuple(name for name in self.inputs if name not in self.sums)


_FOUND: WeakKeyDictionary[Analysis, list[Norm]] = WeakKeyDictionary()  # those that are written out are run to be seen


def find_norms(analysis: Analysis) -> list[Norm]:
    """The norms of a graph, in the order of its nodes."""
    if analysis not in _FOUND:
        _FOUND[analysis] = sorted(_Norms(analysis).run(), key=lambda norm: max(norm.nodes))
    return _FOUND[analysis]


class _Norms:
    def __init__(self, analysis: Analysis) -> None:
        self.analysis, self.graph = analysis, analysis.graph

    def run(self) -> Iterator[Norm]:
        started: set[str] = set()
        made: set[str] = set()  # what is normalised without its mean is no root mean square besides
        for index, node in enumerate(self.graph.nodes):
            if record_of(node).has(Trait.LAYERWISE):
                yield from self._fused(index)
            elif node.op_type in _MEANS and self._over_last(index):
                for start in self._starts(node.input[0]):
                    if start not in started:
                        started.add(start)
                        norm = self._written(start)
                        if norm is not None and norm.output not in made:
                            made.add(norm.output)
                            yield norm
                            break

    def _axes(self, name: str) -> list[Axis]:
        fact = self.analysis.facts.get(name)
        return [self.analysis.algebra.expand(axis) for axis in (fact.axes or () if fact is not None else ())]

    # -- one operator -----------------------------------------------------------------------------------------------

    def _fused(self, index: int) -> Iterator[Norm]:
        node, record = self.graph.nodes[index], record_of(self.graph.nodes[index])
        axes = self._axes(node.output[0])
        last = int(self.graph.attribute(index, "axis", -1) or -1)
        if not axes or last not in (-1, len(axes) - 1):
            return
        slots = {what: slot for slot, what in record.parameters.items() if slot < len(node.input) and node.input[slot]}
        read = {what: self.graph.stored(Edge(index, slot)) for what, slot in slots.items()}
        gain, bias = read.get("gain"), read.get("bias")
        others = [slot for slot in range(len(node.input)) if slot not in record.parameters and node.input[slot]]
        streams = [slot for slot in others if self.analysis.is_data(node.input[slot])]
        inputs = [node.input[slot] for slot in streams if self._axes(node.input[slot])[-1:] == axes[-1:]]
        added = [self.graph.stored(Edge(index, slot)) for slot in others if slot not in streams]
        sums = [name for name in node.output[1:] if name and self._axes(name)[-1:] == axes[-1:]]  # before the norm
        yield Norm(
            (*inputs, *sums),
            node.output[0],
            frozenset((index,)),
            axes[-1],
            record.has(Trait.CENTRES),
            gain,
            bias,
            tuple(added),
            operator=index,
            plain=all(edge is None or edge in self.analysis.uses for edge in (gain, bias)),
            sums=tuple(sums),
        )

    # -- written out ------------------------------------------------------------------------------------------------

    def _over_last(self, index: int) -> bool:
        """True if a node folds the last axis that its input has, or one that a view has moved."""
        before = self._axes(self.graph.nodes[index].input[0])
        after = self._axes(self.graph.nodes[index].output[0])
        gone = [axis for axis in before if axis not in after and size_of(axis) > 1]
        return len(gone) == 1

    def _starts(self, name: str) -> Iterator[str]:
        """What may be normalised where a mean is taken: the tensor, what it was made of, nearest first."""
        for _ in range(4):
            yield name
            maker = self.graph.producer.get(name)
            if maker is None:
                return
            node, record = self.graph.nodes[maker], record_of(self.graph.nodes[maker])
            square = node.op_type == "Pow" or (node.op_type == "Mul" and len(set(node.input)) == 1)
            if not (square or record.has(Trait.VIEW) or node.op_type == "Sub"):
                return
            name = str(node.input[0])

    def _written(self, start: str) -> Norm | None:
        axes = self._axes(start)
        fact = self.analysis.facts.get(start)
        if not axes or fact is None or size_of(axes[-1]) < 2:
            return None
        nodes = local_nodes(self.graph, start, _MEANS)
        if len(nodes) < 3:
            return None
        noise = noise_like(axes)
        made = computed(self.graph, start, nodes, noise)
        if made is None:
            return None
        for index in reversed(nodes):
            output = str(self.graph.nodes[index].output[0])
            if self._axes(output) == axes and output in made:
                norm = self._known(start, output, nodes, noise, made)
                if norm is not None:
                    return norm
        return None

    def _known(
        self, start: str, output: str, nodes: list[int], noise: np.ndarray, made: dict[str, np.ndarray]
    ) -> Norm | None:
        """The norm that a tensor is the result of, if it is one."""
        edges = [
            (Edge(index, slot), name) for index in nodes for slot, name in enumerate(self.graph.nodes[index].input)
        ]
        constants = {e: np.asarray(self.graph.array(n), np.float64) for e, n in edges if self._is_float(n)}
        vectors = {e: a.reshape(-1) for e, a in constants.items() if a.size == noise.shape[-1]}
        small = [
            (e, float(a.reshape(-1)[0])) for e, a in constants.items() if a.size == 1 and 0 < abs(a).max() < _EPSILON
        ]
        rows = -1, noise.shape[-1]  # a vector is one
        x = np.asarray(noise.astype(made[output].dtype), np.float64).reshape(rows)
        result = np.asarray(made[output], np.float64).reshape(rows)
        for centred in (True, False):
            rest = x - x.mean(-1, keepdims=True) if centred else x
            for place, epsilon in (*small, (None, 0.0)):
                normed = rest / np.sqrt((rest**2).mean(-1, keepdims=True) + epsilon)
                for gain, scale in (*vectors.items(), (None, np.ones(1))):
                    for bias, shift in (*vectors.items(), (None, np.zeros(1))):
                        if _close(normed[:1] * scale + shift, result[:1]) and _close(normed * scale + shift, result):
                            own = between(self.graph, start, output, nodes)
                            axis = self._axes(start)[-1]
                            return Norm((start,), output, own, axis, centred, gain, bias, (), place, None, True)
        return None

    def _is_float(self, name: str) -> bool:
        tensor = self.graph.constants.get(name)
        return tensor is not None and numpy_type(tensor).kind not in "iub"


def _close(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((np.abs(a - b) <= 1e-3 + 1e-3 * np.abs(b)).all())
