"""What a rule is given: one node and its inputs, and what the analysis collects.

A rule is a function of a `RuleContext`: it reads the axes (and, for shape arithmetic, the contents) of a node's inputs,
unifies and cuts axes as the operator's specification says, and states the axes of the outputs. It raises `Conflict` (or
lets one through) when it cannot follow the node; the axes that touch the node are then frozen with its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from front_onnx.axes.algebra import Algebra
from front_onnx.axes.holds import Hold, Why
from front_onnx.axes.numbers import (
    FOLLOWED,
    Binding,
    Expression,
    Extent,
    Literal,
    Number,
    Varying,
    computed,
    counters,
    made_of_few,
    root_power,
    value_of,
    varies,
)
from front_onnx.axes.size import Axis, AxisRole, Conflict, size_of
from front_onnx.read.attributes import attribute, schema_of
from front_onnx.read.graph import Edge, label

if TYPE_CHECKING:
    from onnx import TensorProto

    from front_onnx.read.node import Node
    from front_onnx.read.subgraphs import Subgraph

__all__ = ["AbstractTensor", "Carried", "Loop", "RuleContext", "Shape"]

Shape = tuple[Axis, ...]
_COMPUTED = Hold(Why.COMPUTED)


@dataclass
class AbstractTensor:
    """What is known of a tensor.

    Attributes:
        axes: its axes; None if even the rank is unknown, and for a sequence.
        value: its contents, an object array of numbers, if it is shape arithmetic.
        constant: True if weights and constants alone make it.
        strides: for integers that are sums of counters, by how much each axis (counted from the last, -1) steps.
        below: for integers that count through an axis of a table (or a part of it), that axis.
        behind: the unfollowed nodes because of which its rank or its contents are not known.
        members: of a sequence of tensors, what is known of each of them.
    """

    axes: Shape | None
    value: np.ndarray | None = None
    constant: bool = False
    strides: dict[int, object] | None = None
    below: Axis | None = None
    behind: frozenset[int] = frozenset()
    members: tuple[AbstractTensor, ...] | None = None


class Carried(NamedTuple):
    """A tensor that goes from one iteration of a body to the next.

    Attributes:
        given: what the node is given.
        back: what the node gives back.
        read: what the body reads.
        made: what the body makes of it.
    """

    given: str
    back: str
    read: str
    made: str


@dataclass(frozen=True)
class Loop:
    """A body that runs once for each place of an axis.

    Attributes:
        node: the node it belongs to.
        axis: as long as it runs often.
        carried: the tensors that go from one iteration to the next.
    """

    node: int
    axis: Axis
    carried: tuple[Carried, ...]


class Records(Protocol):
    """What the analysis collects while the rules run."""

    algebra: Algebra
    equations: list[tuple[int, Number, Axis]]
    conditions: list[tuple[int, Number]]
    attributes: list[tuple[int, str, int | None, Binding]]
    opset: dict[str, int]
    summed: dict[Edge, tuple[int, ...]]
    contractions: dict[Edge, int]
    summing: set[int]
    products: dict[int, Axis]
    totals: dict[int, Axis]
    tables: set[Edge]
    picks: list[tuple[RuleContext, Axis]]
    loops: list[Loop]
    passed: dict[str, tuple[Edge, int | None]]

    def origin(self, edge: Edge, axis: int) -> tuple[Edge, int] | None: ...
    def entry(self, edge: Edge, axis: int) -> tuple[Edge, int] | None: ...
    def derived(self, key: tuple[object, ...], size: int, hold: Hold) -> Axis: ...
    def read(self, node: int) -> list[AbstractTensor | None]: ...
    def made_of(self, axis: Axis, made: Axis, *, by_windows: bool) -> None: ...
    def raw(self, name: str) -> np.ndarray | None: ...
    def only_measured(self, name: str) -> bool: ...
    def cut_alike(self, end: Axis, axis: Axis) -> None: ...
    def scalar(self, tensor: TensorProto) -> int | float | bool: ...
    def subgraphs(self, node: int) -> dict[str, Subgraph]: ...
    def follow(self, body: Subgraph, given: Sequence[AbstractTensor | None]) -> list[AbstractTensor]: ...
    def behind(self, name: str) -> str: ...
    def is_read(self, name: str) -> bool: ...
    def is_read_once(self, name: str) -> bool: ...
    def unknown(self, hold: Hold) -> Axis: ...
    def declared(self, slot: int, place: int, hold: Hold) -> Axis: ...


class RuleContext:
    """One node and its inputs, for a rule."""

    def __init__(self, records: Records, index: int, node: Node) -> None:
        self.records, self.index, self.node = records, index, node
        self.algebra = records.algebra
        self.facts = records.read(index)
        self.outputs: list[AbstractTensor | None] = [None] * len(node.output)
        self.counted = False  # an index that differs between iterations was understood

    # -- reading ----------------------------------------------------------------------------------------------

    def __contains__(self, slot: int) -> bool:
        """True if the optional input `slot` is given."""
        return slot < len(self.facts) and self.facts[slot] is not None

    def axes(self, slot: int) -> Shape:
        """The axes of an input, expanded.

        Raises:
            Conflict: if its rank is unknown, or if it is a sequence.
        """
        fact = self.facts[slot] if slot < len(self.facts) else None
        if fact is not None and fact.members is not None:
            raise Conflict(f"{self._input(slot)} is a sequence of tensors")
        if fact is None or fact.axes is None:
            behind = fact.behind if fact is not None else frozenset()
            raise Conflict(f"the shape of {self._input(slot)} is unknown", behind=behind)
        return tuple(map(self.algebra.expand, fact.axes))

    def fact(self, slot: int) -> AbstractTensor:
        """What is known of an input, be it a tensor or a sequence.

        Raises:
            Conflict: if it is not given, or nothing is known of it.
        """
        fact = self.facts[slot] if slot < len(self.facts) else None
        if fact is None or (fact.axes is None and fact.members is None):
            behind = fact.behind if fact is not None else frozenset()
            raise Conflict(f"nothing is known of {self._input(slot)}", behind=behind)
        return fact

    def members(self, slot: int) -> tuple[AbstractTensor, ...]:
        """What is known of each tensor of a sequence.

        Raises:
            Conflict: if they are not followed.
        """
        members = self.fact(slot).members
        if members is None:
            raise Conflict(f"{self._input(slot)} is no sequence of known members")
        return members

    def value(self, slot: int) -> np.ndarray | None:
        """The contents of an input as an object array of numbers, if they are followed."""
        return self.facts[slot].value if slot in self else None  # type: ignore[union-attr]

    def values(self, slot: int) -> np.ndarray:
        """The contents of an input.

        Raises:
            Conflict: if they are not followed.
        """
        value = self.value(slot)
        if value is None:
            fact = self.facts[slot] if slot < len(self.facts) else None
            behind = fact.behind if fact is not None else frozenset()
            raise Conflict(f"the contents of {self._input(slot)} are computed at run time", behind=behind)
        return value

    def _input(self, slot: int) -> str:
        """An input for messages: its tensor, its number, and what the operator's specification calls it."""
        name = self.node.input[slot] if slot < len(self.node.input) else ""
        schema = schema_of(self.node.op_type, self.node.domain, self.version)
        formal = schema.inputs if schema is not None else ()
        called = f"input {slot}, {formal[slot].name}" if slot < len(formal) else f"input {slot}"
        return f"{name!r} ({called})" if name else called

    def ints(self, slot: int) -> list[int]:
        """The contents of an input as plain integers (source model), flattened."""
        return [int(value_of(n)) for n in self.values(slot).ravel()]

    def constant(self, slot: int) -> bool:
        """True if an input is made of weights and constants alone."""
        fact = self.facts[slot] if slot < len(self.facts) else None
        return fact is not None and fact.constant

    def raw(self, slot: int) -> np.ndarray | None:
        """The array behind an input that is a constant of the file."""
        return self.records.raw(self.node.input[slot])

    def only_measured(self, slot: int) -> bool:
        """True if an input is a constant of which nothing but the shape is read."""
        return self.records.only_measured(self.node.input[slot])

    def attr(self, name: str, default: Any = None) -> Any:
        """An attribute of the node: as written, or the specification's default, or the given one."""
        return attribute(self.node, name, self.version, default)

    @property
    def version(self) -> int:
        """The version of the operator set that the node is written in."""
        return self.records.opset.get(self.node.domain or "ai.onnx", 1)

    @property
    def label(self) -> str:
        """The node's name for messages."""
        return label(self.node, self.index)

    # -- stating ----------------------------------------------------------------------------------------------

    def strides(self, slot: int) -> dict[int, object] | None:
        """Steps of an input that is a sum of counters; {} for zeros."""
        fact = self.facts[slot]
        if fact is not None and varies(fact.value):
            return None
        if fact is not None and fact.value is not None and all(value_of(n) == 0 for n in fact.value.flat):
            return {}
        return fact.strides if fact is not None else None

    def below(self, slot: int) -> Axis | None:
        """The axis that an integer input counts through."""
        fact = self.facts[slot]
        return fact.below if fact is not None else None

    def out(
        self,
        axes: Iterable[Axis] | None,
        value: np.ndarray | None = None,
        slot: int = 0,
        strides: dict[int, object] | None = None,
        below: Axis | None = None,
    ) -> None:
        """State the axes (and contents) of an output."""
        if slot < len(self.outputs):
            shape = None if axes is None else tuple(map(self.algebra.expand, axes))
            constant = all(fact is None or fact.constant for fact in self.facts) and bool(self.facts)
            value = value if value is None or value.size <= FOLLOWED else None
            self.outputs[slot] = AbstractTensor(shape, value, constant, strides, below)

    def out_members(self, members: Iterable[AbstractTensor]) -> None:
        """State the members of the output, which is a sequence."""
        held = tuple(members)
        self.outputs[0] = AbstractTensor(None, constant=all(member.constant for member in held), members=held)

    def unify(self, left: Axis, right: Axis) -> None:
        """Make two axes one."""
        self.algebra.unify(left, right)

    def unify_shapes(self, left: Sequence[Axis], right: Sequence[Axis]) -> None:
        """Make two shapes of one rank one."""
        if len(left) != len(right):
            raise Conflict(f"rank {len(left)} is not {len(right)}")
        for a, b in zip(left, right, strict=True):
            self.unify(a, b)

    def broadcast(self, *shapes: Shape) -> Shape:
        """The axes of a multidirectional broadcast: axes of size 1 stretch, all others are one."""
        rank = max(map(len, shapes))
        out: list[Axis] = []
        for position in range(-rank, 0):
            meeting = [shape[position] for shape in shapes if len(shape) >= -position]
            wide = [axis for axis in meeting if size_of(axis) != 1]
            for other in wide[1:]:
                self.unify(wide[0], other)
            out.append(self.algebra.expand(wide[0]) if wide else ())
        return tuple(out)

    def derived(
        self, axis: Axis, size: int, hold: Hold, *key: object, follow: Callable[[int], int] | None = None
    ) -> Axis:
        """A fixed axis that is computed from another; the same computation gives the same axis.

        `follow` gives its size for another size of `axis`; without it, `axis` cannot change.
        """
        before = size_of(axis)
        identity = tuple(map(id, self.algebra.expand(axis)))
        out = self.records.derived((identity, size, hold, *key), size, hold)
        self.records.made_of(axis, out, by_windows=hold.why is Why.SPATIAL)
        self.require(out, lambda now: size if now == before else follow(now) if follow else -1, Extent(axis))
        return out

    def require(self, axis: Axis, function: Callable[..., int | float | bool], *args: object) -> None:
        """Have it checked when a plan is made that an axis is as long as a function of numbers says."""
        number = computed("computed", function, *args)
        value_of(number)  # nothing that differs between iterations can be checked
        self.records.equations.append((self.index, number, axis))

    def require_that(self, function: Callable[..., bool], *args: object) -> None:
        """Have it checked when a plan is made that numbers agree as they do in the source model."""
        number = computed("computed", function, *args)
        value_of(number)
        self.records.conditions.append((self.index, number))

    def keep(self, axis: Axis, why: Why, of: str = "") -> None:
        """Keep the size of an axis for good: the operator gives it, nobody chooses it. `of`: what it counts."""
        size = size_of(axis)
        self.hold(axis, why, of)
        self.require(axis, lambda: size)

    def hold(self, axis: Axis, why: Why, of: str = "") -> None:
        """Say that this node keeps the size of an axis, and why."""
        self.algebra.hold(axis, Hold(why, self.index, detail=of))

    def pick(self, axis: Axis, number: object) -> None:
        """Say that each iteration takes the entry of an axis that a varying number counts.

        The n-th of n iterations takes the n-th of n entries: as many layers as are stacked. Any other index is kept.
        """
        if isinstance(number, Varying) and number.op == "counter" and size_of(axis) == size_of(number.axis):
            self.unify(axis, number.axis)
        else:
            self.hold(axis, Why.INDEXED_BY_ITERATION)
            for counter in counters(number):
                self.hold(counter.axis, Why.ITERATION_INDEX)
        self.counted = True

    def note_counters(self, facts: Iterable[AbstractTensor | None]) -> None:
        """A loop cannot get longer or shorter where something computes with the number of an iteration."""
        for fact in facts:
            for number in fact.value.flat if fact is not None and fact.value is not None else ():
                for counter in counters(number):
                    self.hold(counter.axis, Why.ITERATION_NUMBER)

    def body(self, name: str) -> Subgraph:
        """The graph in an attribute of the node.

        Raises:
            Conflict: there is none.
        """
        bodies = self.records.subgraphs(self.index)
        if name not in bodies:
            raise Conflict(f"it has no {name}")
        return bodies[name]

    def at_most(self, axis: Axis, room: Axis) -> None:
        """Say that an axis is no longer than another; what is known only at run time is taken to be as it has to.

        Raises:
            Conflict: it is longer.
        """
        if not (self.is_sized(axis) and self.is_sized(room)):
            return
        if size_of(axis) > size_of(room):
            raise Conflict(f"{size_of(axis)} entries where there is room for {size_of(room)}", axes=(*axis, *room))
        self.require_that(lambda count, most: count <= most, Extent(axis), Extent(room))

    def is_read(self, slot: int) -> bool:
        """True if a node reads an output, or if it is one of the graph's."""
        names = self.node.output[slot : slot + 1]
        return any(name and self.records.is_read(name) for name in names)

    def is_sized(self, axis: Axis) -> bool:
        """True if the size of an axis is known before run time."""
        return not any(var.symbols or AxisRole.UNKNOWN in var.roles for var in self.algebra.free_variables(axis))

    def is_fixed(self, axis: Axis) -> bool:
        """True if every size variable of an axis keeps its size."""
        return all(var.fixed for var in self.algebra.free_variables(axis))

    def role(self, axis: Axis, role: AxisRole) -> None:
        """Note what an axis is used for."""
        self.algebra.mark(axis, role)

    def sums(self, slot: int, *axes: int) -> None:
        """Note which axes of an input a product sums over, be it a weight or not."""
        self.records.summed[Edge(self.index, slot)] = axes

    def contract(self, slot: int, axis: int) -> None:
        """Note that an input, if it is a weight, is summed over one of its axes."""
        if not self.constant(slot):
            return
        self.records.summing.add(self.index)
        found = self.records.origin(Edge(self.index, slot), axis)
        if found is not None:
            self.records.contractions[found[0]] = found[1]

    def contract_entry(self, slot: int, summed: int, made: int) -> bool:
        """True if an input is a matrix that data look up in a table (the weights of an expert): then it is a weight."""
        edges = [self.records.entry(Edge(self.index, slot), axis) for axis in (summed, made)]
        if edges[0] is None or edges[1] is None:
            return False
        table, axis = edges[0]
        self.records.summing.add(self.index)
        self.records.contractions[table] = axis
        self.records.tables.discard(table)
        return True

    def table(self, slot: int) -> None:
        """Note that an input, if it is a weight, is a table indexed at run time."""
        found = self.records.origin(Edge(self.index, slot), 0) if self.constant(slot) else None
        if found is not None:
            self.records.tables.add(found[0])

    def tie_attribute(self, name: str, axis: Axis, element: int | None = None) -> None:
        """Say that an attribute (or one element of it) is the size of an axis."""
        self.records.attributes.append((self.index, name, element, Binding(axis)))

    def tie_root(self, name: str, axis: Axis) -> None:
        """Tie a float attribute to a size it is a root of (the scale of attention), if it is one."""
        value = self.attr(name)
        power = root_power(value, size_of(axis)) if isinstance(value, float) else None
        if power is not None:
            self.records.attributes.append((self.index, name, None, Binding(axis, power=power)))

    def tie(self, number: object, axis: Axis) -> None:
        """Say that a number is the size of an axis.

        Two axes of one size are not one axis: a reshape to x.shape ties numbers, not data. Sizes that the graph takes
        or computes at run time only have to agree, at every size; that is checked when a plan is made.
        """
        value_of(number)
        if isinstance(number, Literal):
            number.site.bind(axis, reader=self.index)
        elif isinstance(number, Extent) and number.free:
            self.unify(number.axis, axis)
            number.free = False
        elif isinstance(number, Expression) or (
            isinstance(number, Extent) and not self.algebra.same(number.axis, axis)
        ):
            self.records.equations.append((self.index, number, axis))

    def axis_of(self, number: object, hold: Hold = _COMPUTED) -> Axis:
        """The axis whose size a number is, made anew where nothing is known of it."""
        value = int(value_of(number))
        if value < 0:
            raise Conflict(f"a size of {value}")
        if isinstance(number, Expression) and not made_of_few(number):
            axis = self.records.derived((id(number),), value, hold)
            self.tie(number, axis)
            return axis
        return self._axis_of(number, value, hold)

    def _axis_of(self, number: object, value: int, hold: Hold) -> Axis:
        if value == 1 and isinstance(number, Literal):
            return ()
        if isinstance(number, Extent):
            return self.algebra.expand(number.axis)
        if isinstance(number, Literal):
            axis = self.algebra.new(value)
        elif isinstance(number, Expression) and number.op == "mul":
            # What is fed comes first in memory, however a product is written (dynamo: 4*batch for batch x heads).
            args = sorted(number.args, key=lambda arg: not isinstance(arg, Extent))
            axis = tuple(var for arg in args for var in self.axis_of(arg, hold))
        elif isinstance(number, Expression) and number.op == "add" and all(a.value > 0 for a in number.args):
            return self.algebra.total([self.axis_of(arg, hold) for arg in number.args])
        else:
            axis = self.records.derived((id(number),), value, hold)
        self.tie(number, axis)
        return axis
