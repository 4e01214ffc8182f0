"""Symbols: the axes whose sizes are known only at run time, by key, and the numbers that stand for them.

What is known of the sizes themselves, and tried where a graph does not take a number, is said in `free_sizes.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

from front_onnx.axes.algebra import Algebra
from front_onnx.axes.holds import Hold
from front_onnx.axes.size import Axis, AxisRole, SizeVar, size_of
from front_onnx.operators.free_sizes import FreeSizes, stand_ins
from front_onnx.read.graph import Graph

__all__ = ["Symbols"]


class Symbols:
    """The sizes of a graph that are known only at run time.

    Attributes:
        free: what is known of them.
        sides: keys of those over which windows slide.
    """

    def __init__(self, graph: Graph, algebra: Algebra, free: FreeSizes) -> None:
        self.free = free
        self.sides: set[str] = set()
        self._graph, self._algebra = graph, algebra
        self._axes: dict[str, Axis] = {}
        self._primes = stand_ins(graph)
        self._stand_ins: dict[str, int] = {}
        self._unknown = Counter[str]()  # how many sizes without a key a node has
        self._made_of: dict[SizeVar, frozenset[str]] = {}  # keys of what a size is computed from

    def __contains__(self, key: str) -> bool:
        """True if a key has been met."""
        return key in self._axes

    def axis(self, key: str, hold: Hold, *, named: bool = True) -> Axis:
        """The axis of a key; `named` if people would know it by that."""
        if key in self._axes:
            return self._axes[key]
        axis = self._algebra.new(self._stand_in(self.free.root(key)), hold)
        if named:
            self._algebra.name(axis, key)
        else:
            self._algebra.mark(axis, AxisRole.UNKNOWN)
        self._axes[key] = axis
        return axis

    def unknown(self, made: str, hold: Hold) -> Axis:
        """A fixed axis that the node which makes a tensor counts or cuts at run time."""
        self._unknown[made] += 1
        return self.axis(f"({made}.{self._unknown[made]})", hold, named=False)

    def _stand_in(self, root: str) -> int:
        """The number that stands for a size."""
        if root not in self._stand_ins:
            number = self.free.baked.get(root) or self.free.numbers.get(root)
            self._stand_ins[root] = number or next(self._primes) * self.free.times(root)
        return self._stand_ins[root]

    @property
    def settled(self) -> FreeSizes:
        """What is known, with the numbers that stand for sizes, for another graph with the same inputs."""
        return replace(self.free, numbers=dict(self._stand_ins))

    @property
    def numbers(self) -> dict[str, int]:
        """The numbers that stand for sizes, by key."""
        return {key: size_of(axis) for key, axis in self._axes.items()}

    @property
    def traced(self) -> dict[str, int]:
        """Sizes that the graph takes one number for, and are no sums of others: the number, by key."""
        keys = [key for key in self._axes if self.free.root(key) in self.free.baked]
        axes = {key: self._algebra.expand(self._axes[key]) for key in keys}
        return {key: size_of(axis) for key, axis in axes.items() if all(var.parts is None for var in axis)}

    def key(self, tensor: str, place: int) -> str | None:
        """The key of an axis of an input, None if it has a number."""
        size = (self._graph.declared_shape(tensor) or [])[place]
        return None if isinstance(size, int) else self.free.key(size, tensor, place)

    def size(self, key: str, sizes: Mapping[str, int]) -> int:
        """The size of a key that is made of others (a mask over what is cached and what is new)."""

        def size(var: SizeVar) -> int:
            return next((sizes[name] for name in sorted(var.symbols) if name in sizes), var.size)

        return self._algebra.evaluate(self._axes[key], size)

    @cached_property
    def repeated(self) -> list[str]:
        """Names that several axes of inputs have."""
        shapes = (self._graph.declared_shape(info.name) or [] for info in self._graph.inputs)
        counts = Counter(size for shape in shapes for size in shape if isinstance(size, str) and size)
        return [name for name, count in counts.items() if count > 1]

    def made_of(self, axis: Axis, made: Axis, *, by_windows: bool) -> None:
        """Note that the size of an axis is computed from that of another one, by windows or not.

        Sizes that windows halve have to be numbers that can be halved.
        """
        expand = self._algebra.expand
        keys = {key for var in expand(axis) for key in self._made_of.get(var, ())}
        keys |= {key for key, free in self._axes.items() if expand(free) == expand(axis)}
        for var in made if keys else ():
            self._made_of[var] = frozenset(keys)
        if by_windows:
            self.sides |= keys
