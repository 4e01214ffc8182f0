"""Planning the numbers: constants and attributes that are sizes, and the proof that run-time arithmetic follows."""

from __future__ import annotations

from dataclasses import dataclass

from front_onnx.axes.numbers import Binding, Literal, Number, Site, evaluate
from front_onnx.axes.size import size_of
from front_onnx.errors import UnsupportedError
from front_onnx.plan.plan import Plan
from front_onnx.read.graph import Edge, label
from front_onnx.transform.contents import Numbers

__all__ = ["Parted", "Parting", "plan_numbers"]


@dataclass(frozen=True)
class Parting:
    """A number of the file that stands for sizes that part.

    Attributes:
        node: the node that reads it.
        others: for each size but one, the nodes that take it as that size.
    """

    node: int
    others: tuple[frozenset[int], ...]


class Parted(UnsupportedError):
    """Numbers stand for sizes that part, but each of them for one size where it is used: they can be told apart."""

    partings: list[Parting]


def plan_numbers(plan: Plan) -> None:
    """Add the numbers to `plan.contents` and `plan.attributes`, and check what is computed at run time.

    Raises:
        Parted: one number stands for sizes that part.
        UnsupportedError: a computed size does not follow the new sizes.
    """
    planner = _Numbers(plan)
    planner.lists()
    planner.numbers()
    planner.attributes()
    planner.check()


class _Numbers:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.analysis, self.graph = plan.structure.analysis, plan.structure.graph
        self._known: dict[int, float] = {}

    def lists(self) -> None:
        """A list of numbers has the length it has: what it belongs to cannot change its size."""
        for edge, fact in self.analysis.uses.items():
            for axis in fact.axes or () if fact.value is not None else ():
                if self.plan.size(axis) != size_of(axis):
                    raise UnsupportedError(
                        f"{self.graph.read_by(edge)} lists one number for each place of an axis",
                        node=label(self.graph.nodes[edge.node]),
                        dim=self.plan.structure.describe(axis),
                        got=self.plan.size(axis),
                        wanted=size_of(axis),
                    )

    def numbers(self) -> None:
        """Contents of the constants that stand for sizes."""
        new: dict[Edge, dict[int, int | float]] = {}
        refusal: Parted | None = None
        partings: list[Parting | None] = []
        for site in self.analysis.sites:
            moved = [b for b in site.bindings if self._moves(b)]
            wanted = {b.at(self.plan.size) if b in moved else site.value for b in site.bindings}
            if not moved:
                continue
            edge = Edge(site.node, site.slot)
            if len(wanted) > 1:
                refusal = refusal or Parted(
                    f"one number of {self.graph.read_by(edge)} stands for sizes that part",
                    node=label(self.graph.nodes[edge.node]),
                    got=" and ".join(map(str, sorted(wanted))),
                    wanted="one size",
                )
                partings.append(
                    _parting(site, [b.at(self.plan.size) if b in moved else site.value for b in site.bindings])
                )
                continue
            new.setdefault(edge, {})[site.element] = wanted.pop()
        if refusal is not None:
            refusal.partings = [parting for parting in partings if parting is not None]
            raise refusal
        for edge, values in new.items():
            tensor = self.graph.constants[self.graph.read_by(edge)]
            numbers = self.graph.array(self.graph.read_by(edge)).reshape(-1).tolist()
            for element, value in values.items():
                numbers[element] = value
            self.plan.contents[edge] = Numbers(tuple(tensor.dims), tensor.data_type, tuple(numbers))

    def attributes(self) -> None:
        """Attributes that are sizes, or roots of sizes."""
        for node, name, element, binding in self.analysis.attributes:
            if self._moves(binding):
                self.plan.attributes.append((node, name, element, binding.at(self.plan.size)))

    def _moves(self, binding: Binding) -> bool:
        return binding.at(self.plan.size) != binding.at(size_of)

    def _literal(self, literal: Literal) -> int | float | bool:
        for binding in literal.site.bindings:
            if self._moves(binding):
                return binding.at(self.plan.size)
        return literal.value

    def _evaluate(self, number: Number) -> float:
        return evaluate(number, self.plan.size, self._literal, self._known)

    def check(self) -> None:
        """What the graph computes at run time has to come out at the planned sizes."""
        for node, number, axis in self.analysis.equations:
            self._require(node, self._evaluate(number), self.plan.size(axis), "a size computed at run time")
        for node, number in self.analysis.conditions:
            taken = self._evaluate(number)
            self._require(node, bool(taken), bool(number.value), "a branch chosen by shape arithmetic")
        for left, right in self.analysis.algebra.equalities:
            if self.plan.size(left) != self.plan.size(right):
                raise UnsupportedError(
                    "fixed sizes that belong together would part",
                    got=self.plan.size(left),
                    wanted=self.plan.size(right),
                )

    def _require(self, node: int, got: object, wanted: object, what: str) -> None:
        if got != wanted:
            raise UnsupportedError(
                f"{what} does not follow the new sizes",
                node=label(self.graph.nodes[node]),
                got=got,
                wanted=wanted,
            )


def _parting(site: Site, wanted: list[int | float | bool]) -> Parting | None:
    """How a number can be told apart by who reads it; None if one reader takes it as two sizes."""
    readers: dict[int | float | bool, set[int]] = {site.value: set()}  # who is left out reads what stays
    for binding, size in zip(site.bindings, wanted, strict=True):
        if binding.reader is None:
            return None
        readers.setdefault(size, set()).add(binding.reader)
    first, *others = (frozenset(group) for group in readers.values() if group)
    apart = sum(map(len, (first, *others))) == len(first.union(*others))
    return Parting(site.node, tuple(others)) if apart else None
