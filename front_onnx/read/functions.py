"""Model-local functions: each call gives way to the nodes of its body, so that one graph holds everything.

A body's constants become initializers, one for all calls: a function that is called for every layer shares them. Inner
values are named after the call (`Block_1/MatMul`), as exporters name scopes. onnx.inliner is of no use here: it leaves
functions whose imports disagree about a version that no operator of theirs has, and jax2onnx writes nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx
from onnx import AttributeProto, FunctionProto, GraphProto, NodeProto, helper

from front_onnx.errors import DamagedError
from front_onnx.read.names import unused

__all__ = ["inline_functions"]

_Key = tuple[str, str, str]
_MOST = 1_000_000  # nodes of all calls written out; no model comes near
_DEEPEST = 100  # functions inside each other


def inline_functions(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[str]]:
    """The model with its local functions inlined (a copy if it has any), and the names of those functions.

    A function written for another version of an operator set than the model's stays, and so do its calls.

    Raises:
        DamagedError: a function calls itself, or a call has more inputs or outputs than its function.
    """
    if not model.functions:
        return model, []
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy, _Inliner(copy).run()


def _domain(name: str) -> str:
    return "" if name == "ai.onnx" else name


def _key(domain: str, name: str, of: NodeProto | FunctionProto) -> _Key:
    return _domain(domain), name, getattr(of, "overload", "")  # overloads came with IR version 10


def _subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    for attr in node.attribute:
        if attr.type == AttributeProto.GRAPH:
            yield attr.g
        yield from attr.graphs


def _nested(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """Nodes and those of their subgraphs."""
    for node in nodes:
        yield node
        for graph in _subgraphs(node):
            yield from _nested(graph.node)


class _Inliner:
    def __init__(self, model: onnx.ModelProto) -> None:
        self.model, self.graph = model, model.graph
        self.domains = {_domain(f.domain) for f in model.functions} - {""}
        self.versions = {_domain(o.domain): o.version for o in model.opset_import}
        self.functions = {_key(f.domain, f.name, f): f for f in model.functions if self._fits(f)}
        self.values = {v.name for v in (*self.graph.input, *self.graph.initializer)}
        self.values |= {name for node in _nested(self.graph.node) for name in (*node.input, *node.output)}
        for node in _nested(self.graph.node):
            for graph in _subgraphs(node):
                self.values |= {v.name for v in (*graph.input, *graph.initializer)}
        self.nodes = {node.name for node in _nested(self.graph.node)}
        self.constants: dict[tuple[_Key, str], str] = {}
        self.used: dict[_Key, None] = {}

    def run(self) -> list[str]:
        """Inline all calls; the names of the functions that were called."""
        self._refuse_too_many()
        nodes = self._expanded(self.graph.node, ())
        del self.graph.node[:]
        self.graph.node.extend(nodes)
        if len(self.functions) == len(self.model.functions):  # what stays may call any other
            del self.model.functions[:]
        left = {_domain(node.domain) for node in _nested(self.graph.node)}
        left |= {_domain(f.domain) for f in self.model.functions}
        kept = [o for o in self.model.opset_import if _domain(o.domain) not in self.domains - left]
        imports = [helper.make_opsetid(o.domain, o.version) for o in kept]
        del self.model.opset_import[:]
        self.model.opset_import.extend(imports)
        return [name for _, name, _ in self.used]

    def _refuse_too_many(self) -> None:
        """Functions that call each other twice each are no longer a file's size when they are written out."""
        counts: dict[_Key, int] = {}

        def count(nodes: Iterable[NodeProto], calls: tuple[_Key, ...]) -> int:
            total = 0
            for node in _nested(nodes):
                key = _key(node.domain, node.op_type, node)
                if key in calls:
                    raise DamagedError(f"function {node.op_type} calls itself", node=node.name)
                if key in self.functions and key not in counts:
                    if len(calls) > _DEEPEST:
                        raise DamagedError(f"functions call each other more than {_DEEPEST} deep", node=node.name)
                    counts[key] = count(self.functions[key].node, (*calls, key))
                total += counts.get(key, 1)
            return total

        total = count(self.graph.node, ())
        if total > _MOST:
            raise DamagedError("functions that call each other make too many nodes", got=f"{total:.3g}", wanted=_MOST)

    def _fits(self, function: FunctionProto) -> bool:
        """True if the body means in the main graph what it means in the function."""
        return all(
            self.versions.get(_domain(o.domain), o.version) == o.version
            for o in function.opset_import
            if _domain(o.domain) not in self.domains
        )

    def _expanded(self, nodes: Iterable[NodeProto], calls: tuple[_Key, ...]) -> list[NodeProto]:
        """The nodes, with the bodies of functions in place of their calls."""
        out: list[NodeProto] = []
        for node in nodes:
            for graph in _subgraphs(node):
                inner = [_copied(n) for n in self._expanded(graph.node, calls)]
                del graph.node[:]
                graph.node.extend(inner)
            key = _key(node.domain, node.op_type, node)
            function = self.functions.get(key)
            if function is None:
                out.append(_copied(node))
                continue
            if key in calls:
                raise DamagedError(f"function {node.op_type} calls itself", node=node.name)
            self.used[key] = None
            self._import(function)
            out += self._expanded(self._body(node, key, function), (*calls, key))
        return out

    def _import(self, function: FunctionProto) -> None:
        for opset in function.opset_import:
            if _domain(opset.domain) not in (*self.domains, *self.versions):
                self.versions[_domain(opset.domain)] = opset.version
                self.model.opset_import.append(opset)

    def _body(self, call: NodeProto, key: _Key, function: FunctionProto) -> list[NodeProto]:
        """The nodes of a function for one call of it."""
        if len(call.input) > len(function.input) or len(call.output) > len(function.output):
            raise DamagedError(f"a call of function {function.name} has more inputs or outputs than it", node=call.name)
        scope = call.name or next(filter(None, call.output), function.name)
        given = [*call.input, *[""] * (len(function.input) - len(call.input))]
        names = {"": "", **dict(zip(function.input, given, strict=True))}
        passed: list[tuple[str, str]] = []
        for inner, outer in zip(function.output, call.output, strict=False):
            if outer and inner in names:
                passed.append((names[inner], outer))
            elif outer:
                names[inner] = outer
        attributes = {a.name: a for a in (*getattr(function, "attribute_proto", ()), *call.attribute)}
        out: list[NodeProto] = []
        for node in function.node:
            if _is_tensor(node) and node.output[0] not in names:
                names[node.output[0]] = self._constant(key, node, scope)
                continue
            copy = _copied(node)
            self._rename(copy, names, scope, attributes)
            out.append(copy)
        return out + [helper.make_node("Identity", [made], [outer]) for made, outer in passed]

    def _constant(self, key: _Key, node: NodeProto, scope: str) -> str:
        """The initializer that holds a constant of a function, the same for every call."""
        inner = key, node.output[0]
        if inner not in self.constants:
            self.constants[inner] = self._new(f"{scope}/{node.output[0]}", self.values)
            tensor = self.graph.initializer.add()
            tensor.CopyFrom(node.attribute[0].t)
            tensor.name = self.constants[inner]
        return self.constants[inner]

    def _rename(
        self, node: NodeProto, names: dict[str, str], scope: str, attributes: dict[str, AttributeProto]
    ) -> None:
        """Make a node of a body one of the main graph: names, and attributes that the call gives."""

        def named(name: str) -> str:
            if name not in names:
                names[name] = self._new(f"{scope}/{name}", self.values)
            return names[name]

        if node.name:
            node.name = self._new(f"{scope}/{node.name}", self.nodes)
        for listed in (node.input, node.output):
            listed[:] = [named(name) for name in listed]
        own = [_resolved(attr, attributes) for attr in node.attribute]
        del node.attribute[:]
        node.attribute.extend(attr for attr in own if attr is not None)
        for graph in _subgraphs(node):
            for value in (*graph.input, *graph.initializer, *graph.output, *graph.value_info):
                value.name = named(value.name)
            for inner in graph.node:
                self._rename(inner, names, scope, attributes)

    def _new(self, name: str, taken: set[str]) -> str:
        name = unused(name, taken)
        taken.add(name)
        return name


def _copied(node: NodeProto) -> NodeProto:
    out = NodeProto()
    out.CopyFrom(node)
    return out


def _is_tensor(node: NodeProto) -> bool:
    """True for a Constant node with a tensor of its own."""
    value = node.attribute[0] if node.op_type == "Constant" and len(node.attribute) == 1 else None
    return value is not None and value.name == "value" and not value.ref_attr_name and _domain(node.domain) == ""


def _resolved(attr: AttributeProto, given: dict[str, AttributeProto]) -> AttributeProto | None:
    """An attribute with the call's value in place of a reference; None if the call leaves it out."""
    source = given.get(attr.ref_attr_name) if attr.ref_attr_name else attr
    if source is None:
        return None
    out = AttributeProto()
    out.CopyFrom(source)
    out.name = attr.name
    return out
