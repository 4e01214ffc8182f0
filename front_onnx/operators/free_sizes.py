"""Free sizes: numbers that stand for sizes known only at run time, and better ones where a graph does not take them.

A size without a number is a prime while axes are followed, one that divides no number of the graph, so that it is no
product of anything else and nothing is taken for it. Four things may be wrong with a prime: two names are one size
(`batch` and `batch_size`), one name is several sizes (`?`), windows halve it and what is halved and doubled again has
to meet it, or the exporter has baked the traced size into the graph. Where axes do not fit, the analysis is run again
with what would make them fit, and what leaves the fewest nodes unfollowed is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction

from front_onnx.read.graph import Graph
from front_onnx.read.tensor_data import numpy_type

__all__ = ["LARGEST_SIDE", "USUAL_SIDES", "FreeSizes", "input_key", "stand_ins"]

_SIDE = 64  # the windows of most networks halve a side at most six times
USUAL_SIDES = (32, 64, 128, 224, 256, 384, 512)  # of pictures
LARGEST_SIDE = 2048
_NUMBERS = 64  # the longest list of numbers that may be sizes


@dataclass(frozen=True)
class FreeSizes:
    """What is known or tried of the free sizes of a graph. Each has a key: its name, or `[INPUT.AXIS]`.

    Attributes:
        apart: names that stand for several sizes: each place has a key of its own.
        meets: keys of sizes that are another one, and the key of that.
        sides: keys of sizes over which windows slide.
        baked: keys of sizes that the graph works with one number for, and the number.
        numbers: what stands for sizes, where that is decided already: those of the source in a resized graph.
    """

    apart: frozenset[str] = frozenset()
    meets: Mapping[str, str] = field(default_factory=dict)
    sides: frozenset[str] = frozenset()
    baked: Mapping[str, int] = field(default_factory=dict)
    numbers: Mapping[str, int] = field(default_factory=dict)

    def key(self, name: str, tensor: str, place: int) -> str:
        """The key of an axis of an input, whose declared name is empty where it has none."""
        return name if name and name not in self.apart else input_key(tensor, place)

    def root(self, key: str) -> str:
        """The key of the size that a size is."""
        while key in self.meets:
            key = self.meets[key]
        return key

    def times(self, root: str) -> int:
        """What a prime is multiplied by to stand for a size."""
        return _SIDE if any(self.root(side) == root for side in self.sides) else 1

    def joined(self, sizes: Mapping[str, int], ratios: Iterable[Fraction]) -> FreeSizes | None:
        """The same with all sizes made one that would fit if they were; None if there are none.

        Args:
            sizes: what stood for each key.
            ratios: wanted / got where sizes did not fit.
        """
        free = {self.root(key): size for key, size in sizes.items() if self.root(key) not in self.baked}
        meets = dict(self.meets)
        for ratio in ratios:
            for key, size in free.items():
                other = next((k for k, s in free.items() if s == size * ratio), None)
                found = replace(self, meets=meets)
                if other is not None and found.root(key) != found.root(other):
                    meets[found.root(key)] = found.root(other)
        return replace(self, meets=meets) if len(meets) > len(self.meets) else None

    def others(self, sizes: Mapping[str, int], ratio: Fraction | None, names: Iterable[str]) -> Iterator[FreeSizes]:
        """What may be tried where nothing is left to be joined: one size baked in, one name told apart, a usual side.

        A graph may work with a range of sides, of which all come out as one: heights of lines of text.

        Args:
            sizes: what stood for each key.
            ratio: wanted / got where a size first did not fit.
            names: those that stand in several places.
        """
        for root in dict.fromkeys(map(self.root, sizes)):
            for times in (ratio, 1 / ratio) if ratio and root in sizes and root not in self.baked else ():
                baked = sizes[root] * times
                if baked.denominator == 1:
                    yield replace(self, baked={**self.baked, root: int(baked)})
        for name in names:
            if name not in self.apart:
                yield replace(self, apart=self.apart | {name})
        for root in dict.fromkeys(map(self.root, sorted(self.sides))):
            if root not in self.baked:
                yield from (replace(self, baked={**self.baked, root: side}) for side in USUAL_SIDES)


def input_key(tensor: str, place: int) -> str:
    """The key of a free size without a name, or with a name that several sizes have."""
    return f"[{tensor}.{place}]"


def stand_ins(graph: Graph) -> Iterator[int]:
    """Primes that divide no number of a graph: no declared size, no small whole number, no size of a constant."""
    numbers = {*_numbers(graph)}
    found: list[int] = []
    candidate = 11
    while True:
        if all(candidate % p for p in (2, 3, 5, 7, *found)):
            found.append(candidate)
            if all(number % candidate for number in numbers):
                yield candidate
        candidate += 2


def _numbers(graph: Graph) -> Iterator[int]:
    """Numbers other than 0 that a graph holds."""
    for name, tensor in graph.constants.items():
        yield from (size for size in tensor.dims if size > 0)
        if numpy_type(tensor).kind == "i" and len(tensor.dims) <= 1 and sum(tensor.dims) <= _NUMBERS:
            yield from (abs(n) for n in graph.array(name).reshape(-1).tolist() if n and abs(n) < 1 << 31)
    for info in graph.value_info.values():
        yield from (dim.dim_value for dim in info.type.tensor_type.shape.dim if dim.dim_value > 0)
    for node in graph.nodes:
        for attribute in node.attribute:
            yield from (abs(n) for n in (attribute.i, *attribute.ints) if n)
