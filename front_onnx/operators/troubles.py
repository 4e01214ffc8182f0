"""Nodes that cannot be followed, and which of them are to blame: the cause, not its victims.

An unfollowed node leaves two things behind that others trip over: tensors of which the rank or the contents are not
known, and axes of which only the declared size is known. Who trips over one of them is a victim of the node before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from front_onnx.axes.algebra import Algebra
from front_onnx.axes.holds import Why
from front_onnx.axes.size import Conflict

if TYPE_CHECKING:
    from front_onnx.operators import AbstractTensor, RuleContext

__all__ = ["Trouble", "behind", "causes_of", "hidden"]


@dataclass(frozen=True)
class Trouble:
    """A node that could not be followed.

    Attributes:
        node: its number.
        reason: what about it could not be followed.
        causes: the nodes to blame: itself, or unfollowed nodes before it that leave what it reads unknown.
    """

    node: int
    reason: str
    causes: frozenset[int]

    @property
    def is_cause(self) -> bool:
        """True if the node itself is to blame."""
        return self.node in self.causes


def causes_of(algebra: Algebra, error: Exception) -> frozenset[int]:
    """The unfollowed nodes because of which another cannot be followed; none if that is its own fault."""
    if not isinstance(error, Conflict):
        return frozenset()
    held = (hold for var in algebra.free_variables(error.axes) for hold in var.holds if hold.why is Why.BEHIND)
    return error.behind.union(hold.node for hold in held if hold.node is not None)


def behind(context: RuleContext) -> frozenset[int]:
    """The unfollowed nodes because of which something that a node reads is not known."""
    return frozenset(node for fact in context.facts if fact is not None for node in fact.behind)


def hidden(fact: AbstractTensor, nodes: frozenset[int]) -> AbstractTensor:
    """What is made of numbers that are not known is not known either; tensors of more axes hold data, not numbers."""
    if not nodes or fact.value is not None or fact.behind or len(fact.axes or ()) > 1:
        return fact
    return replace(fact, behind=nodes)
