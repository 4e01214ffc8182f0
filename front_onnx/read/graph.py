"""A read-only index over a GraphProto: who makes a tensor, who reads it, which tensors are constants."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper

from front_onnx.errors import DamagedError
from front_onnx.read.attributes import attribute
from front_onnx.read.model_file import ModelFile
from front_onnx.read.node import AnyNode, Node
from front_onnx.read.subgraphs import graphs_of, number_nodes

__all__ = ["Edge", "Graph", "attribute", "label"]


_SMALL = 1024  # bytes: contents up to this are remembered
_IN_PLACE = ("Cast", "CastLike", "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze")


class Edge(NamedTuple):
    """One input of one node: the place where a tensor is read."""

    node: int
    slot: int


def label(node: AnyNode, index: int | None = None) -> str:
    """How messages name a node: its name, or its operator and what it makes."""
    return node.name or f"{node.op_type} -> {node.output[0] if node.output else index}"


class Graph:
    """The graph of a model, indexed. Nodes are numbered in file order, which ONNX requires topological.

    Nodes of bodies are numbered right before the node that the body belongs to; see `NodeOrder`.
    """

    def __init__(self, model: ModelFile) -> None:
        self.model = model.with_unique_names()
        self.proto = self.model.proto.graph
        self.order = number_nodes(self.proto)
        self.nodes = [*map(Node, self.order.nodes)]
        self.initializers = {t.name: t for t in self.proto.initializer}
        self.opset = {o.domain or "ai.onnx": o.version for o in model.proto.opset_import}
        self.inputs = [v for v in self.proto.input if v.name not in self.initializers]
        self.outputs = [v.name for v in self.proto.output]
        self.producer: dict[str, int] = {}
        self.constants: dict[str, TensorProto] = dict(self.initializers)
        self.alias: dict[str, str] = {}  # constants behind Identity nodes: exporters share tensors that way
        self.reads: list[tuple[Edge, ...]] = []  # the inputs of each node
        self.consumers: dict[str, list[Edge]] = defaultdict(list)
        self._small: dict[str, np.ndarray] = {}  # contents of constants
        self.outer_scope: dict[int, set[str]] = defaultdict(set)  # what subgraphs of a node read from outside
        seen = set(self.initializers) | {v.name for v in self.inputs} | {""}
        seen |= {tensor.values.name for tensor in self.proto.sparse_initializer}
        bodies = [*self.order.all_subgraphs()]
        for body in bodies:
            self.constants |= {t.name: t for t in body.proto.initializer}
            seen.update((*body.inputs, *(t.name for t in body.proto.initializer)))
        for index, node in enumerate(self.nodes):
            self.reads.append(tuple(Edge(index, slot) for slot in range(len(node.input))))
            for edge, name in zip(self.reads[index], node.input, strict=True):
                if name not in seen:
                    raise DamagedError(f"the graph reads {name!r} before anything makes it", node=label(node))
                self.consumers[name].append(edge)
            for name in node.output:
                self.producer[name] = index
                seen.add(name)
            if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
                tensor = _constant_tensor(node)
                if tensor is not None:
                    self.constants[node.output[0]] = tensor
            elif node.op_type == "Identity" and node.input[0] in self.constants:
                self.constants[node.output[0]] = self.constants[node.input[0]]
                self.alias[node.output[0]] = self.alias.get(node.input[0], node.input[0])
            for body in self.order.subgraphs.get(index, {}).values():
                self.outer_scope[index] |= {name for name in _outer_names(body.proto) if name in seen}
        for name in (name for body in bodies for name in body.outputs):
            if name not in seen:
                raise DamagedError(f"a body gives back {name!r}, and nothing makes it")

    def attribute(self, node: int, name: str, default: Any = None) -> Any:
        """An attribute of a node: as written, or the specification's default, or the given one."""
        found = self.nodes[node]
        return attribute(found, name, self.opset.get(found.domain or "ai.onnx", 1), default)

    def constant_name(self, name: str) -> str:
        """The name of the tensor behind a constant, Identity nodes skipped."""
        return self.alias.get(name, name)

    def scope(self, node: int) -> str:
        """The innermost module a node came from, as torch's dynamo exporter notes it; empty if unknown."""
        for entry in self.nodes[node].metadata_props:
            if entry.key == "pkg.torch.onnx.name_scopes":
                scopes = re.findall(r"'([^']*)'", entry.value)
                return scopes[-2] if len(scopes) > 1 else ""
        return ""

    def within(self, edge: Edge) -> Iterator[Edge]:
        """A reading, and all readings in a body that is given the tensor (by Loop and Scan in the same place)."""
        yield edge
        for body in self.order.subgraphs[edge.node].values() if edge.node in self.order.subgraphs else ():
            if edge.slot < len(body.inputs):
                for reader in self.consumers.get(body.inputs[edge.slot], ()):
                    yield from self.within(reader)

    def read_by(self, edge: Edge) -> str:
        """The name of the constant that a node input reads, Identity nodes skipped."""
        return self.constant_name(self.nodes[edge.node].input[edge.slot])

    def stored(self, edge: Edge) -> Edge:
        """Where a constant behind a node input is read: weights that are kept short are cast before they are used.

        Nodes that leave every element in its place are passed; the edge itself if no constant is behind them.
        """
        found = edge
        while (name := self.nodes[found.node].input[found.slot]) not in self.constants:
            maker = self.producer.get(name)
            if maker is None or self.nodes[maker].op_type not in _IN_PLACE:
                return edge
            found = Edge(maker, 0)
        return found

    def only_reader(self, name: str) -> Edge | None:
        """Who alone reads a tensor, casts skipped; None if several do, or whoever runs the model."""
        while True:
            readers = self.consumers.get(name, ())
            if len(readers) != 1 or name in self.outputs:
                return None
            node = self.nodes[readers[0].node]
            if node.op_type != "Cast":
                return readers[0]
            name = str(node.output[0])

    def array(self, name: str) -> np.ndarray:
        """The contents of a constant, read-only; small ones are remembered."""
        found = self._small.get(name)
        if found is None:
            found = self.model.array(self.constants[name])
            if found.nbytes <= _SMALL and self.model.settled:
                self._small[name] = found
        return found

    @cached_property
    def value_info(self) -> dict[str, onnx.ValueInfoProto]:
        """Declared types and shapes of inputs, outputs and inner tensors."""
        found = (
            {v.name: v for group in (graph.value_info, graph.input, graph.output) for v in group}
            for graph in reversed(self.order.graphs)
        )
        return {name: info for group in found for name, info in group.items()}

    def declared_shape(self, name: str) -> list[int | str] | None:
        """The declared shape of a tensor, or None if none is declared: numbers, and names for symbolic dims.

        A size that is 0, negative or called `?` is not known, and has the empty name.
        """
        info = self.value_info.get(name)
        if info is None or not info.type.tensor_type.HasField("shape"):
            return None
        dims = info.type.tensor_type.shape.dim
        return [d.dim_value if d.dim_value > 0 else "" if d.dim_param == "?" else d.dim_param for d in dims]


def _constant_tensor(node: Node) -> TensorProto | None:
    """The tensor of a Constant node, whichever attribute holds it; None for strings and sparse tensors."""
    for attr in node.attribute:
        if attr.name == "value":
            tensor: TensorProto = attr.t
            return tensor
        if attr.name in ("value_int", "value_ints", "value_float", "value_floats"):
            value = helper.get_attribute_value(attr)
            kind = TensorProto.INT64 if "int" in attr.name else TensorProto.FLOAT
            dims = [len(value)] if attr.name.endswith("s") else []
            return helper.make_tensor("", kind, dims, value if dims else [value])
    return None


def _outer_names(graph: onnx.GraphProto) -> set[str]:
    """Names that a subgraph reads from outside."""
    inner = {v.name for v in graph.input} | {t.name for t in graph.initializer}
    read: set[str] = set()
    for node in graph.node:
        read.update(name for name in node.input if name not in inner)
        inner.update(node.output)
        for _, sub in graphs_of(node):
            read |= _outer_names(sub) - inner
    read.update(v.name for v in graph.output if v.name not in inner)
    return read
