"""Walk two graphs in parallel from their outputs backwards, and say where they part.

Names and the order of nodes are ignored, and so is how often a sub-expression is written down: what counts is
what each output is computed from.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import AttributeProto, numpy_helper

from .graphview import Scope, Value, View

_COMMUTATIVE = {"Add", "Mul", "And", "Or", "Equal", "Max", "Min", "Sum"}
_SCALAR = 1e-6

Slot = tuple[int, int]  # a node's number and the position of one of its inputs


@dataclass
class Pairing:
    """What the walk found: where the graphs part, and which resized tensor stands in each native slot."""

    differences: list[str] = field(default_factory=list)
    slots: dict[Slot, list[Value]] = field(default_factory=dict)
    resized_seen: set[Value] = field(default_factory=set)
    native_seen: set[Value] = field(default_factory=set)

    def report(self, message: str) -> None:
        """Note a difference, once."""
        if message not in self.differences:
            self.differences.append(message)


def pair(resized: View, native: View) -> Pairing:
    """Compare everything the outputs of both graphs are computed from."""
    walk = _Walk(resized, native)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, 200_000))  # plain Python calls: the depth costs heap, not C stack
    try:
        walk.graphs(resized.main, native.main, "the graph")
        walk.run()
    finally:
        sys.setrecursionlimit(limit)
    return walk.found


class _Walk:
    def __init__(self, resized: View, native: View):
        self.resized, self.native = resized, native
        self.found = Pairing()
        self._agree: dict[tuple[Value, Value], bool] = {}
        self._visited: set[tuple[Value, Value]] = set()
        self._pending: list[tuple[Value, Value]] = []

    # --- whether two values agree, quietly: this only decides the order of commutative operands ---

    def agree(self, ours: Value, theirs: Value) -> bool:
        """Whether two values are computed alike all the way down, parameters by shape."""
        key = (ours, theirs)
        if key not in self._agree:
            self._agree[key] = self._agree_now(ours, theirs)
        return self._agree[key]

    def _agree_now(self, ours: Value, theirs: Value) -> bool:
        if next(self.local(ours, theirs), None) is not None:
            return False
        if ours.kind != "node":
            return True
        return self.order(ours.node, theirs.node) is not None

    def order(self, ours: int, theirs: int) -> list[tuple[Value, Value]] | None:
        """The first order in which the operands of two nodes agree; None where there is none."""
        mine, wanted = self.resized.operands(ours), self.native.operands(theirs)
        if self._one_size(ours, theirs):
            return []
        swappable = self.native.nodes[theirs].op_type in _COMMUTATIVE and len(wanted) == 2
        for candidate in (mine, mine[::-1]) if swappable else (mine,):
            pairs = list(zip(candidate, wanted, strict=True))
            if self._all_agree(pairs):
                return pairs
        return None

    def _one_size(self, ours: int, theirs: int) -> bool:
        """Whether two nodes take a size that the declarations of two inputs call by one name: dynamo takes any."""
        taken = [view.symbols(number) for view, number in ((self.resized, ours), (self.native, theirs))]
        return bool(taken[0]) and taken[0] == taken[1]

    def _all_agree(self, pairs: list[tuple[Value, Value]]) -> bool:
        for ours, theirs in pairs:  # noqa: SIM110 - a generator inside all() would recurse on the C stack
            if not self.agree(ours, theirs):
                return False
        return True

    # --- what differs at one pair, not looking further ---

    def local(self, ours: Value, theirs: Value) -> Iterator[str]:
        """Differences between two values themselves, without what they are computed from."""
        where = f"at {self.resized.describe(ours)}"
        if ours.kind != theirs.kind:
            yield f"{where}: wanted {self.native.describe(theirs)}"
        elif ours.kind == "node":
            if ours.index != theirs.index:
                yield f"{where}: output {ours.index}, wanted output {theirs.index}"
            yield from _nodes(self.resized.nodes[ours.node], self.native.nodes[theirs.node], where)
        elif ours.kind == "constant":
            yield from self._constants(ours, theirs, where)
        elif ours.kind == "input" and (ours.index, ours.scope == 0) != (theirs.index, theirs.scope == 0):
            yield f"{where}: input {ours.index}, wanted {theirs.index} ({theirs.name!r})"

    def _constants(self, ours: Value, theirs: Value, where: str) -> Iterator[str]:
        mine, wanted = self.resized.array(ours), self.native.array(theirs)
        if mine.dtype != wanted.dtype or mine.shape != wanted.shape:
            yield f"{where}: wanted {wanted.dtype}{list(wanted.shape)} as {theirs.name!r}"
        elif not self.native.is_parameter(theirs) and not _close(mine, wanted):
            yield f"{where}: {_short(mine)}, wanted {_short(wanted)}"

    # --- the walk that reports ---

    def graphs(self, ours: Scope, theirs: Scope, where: str) -> None:
        """Pair the inputs and outputs of two graphs by position."""
        for kind in ("input", "output"):
            mine = [entry for entry in getattr(ours.graph, kind) if kind == "output" or _fed(ours, entry)]
            wanted = [entry for entry in getattr(theirs.graph, kind) if kind == "output" or _fed(theirs, entry)]
            if len(mine) != len(wanted):
                names = [entry.name for entry in mine], [entry.name for entry in wanted]
                self.found.report(f"{where}: {kind}s {names[0]}, wanted {names[1]}")
            for a, b in zip(mine, wanted, strict=False):
                if where == "the graph" and a.name != b.name:
                    self.found.report(f"{where}: {kind} {a.name!r}, wanted {b.name!r}")
                for text in _types(a.type, b.type, strict=True):
                    self.found.report(f"{kind} {a.name!r}: {text}")
                if kind == "output":
                    self._visit(self.resized.look_up(ours, a.name), self.native.look_up(theirs, b.name))

    def run(self) -> None:
        """Follow everything that is pending to the leaves."""
        while self._pending:
            ours, theirs = self._pending.pop()
            differences = list(self.local(ours, theirs))
            declared = self.resized.type_of(ours), self.native.type_of(theirs)
            if None not in declared:
                where = f"value_info of {self.resized.describe(ours)}"
                differences += [f"{where}: {text}" for text in _types(*declared, strict=False)]
            for text in differences:
                self.found.report(text)
            if ours.kind == theirs.kind == "node":
                self._nodes(ours.node, theirs.node)

    def _visit(self, ours: Value, theirs: Value) -> None:
        self.found.resized_seen.add(ours)
        self.found.native_seen.add(theirs)
        if (ours, theirs) not in self._visited:
            self._visited.add((ours, theirs))
            self._pending.append((ours, theirs))

    def _nodes(self, ours: int, theirs: int) -> None:
        a, b = self.resized.nodes[ours], self.native.nodes[theirs]
        if (a.op_type, a.domain, len(a.input)) != (b.op_type, b.domain, len(b.input)):
            return  # reported; what is behind them has no counterpart
        if self._one_size(ours, theirs):
            return
        pairs = self.order(ours, theirs)
        wanted = self.native.operands(theirs)
        if pairs is None:
            pairs = list(zip(self.resized.operands(ours), wanted, strict=True))
        for position, operand in enumerate(wanted):
            mine = pairs[position][0]
            if operand.kind == mine.kind == "constant" and self.native.is_parameter(operand):
                held = self.found.slots.setdefault((theirs, position), [])
                if mine not in held:
                    held.append(mine)
            self._visit(mine, operand)
        for key, scope in self.native.subscopes.items():
            if key[0] == theirs and (ours, *key[1:]) in self.resized.subscopes:
                where = f"subgraph {key[1]!r} of {a.op_type} {a.name!r}"
                self.graphs(self.resized.subscopes[ours, *key[1:]], scope, where)


def _fed(scope: Scope, entry: onnx.ValueInfoProto) -> bool:
    return scope.defined[entry.name].kind == "input"


def _nodes(ours: onnx.NodeProto, theirs: onnx.NodeProto, where: str) -> Iterator[str]:
    if (ours.op_type, ours.domain) != (theirs.op_type, theirs.domain):
        yield f"{where}: wanted {theirs.domain}{theirs.op_type} {theirs.name!r}"
        return
    for kind in ("input", "output"):
        mine, wanted = len(getattr(ours, kind)), len(getattr(theirs, kind))
        if mine != wanted:
            yield f"{where}: {mine} {kind}s, wanted {wanted}"
    mine = {attribute.name: attribute for attribute in ours.attribute}
    wanted = {attribute.name: attribute for attribute in theirs.attribute}
    for name in sorted(mine.keys() | wanted.keys()):
        a, b = (_attribute(held.get(name)) for held in (mine, wanted))
        if not _close(a, b):
            yield f"{where}: attribute {name} = {a}, wanted {b}"


def _attribute(attribute: AttributeProto | None) -> object:
    if attribute is None:
        return None
    if attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS):
        return "a subgraph"  # walked, not compared here
    value = onnx.helper.get_attribute_value(attribute)
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def _close(a: object, b: object) -> bool:
    if a is None or b is None or isinstance(a, str | bytes) or isinstance(b, str | bytes):
        return a is b or (type(a) is type(b) and a == b)
    first, second = np.asarray(a), np.asarray(b)
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    if np.issubdtype(first.dtype, np.floating):
        return np.allclose(first, second, rtol=_SCALAR, atol=0, equal_nan=True)
    return bool(np.array_equal(first, second))


def _short(array: np.ndarray) -> str:
    flat = array.reshape(-1)
    return str(flat[:12].tolist()) + (f" ... ({flat.size})" if flat.size > 12 else "")


def _types(ours: onnx.TypeProto, theirs: onnx.TypeProto, strict: bool) -> Iterator[str]:
    """Differences between two declared types; `strict` also wants the same axes to be dynamic."""
    a, b = ours.tensor_type, theirs.tensor_type
    if a.elem_type != b.elem_type:
        yield f"element type {a.elem_type}, wanted {b.elem_type}"
    if not (a.HasField("shape") and b.HasField("shape")):
        if strict and a.HasField("shape") != b.HasField("shape"):
            yield "one of the two declares no shape"
        return
    mine, wanted = ([dim.dim_value if dim.HasField("dim_value") else None for dim in held.shape.dim] for held in (a, b))
    unequal = len(mine) != len(wanted)
    for got, want in zip(mine, wanted, strict=False):
        unequal |= got != want and (strict or None not in (got, want))
    if unequal:
        yield f"declared {mine}, wanted {wanted}"
