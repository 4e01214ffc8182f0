"""Roles: what a piece of a weight is there for, as a value. Two pieces may match if their roles are equal."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

__all__ = ["Role", "Task"]


class Task(Enum):
    """What a weight does, with the words for it."""

    QUERY = "query"
    KEY = "key"
    VALUE = "value"
    OUTPUT = "output"
    IN = "in"
    OUT = "out"
    GATE = "gate"
    UP = "up"
    MIX = "mix"
    INNER = "inner"
    WEIGHT = "weight"
    GAIN = "norm gain"
    BIAS = "norm bias"
    MEAN = "norm mean"
    VARIANCE = "norm variance"
    STATE = "norm state"
    TOKENS = "token table"
    POSITIONS = "position table"
    TYPES = "type table"
    TABLE = "table"
    OPERAND = ""


_FEED_FORWARD = frozenset((Task.IN, Task.OUT, Task.GATE, Task.UP))


@dataclass(frozen=True)
class Role:
    """What a piece of a weight is there for.

    Attributes:
        task: what it does.
        kernel: the sides of the kernel, if a convolution sums over it.
        bias: True for what is added behind a weight of this role.
        feeds: what a norm is before (`attention`, `feed-forward`), or the side of attention that it normalises.
        side: True if `feeds` is such a side.
        operator: of an operand that nothing else is known of, the operator that reads it.
        slot: as which operand, where their order matters.
        number: its place among equal roles in the order of data, from 1; 0 for one of its own.
        count: how many equal roles there are.
        alike: how many share its place in the order of data; over 1, nothing tells them apart.
    """

    task: Task
    kernel: tuple[int, ...] | None = None
    bias: bool = False
    feeds: tuple[str, ...] = ()
    side: bool = False
    operator: str = ""
    slot: int | None = None
    number: int = 0
    count: int = 0
    alike: int = 1

    @property
    def stem(self) -> Role:
        """The role without its number."""
        return replace(self, number=0, count=0, alike=1)

    def of_bias(self) -> Role:
        """The role of the bias behind a weight of this role."""
        return replace(self, bias=True)

    def numbered(self, number: int, count: int, alike: int) -> Role:
        """The role with its number among equal ones."""
        return replace(self, number=number, count=count, alike=alike)

    def __str__(self) -> str:
        words = [self.operator, str(self.slot)] if self.slot is not None else [self.operator or self.task.value]
        if self.kernel is not None:
            words.insert(0, f"conv {'x'.join(map(str, self.kernel))}")
        elif self.task in _FEED_FORWARD:
            words.insert(0, "ffn")
        if self.feeds:
            words += ["of" if self.side else "before", " and ".join(self.feeds)]
        if self.bias:
            words.append("bias")
        said = " ".join(words)
        if not self.number:
            return said
        place = f"{self.number} of {self.alike} alike in" if self.alike > 1 else f"{self.number} of"
        return f"{said}, {place} {self.count}"
