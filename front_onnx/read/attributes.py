"""Attributes of nodes: what the file says, or else the default of the operator's specification."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from onnx import AttributeProto, helper
from onnx.defs import OpSchema, get_schema, has

from front_onnx.read.node import AnyNode

__all__ = ["attribute", "defaults", "schema_of"]


# What onnxruntime's fused operators take their attributes from. Source: its ContribOperators.md.
_FUSED = {"FusedConv": ("Conv", 11), "FusedGemm": ("Gemm", 11), "NhwcConv": ("Conv", 11)}


@cache
def schema_of(op_type: str, domain: str, version: int) -> OpSchema | None:
    """The specification of an operator, its first where a file is older; None if the onnx package has none.

    onnxruntime's optimisers write LayerNormalization into files of any version.
    """
    if domain == "com.microsoft" and op_type in _FUSED:
        return schema_of(_FUSED[op_type][0], "", _FUSED[op_type][1])
    domain = "" if domain == "ai.onnx" else domain
    if has(op_type, version, domain):
        return get_schema(op_type, version, domain)
    if not has(op_type, domain):
        return None
    newest = get_schema(op_type, domain).since_version
    first = next(later for later in range(version + 1, newest + 1) if has(op_type, later, domain))
    return get_schema(op_type, first, domain)


@cache
def defaults(op_type: str, domain: str, version: int) -> Mapping[str, Any]:
    """The defaults of an operator's attributes, by name, strings decoded."""
    schema = schema_of(op_type, domain, version)
    given = {} if schema is None else {n: a.default_value for n, a in schema.attributes.items()}
    return {name: _value(proto) for name, proto in given.items() if proto.type != AttributeProto.UNDEFINED}


def attribute(node: AnyNode, name: str, version: int, default: Any = None) -> Any:
    """An attribute, strings decoded: the node's own, or the specification's default, or the given one.

    Args:
        node: the node.
        name: the attribute's name.
        version: of the operator set that the node is written in.
        default: where the specification has none.
    """
    for attr in node.attribute:
        if attr.name == name:
            return _value(attr)
    return defaults(node.op_type, node.domain, version).get(name, default)


def _value(attr: AttributeProto) -> Any:
    value = helper.get_attribute_value(attr)
    if isinstance(value, list) and value and isinstance(value[0], bytes):
        return [item.decode() for item in value]
    return value.decode() if isinstance(value, bytes) else value
