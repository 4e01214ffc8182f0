"""A read-only view of an ONNX model for comparing two of them: what is behind each name, names aside."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import ml_dtypes
import numpy as np
import onnx
from onnx import AttributeProto, numpy_helper

_CONSTANT_LISTS = {"value_int": np.int64, "value_ints": np.int64, "value_float": np.float32}
_CONSTANT_LISTS["value_floats"] = np.float32


@dataclass(frozen=True)
class Value:
    """What a name stands for once Identity nodes are skipped; equal when it is the same thing.

    `kind` is "input", "constant" (an initializer or a Constant node), "node" or "absent" (an optional input
    left out). `index` is the position among the graph's inputs, or among the node's outputs.
    """

    kind: str
    scope: int = 0
    name: str = ""
    index: int = 0
    node: int = -1


ABSENT = Value("absent")


@dataclass
class Scope:
    """One graph or subgraph: names it defines, and the scope around it."""

    graph: onnx.GraphProto
    number: int
    parent: "Scope | None"
    defined: dict[str, Value] = field(default_factory=dict)
    declared: dict[str, onnx.TypeProto] = field(default_factory=dict)


class View:
    """A model with its names resolved; `nodes` and `scopes` number everything, subgraphs included.

    `twin` is the same module exported with other weights: constants that are the same in both are no parameters.
    """

    def __init__(self, model: onnx.ModelProto, twin: onnx.ModelProto | None = None):
        self.model = model
        self.twin = View(twin) if twin is not None else None
        self.nodes: list[onnx.NodeProto] = []
        self.node_scope: list[Scope] = []
        self.scopes: list[Scope] = []
        self.subscopes: dict[tuple[int, str, int], Scope] = {}
        self.constants: dict[tuple[int, str], np.ndarray] = {}
        self.main = self._scope(model.graph, None)

    def _scope(self, graph: onnx.GraphProto, parent: Scope | None) -> Scope:
        scope = Scope(graph, len(self.scopes), parent)
        self.scopes.append(scope)
        for tensor in graph.initializer:
            self._constant(scope, tensor.name, numpy_helper.to_array(tensor))
        inputs = [entry.name for entry in graph.input if entry.name not in scope.defined]
        for index, name in enumerate(inputs):
            scope.defined[name] = Value("input", scope.number, name, index)
        for entry in (*graph.input, *graph.output, *graph.value_info):
            scope.declared[entry.name] = entry.type
        for node in graph.node:
            self._node(scope, node)
        return scope

    def _constant(self, scope: Scope, name: str, array: np.ndarray) -> None:
        scope.defined[name] = Value("constant", scope.number, name)
        self.constants[scope.number, name] = array

    def _node(self, scope: Scope, node: onnx.NodeProto) -> None:
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
            self._constant(scope, node.output[0], constant_array(node))
            return
        number = len(self.nodes)
        self.nodes.append(node)
        self.node_scope.append(scope)
        for index, name in enumerate(node.output):
            if name:
                scope.defined[name] = Value("node", scope.number, name, index, number)
        for attribute in node.attribute:
            for position, graph in enumerate(subgraphs(attribute)):
                self.subscopes[number, attribute.name, position] = self._scope(graph, scope)

    def look_up(self, scope: Scope, name: str) -> Value:
        """What this name stands for in this scope, Identity nodes skipped."""
        if not name:
            return ABSENT
        found: Scope | None = scope
        while found is not None and name not in found.defined:
            found = found.parent
        if found is None:
            raise KeyError(f"{name!r} is read but nothing defines it")
        value = found.defined[name]
        if value.kind == "node" and self.nodes[value.node].op_type == "Identity":
            return self.look_up(found, self.nodes[value.node].input[0])
        return value

    def operands(self, number: int) -> list[Value]:
        """What a node reads."""
        return [self.look_up(self.node_scope[number], name) for name in self.nodes[number].input]

    def symbols(self, number: int) -> list[str]:
        """The names of the sizes that a Shape node takes from an input; none if one of them has no name."""
        node = self.nodes[number]
        source = self.operands(number)[0] if node.op_type == "Shape" else ABSENT
        declared = self.type_of(source) if source.kind == "input" else None
        if declared is None:
            return []
        given = {attribute.name: attribute.i for attribute in node.attribute}
        dims = declared.tensor_type.shape.dim[given.get("start", 0) : given.get("end")]
        return [dim.dim_param for dim in dims] if all(dim.dim_param for dim in dims) else []

    def array(self, value: Value) -> np.ndarray:
        """The contents of a constant."""
        return self.constants[value.scope, value.name]

    def is_parameter(self, value: Value) -> bool:
        """True for floats that hold weights: of more than one element, or other ones in the twin."""
        array = self.array(value)
        return is_parameter(array) or (is_float(array) and self.twin is not None and not self.is_computed(value))

    def is_computed(self, value: Value) -> bool:
        """True for constants that are the same in the twin: no weight decides what they hold."""
        other = self.twin.constants.get((value.scope, value.name)) if self.twin is not None else None
        return other is not None and np.array_equal(other, self.array(value))

    def type_of(self, value: Value) -> onnx.TypeProto | None:
        """What the file declares about a value's type, if anything."""
        return self.scopes[value.scope].declared.get(value.name)

    def describe(self, value: Value) -> str:
        """A value in words, for messages."""
        if value.kind == "node":
            node = self.nodes[value.node]
            return f"{node.op_type} {node.name!r} -> {value.name!r}"
        if value.kind == "constant":
            array = self.array(value)
            return f"constant {value.name!r} {array.dtype}{list(array.shape)}"
        return f"input {value.name!r}" if value.kind == "input" else "nothing"


def subgraphs(attribute: AttributeProto) -> Iterator[onnx.GraphProto]:
    """The graphs an attribute holds."""
    if attribute.type == AttributeProto.GRAPH:
        yield attribute.g
    elif attribute.type == AttributeProto.GRAPHS:
        yield from attribute.graphs


def constant_array(node: onnx.NodeProto) -> np.ndarray:
    """The contents of a Constant node."""
    (attribute,) = node.attribute
    value = onnx.helper.get_attribute_value(attribute)
    if attribute.name == "value":
        return numpy_helper.to_array(value)
    if attribute.name in _CONSTANT_LISTS:
        return np.asarray(value, _CONSTANT_LISTS[attribute.name])
    if attribute.name in ("value_string", "value_strings"):
        return np.asarray(value, object)
    raise ValueError(f"Constant node {node.name!r}: no reader for attribute {attribute.name!r}")


def is_float(array: np.ndarray) -> bool:
    """True for floating-point numbers."""
    return bool(np.issubdtype(array.dtype, np.floating) or array.dtype == ml_dtypes.bfloat16)


def is_parameter(array: np.ndarray) -> bool:
    """Floats of more than one element; as long as nothing shows otherwise, scalars are part of the architecture."""
    return array.size > 1 and is_float(array)
