"""Nodes as the specification has them: attributes that have to be there, of their type, counts that are at least 1.

Asked once, when a model is read: whoever reads an attribute or an input later can rely on it. Operators that the onnx
package does not know are not asked about, nor are attributes that its version of an operator does not have.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

import onnx
from onnx import AttributeProto, NodeProto
from onnx.defs import OpSchema

from front_onnx.errors import DamagedError
from front_onnx.read.attributes import schema_of
from front_onnx.read.subgraphs import all_graphs

__all__ = ["check_nodes"]

# Counts: nothing divides by them at 0 and nothing has less than one. Source: the operators' specifications.
_COUNTS = ("group", "strides", "dilations", "kernel_shape", "blocksize", "hidden_size", "num_heads", "num_outputs")


class _Specified(NamedTuple):
    """What a version of an operator asks for: types and names of attributes, numbers of inputs and outputs."""

    types: Mapping[str, int]
    required: frozenset[str]
    inputs: tuple[int, int]
    needed: tuple[int, ...]  # inputs that cannot be left out
    outputs: tuple[int, int]


@cache
def _specified(op_type: str, domain: str, version: int) -> _Specified | None:
    schema = schema_of(op_type, domain, version)
    if schema is None:
        return None
    single = OpSchema.FormalParameterOption.Single
    own = domain in ("", "ai.onnx")  # else it lends its attributes alone: onnxruntime's read more inputs
    return _Specified(
        {name: _number(attr.type) for name, attr in schema.attributes.items()},
        frozenset(name for name, attr in schema.attributes.items() if attr.required),
        (schema.min_input, schema.max_input) if own else (0, sys.maxsize),
        tuple(slot for slot, formal in enumerate(schema.inputs) if formal.option == single and own),
        (schema.min_output, schema.max_output) if own else (0, sys.maxsize),
    )


def _number(kind: Any) -> int:
    """The number of a type: releases of onnx have made it an enumeration of their own, or of Python."""
    return int(getattr(kind, "value", kind))


def check_nodes(model: onnx.ModelProto) -> None:
    """Refuse a node that is not written as its operator's specification says.

    Raises:
        DamagedError: an attribute is missing or of another type, a count is below 1, or there are too few or too many
            inputs or outputs.
    """
    for opset in model.opset_import:
        if not 0 < opset.version < 1 << 31:
            raise DamagedError(
                "it is written for an operator set that cannot be", got=f"{opset.domain} {opset.version}"
            )
    versions = {opset.domain or "ai.onnx": opset.version for opset in model.opset_import}
    for graph in all_graphs(model.graph):
        for node in graph.node:
            found = _specified(node.op_type, node.domain, versions.get(node.domain or "ai.onnx", 1))
            fault = next(_faults(node, found), None) if found is not None else None
            if fault is not None:
                where = node.name or (node.output[0] if node.output else "without a name")
                raise DamagedError(f"{node.op_type} {fault}", node=where, hint="export the model again")


def _faults(node: NodeProto, wanted: _Specified) -> Iterator[str]:
    for what, count, (least, most) in (
        ("input", len(node.input), wanted.inputs),
        ("output", len(node.output), wanted.outputs),
    ):
        if not least <= count <= most:
            yield f"has {count} {what}s where its specification has {least if count < least else most}"
    for slot in wanted.needed:
        if slot < len(node.input) and not node.input[slot]:
            yield f"lacks its input {slot}"
    given = set()
    for attr in node.attribute:
        kind = wanted.types.get(attr.name)
        given.add(attr.name)
        if kind is None or attr.ref_attr_name:
            continue
        if attr.type != kind:
            names = AttributeProto.AttributeType
            known = attr.type in names.values()
            got = names.Name(attr.type) if known else str(attr.type)
            yield f"has an attribute {attr.name} of another type: {got} where its specification has {names.Name(kind)}"
        elif attr.name in _COUNTS and min([attr.i] if kind == AttributeProto.INT else attr.ints, default=1) < 1:
            yield f"has a number below 1 in its attribute {attr.name}"
    if not wanted.required <= given:
        yield f"lacks its attribute {min(wanted.required - given)}"
