"""A node of an indexed graph, as plain values: protobuf makes new objects of a name each time that it is asked for one.

Understanding a graph asks each node for its operator and its names some hundred times.
"""

from __future__ import annotations

from collections.abc import Sequence

from onnx import AttributeProto, NodeProto, StringStringEntryProto

__all__ = ["AnyNode", "Node"]


class Node:
    """A node as it was read.

    Attributes:
        proto: what it was read from. Not to be changed.
        name: its name.
        domain: its operator set; empty for the default one.
        op_type: its operator.
        input: the names that it reads.
        output: the names that it makes.
    """

    __slots__ = ("domain", "input", "name", "op_type", "output", "proto")

    def __init__(self, proto: NodeProto) -> None:
        self.proto = proto
        self.name: str = proto.name
        self.domain: str = proto.domain
        self.op_type: str = proto.op_type
        self.input: Sequence[str] = [*proto.input]
        self.output: Sequence[str] = [*proto.output]

    @property
    def attribute(self) -> Sequence[AttributeProto]:
        """Its attributes."""
        found: Sequence[AttributeProto] = self.proto.attribute
        return found

    @property
    def metadata_props(self) -> Sequence[StringStringEntryProto]:
        """Its metadata."""
        found: Sequence[StringStringEntryProto] = self.proto.metadata_props
        return found


AnyNode = Node | NodeProto
