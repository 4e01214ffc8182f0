"""The table of operators, and what one step of a walk knows of its node.

An operator is a function of a step and its input tensors (None where an optional input is left out). It returns one
tensor, or a sequence of them. A new operator is one such function:

    @operator("HardSwish")
    def hard_swish(step: Step, x: Tensor) -> Tensor:
        return x * (x / 6 + 0.5).clamp(0, 1)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import onnx
from torch import Tensor

from front_onnx.operators import OPERATORS as RECORDS
from front_onnx.read.attributes import defaults

__all__ = ["OPERATORS", "Operator", "Step", "ints", "operator"]

Run = Callable[..., Any]
RunT = TypeVar("RunT", bound=Run)


@dataclass(frozen=True)
class Operator:
    """How an operator is computed.

    Attributes:
        run: the function.
        host: inputs that are read as numbers (shapes, axes): they stay on the processor.
        updates: in training, the constant read by input i becomes output j (running statistics).
    """

    run: Run
    host: frozenset[int] = frozenset()
    updates: Mapping[int, int] = field(default_factory=dict)


OPERATORS: dict[tuple[str, str], Operator] = {}


def operator(
    *names: str, domain: str = "ai.onnx", host: Sequence[int] = (), updates: Mapping[int, int] | None = None
) -> Callable[[RunT], RunT]:
    """Register a function for one or more operators; what their records call numbers stays on the processor too."""

    def register(run: RunT) -> RunT:
        for name in names:
            known = RECORDS.get((domain, name))
            numbers = known.numbers if known is not None else ()
            OPERATORS[domain, name] = Operator(run, frozenset((*host, *numbers)), updates or {})
        return run

    return register


@dataclass
class Step:
    """One node, ready to be run.

    Attributes:
        label: how messages name the node.
        op_type: its operator.
        version: the version of the operator set it is written in.
        inputs, outputs: names of tensors, empty where left out.
        attributes: by name, strings decoded, tensors as TensorProto.
        subgraphs: compiled graphs by attribute name (If, Loop, Scan).
        training: true while the module is in training mode.
        walk: runs a body on given inputs: `walk(body, tensors)` -> its outputs.
    """

    label: str
    op_type: str
    domain: str
    version: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    subgraphs: dict[str, Any] = field(default_factory=dict)
    training: bool = False
    walk: Callable[[Any, Sequence[Any]], list[Any]] | None = None

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, or the specification's default, or the given one."""
        if name in self.attributes:
            return self.attributes[name]
        return defaults(self.op_type, self.domain, self.version).get(name, default)

    def wants(self, place: int) -> bool:
        """True if an output is read or is an output of the graph, as far as its name tells."""
        return place < len(self.outputs) and bool(self.outputs[place])


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes by name, without graphs."""
    found = {}
    for attribute in node.attribute:
        if attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS):
            continue
        value = onnx.helper.get_attribute_value(attribute)
        if isinstance(value, bytes):
            value = value.decode()
        elif isinstance(value, list) and value and isinstance(value[0], bytes):
            value = [item.decode() for item in value]
        found[attribute.name] = value
    return found


def ints(x: Tensor) -> list[int]:
    """The whole numbers in a small tensor, as a flat list."""
    return [int(n) for n in x.reshape(-1).tolist()]
