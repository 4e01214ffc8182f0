"""Which constants of a graph are learned, and which are computed, counted or measured: what training may change.

A float constant is learned if a gradient can reach it and the graph uses it as a weight: it is summed over, looked up
by data, scales or shifts a norm, or is added to or multiplied with activations along an axis that weights have too.
Not learned are single numbers (a scale of attention, an epsilon), tables behind a formula (rotary angles, sines of
positions, slopes), masks, coordinates, what normalises raw inputs, settings of operators, running statistics, and what
is written in Constant nodes where weights are initializers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from front_onnx.errors import FrontError
from front_onnx.plan.scalars import continued
from front_onnx.read.graph import Edge, Graph, attribute
from front_onnx.read.tensor_data import is_float, numpy_type
from front_onnx.understand.analysis import Analysis, understand
from front_onnx.understand.atoms import Atom, size_of
from front_onnx.understand.computed import feeds_root, feeds_waves, is_filled, made_of_waves, recomputed
from front_onnx.understand.copies import copies
from front_onnx.understand.structure import Structure, find_structure

__all__ = ["UNREACHED", "Learned", "find_learned"]

UNREACHED = "no gradient reaches it"

# Operators through which no gradient passes, and the inputs of others that are settings.
_NO_GRADIENT = frozenset(
    "Shape Size Equal Less LessOrEqual Greater GreaterOrEqual ArgMax ArgMin NonZero IsNaN IsInf Not And Or Xor Range "
    "ConstantOfShape EyeLike OneHot Sign Floor Ceil Round Bernoulli RandomNormalLike RandomUniformLike".split()
)
_SETTINGS = {
    "Clip": (1, 2),
    "CumSum": (1,),
    "Dropout": (1, 2),
    "Expand": (1,),
    "Pad": (1, 2, 3),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "Slice": (1, 2, 3, 4),
    "Tile": (1,),
    "TopK": (1,),
    "Upsample": (1,),
}
# Operators that do not say what a constant is for: it is told by its axes.
_PLAIN = frozenset(
    "Add Sub Mul Div Sum Mean Max Min Pow Where Concat Expand Reshape Transpose Slice Cast Identity Tile Unsqueeze "
    "Squeeze Split Flatten Gather GatherElements GatherND ScatterND ScatterElements Pad Loop Scan If Softmax Neg "
    "Exp Sigmoid Tanh Softplus ReduceMean ReduceSum ReduceL2 Sqrt".split()
)
_LOOKING_UP = frozenset(("Gather", "GatherND", "GatherElements", "Slice"))
_MOVING = frozenset(
    "Cast Identity Transpose Reshape Unsqueeze Squeeze Flatten Expand Slice Split Concat Mul Div Sub "
    "BatchNormalization InstanceNormalization LayerNormalization".split()
)
_WHOLE = frozenset((TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL, TensorProto.UINT8, TensorProto.INT8))
_MASKED = -100.0  # what masks add where nothing is to be seen, or less


@dataclass(frozen=True)
class Learned:
    """What training may change.

    Attributes:
        names: float constants that are learned.
        others: other float constants, with the reason.
        statistics: those of the others that training updates without a gradient.
        copies: constants that hold another one with its axes in another order: (its name, the order, the shape).
    """

    names: frozenset[str]
    others: dict[str, str]
    statistics: frozenset[str]
    copies: dict[str, tuple[str, tuple[int, ...], tuple[int, ...]]]


def find_learned(graph: Graph) -> Learned:
    """Tell the learned constants of a graph from the others."""
    return _Finder(graph).run()


class _Finder:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.structure: Structure | None = None
        try:
            self.structure = find_structure(graph)
        except FrontError:  # no chains that could be told: nothing is said of the numbers of blocks
            self.analysis: Analysis = understand(graph)
        else:
            self.analysis = self.structure.analysis
        self.edges: dict[str, list[Edge]] = {}
        for name in graph.constants:
            for edge in graph.consumers.get(name, ()):
                self.edges.setdefault(graph.constant_name(name), []).extend(graph.within(edge))
        self.reaching = _reaching(graph)
        self.raw = _raw_tensors(graph)
        self.varying = _varying(graph)
        self.tables: set[str] = set()  # looked up by data, and used in no other way that says what they are
        self.weights = self._weights()
        kept = sum(name in graph.initializers for name in self.weights - self.tables)
        self.inline = 2 * kept < len(self.weights - self.tables)  # the file has its weights in Constant nodes
        self.atoms: Counter[Atom | int] = Counter()
        for name in self.weights:
            self.atoms.update(size for size in self.graph.constants[name].dims if size > 1)
            for edge in self.edges.get(name, ()):
                self.atoms.update(self._features(edge))

    def run(self) -> Learned:
        names, others, statistics = set(), {}, set()
        for name, tensor in self.graph.constants.items():
            if self.graph.constant_name(name) != name or not is_float(numpy_type(tensor)):
                continue
            edges = self.edges.get(name, [])
            why = self._why_not(name, edges)
            if why is None:
                names.add(name)
            else:
                others[name] = why
            if any(self._is_statistic(edge) for edge in edges):
                statistics.add(name)
        for name in self._numbers_of_blocks():
            names.add(name)
            others.pop(name, None)
        return Learned(frozenset(names), others, frozenset(statistics), self._copies(names))

    def _why_not(self, name: str, edges: list[Edge]) -> str | None:
        array = self.graph.array(name)
        if any(self._is_statistic(edge) for edge in edges):
            return "running statistics"
        if array.size == 0 or not any(edge in self.reaching for edge in edges):
            return UNREACHED
        strong = name in self.weights - self.tables
        if array.size == 1 and not (strong and array.ndim):
            return "a single number"
        if any(feeds_root(self.graph, edge) for edge in edges):
            return "a variance"
        vector = max(array.shape) == array.size
        if vector and any(feeds_waves(self.graph, edge) for edge in edges):
            return "computed: it is read by a sine or cosine"
        if strong:
            written = name not in self.graph.initializers and is_filled(array)
            return "one value everywhere, in a node of its own: the exporter's" if written else None
        if name not in self.graph.initializers and not self.inline:
            return "a constant of the graph's: weights are initializers here"
        if not np.isfinite(array).all() or _is_mask(array):
            return "a mask"
        if any(feeds_waves(self.graph, edge) for edge in edges):
            return "computed: it is read by a sine or cosine"
        if not is_filled(array) and (recomputed(array, array.shape) is not None or made_of_waves(array)):
            return "computed: it follows a formula"
        if name in self.tables:
            return None
        if vector and all(self._meets_raw_input(edge) for edge in edges):
            return "it normalises raw inputs"
        own = self._own(edges)
        if not any(self.atoms[atom] > own[atom] for edge in edges for atom in self._features(edge)):
            return "no weight has one of its axes"
        return None

    def _is_statistic(self, edge: Edge) -> bool:
        return self.graph.nodes[edge.node].op_type == "BatchNormalization" and edge.slot in (3, 4)

    def _is_plain(self, edge: Edge) -> bool:
        """True where the operator does not say that a constant is a weight."""
        node = self.graph.nodes[edge.node]
        if node.op_type in _LOOKING_UP:
            return edge.slot != 0 or self._constant_only(node.input[1])
        if node.op_type in ("MatMul", "Gemm", "Einsum"):
            others = [name for slot, name in enumerate(node.input[:2]) if slot != edge.slot]
            return edge.slot == 0 and all(self._constant_only(name) for name in others)
        return node.op_type in _PLAIN

    def _constant_only(self, name: str) -> bool:
        """True for a tensor that is made of constants alone."""
        return name in self.graph.constants or name not in self.varying

    def _weights(self) -> set[str]:
        """Constants that some operator reads as weights, as they are or after being moved, cast or standardised."""
        found: dict[str, set[str]] = {}
        for name, edges in self.edges.items():
            for edge in edges:
                if self._is_weight(edge):
                    found.setdefault(name, set()).add(self.graph.nodes[edge.node].op_type)
        for index, node in enumerate(self.graph.nodes):
            for slot, name in enumerate(node.input):
                if name not in self.graph.constants and self._is_weight(Edge(index, slot)):
                    for origin in self._behind(name):
                        found.setdefault(origin, set()).add(node.op_type)
        self.tables = {name for name, kinds in found.items() if kinds <= _LOOKING_UP}
        return set(found)

    def _is_weight(self, edge: Edge) -> bool:
        return edge in self.reaching and not self._is_plain(edge) and not self._is_statistic(edge)

    def _behind(self, name: str) -> set[str]:
        """The constants that a tensor is made of which no input flows into."""
        found, waiting, seen = set(), [name], {name}
        while waiting:
            name = waiting.pop()
            if name in self.graph.constants:
                found.add(self.graph.constant_name(name))
            elif name not in self.varying and name in self.graph.producer:
                index = self.graph.producer[name]
                for slot, other in enumerate(self.graph.nodes[index].input):
                    if Edge(index, slot) in self.reaching and self._moves(index, slot) and other not in seen:
                        seen.add(other)
                        waiting.append(other)
        return found

    def _moves(self, index: int, slot: int) -> bool:
        """True where an operator hands its input on as the same weight: it is moved, cast or standardised."""
        return slot == 0 and self.graph.nodes[index].op_type in _MOVING

    def _features(self, edge: Edge) -> set[Atom | int]:
        """The atoms of a reading that are more than 1 large; its sizes where the axes could not be followed."""
        fact = self.analysis.uses.get(edge)
        if self.analysis.troubles or fact is None or fact.axes is None:
            name = self.graph.nodes[edge.node].input[edge.slot]
            return (
                {size for size in self.graph.constants[name].dims if size > 1}
                if name in self.graph.constants
                else set()
            )
        return {atom for axis in fact.axes for atom in self.analysis.algebra.free_atoms(axis) if size_of((atom,)) > 1}

    def _own(self, edges: list[Edge]) -> Counter[Atom | int]:
        """How often the weights that sum over a constant have its atoms: a table of coordinates has no others."""
        found: Counter[Atom | int] = Counter()
        for edge in edges:
            node = self.graph.nodes[edge.node]
            if node.op_type in ("MatMul", "Gemm", "Einsum"):
                for other in (Edge(edge.node, slot) for slot in range(2) if slot != edge.slot):
                    if other in self.analysis.uses:
                        found.update(self._features(other))
        return found

    def _meets_raw_input(self, edge: Edge) -> bool:
        node = self.graph.nodes[edge.node]
        others = [name for slot, name in enumerate(node.input) if slot != edge.slot]
        return node.op_type in ("Add", "Sub", "Mul", "Div") and all(name in self.raw for name in others)

    def _numbers_of_blocks(self) -> Iterator[str]:
        """Single numbers that differ from block to block and are no plain sequence: learned gains."""
        for chain in self.structure.chains if self.structure is not None else ():
            for edges in chain.places.values():
                names = [self.graph.read_by(edge) for edge in edges]
                arrays = [self.graph.array(name) for name in names]
                if len(names) < 2 or any(a.size != 1 or a.dtype.kind in "iub" for a in arrays):
                    continue
                values = [float(a.reshape(-1)[0]) for a in arrays]
                reached = all(any(e in self.reaching for e in self.edges.get(name, [])) for name in names)
                if reached and len(set(values)) > 1 and continued(values, chain.layers) is None:
                    yield from names

    def _copies(self, names: set[str]) -> dict[str, tuple[str, tuple[int, ...], tuple[int, ...]]]:
        found: dict[str, tuple[str, tuple[int, ...], tuple[int, ...]]] = {}
        for name, table in self.analysis.transposed.items():
            found[name] = (table, (1, 0), self.graph.array(name).shape)
        for plain, other, order in copies(self.analysis):
            name, origin = self.graph.read_by(plain), self.graph.read_by(other)
            taken = {copy[0] for copy in found.values()}  # no copy of a copy
            if name not in found and origin not in found and name not in taken:
                back = tuple(int(place) for place in np.argsort(order))
                found[name] = (origin, back, self.graph.array(name).shape)
        return {n: copy for n, copy in found.items() if n in names and copy[0] in names}


def _is_mask(array: np.ndarray) -> bool:
    """True for tensors of zeros and something far below, or of two values only."""
    flat = array.reshape(-1)
    if flat.size < 4 or is_filled(array):
        return False
    low, high = flat.min(), flat.max()
    return bool(((flat == low) | (flat == high)).all()) and (flat.size > 16 or high <= 0 >= _MASKED >= low)


def _reaching(graph: Graph) -> set[Edge]:
    """The node inputs from which a gradient of a float output comes back."""
    found: set[Edge] = set()
    waiting = [name for name in graph.outputs if _type_of(graph, name) not in _WHOLE]
    seen = set(waiting)
    while waiting:
        index = graph.producer.get(waiting.pop())
        if index is None:
            continue
        node = graph.nodes[index]
        if node.op_type in _NO_GRADIENT or (node.op_type == "Cast" and attribute(node, "to") in _WHOLE):
            continue
        settings = _SETTINGS.get(node.op_type, ())
        names = []
        for slot, name in enumerate(node.input):
            if name and slot not in settings and not (node.op_type == "Where" and slot == 0):
                found.add(Edge(index, slot))
                found.update(graph.within(Edge(index, slot)))
                names.append(name)
        for body in graph.layout.bodies.get(index, {}).values():
            names += body.outputs
        for name in names:
            if name not in seen:
                seen.add(name)
                waiting.append(name)
    return found


def _varying(graph: Graph) -> set[str]:
    """Tensors that inputs of the graph flow into."""
    found = {v.name for v in graph.inputs}
    for body in graph.layout.all_bodies():
        found.update(body.inputs)
    for index, node in enumerate(graph.nodes):
        if node.op_type == "Shape":
            continue
        if any(name in found for name in (*node.input, *graph.captured.get(index, ()))):
            found.update(node.output)
    return found


def _type_of(graph: Graph, name: str) -> int:
    info = graph.value_info.get(name)
    return info.type.tensor_type.elem_type if info is not None else TensorProto.FLOAT


def _raw_tensors(graph: Graph) -> set[str]:
    """Float inputs, and what is made of them and constants element by element or by moving them about."""
    found = {v.name for v in graph.inputs if v.type.tensor_type.elem_type not in _WHOLE}
    passing = ("Add", "Sub", "Mul", "Div", "Cast", "Transpose", "Identity", "Reshape", "Unsqueeze", "Squeeze")
    for node in graph.nodes:
        if node.op_type in passing and any(name in found for name in node.input):
            rest = [name for name in node.input if name not in found]
            if all(name in graph.constants for name in rest):
                found.update(node.output)
    return found
