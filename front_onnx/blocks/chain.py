"""A chain: equal units of a graph, each fed by the one before."""

from __future__ import annotations

from dataclasses import dataclass, field

from front_onnx.blocks.segments import Segment
from front_onnx.operators import Loop
from front_onnx.read.graph import Edge

__all__ = ["Chain"]


@dataclass(frozen=True)
class Chain:
    """A chain of equal units, each fed by the one before.

    Attributes:
        name: the stem of its parameter names, or chain1, chain2, ...
        units: the segments of each unit, in order.
        entry: the segments of a first block that differs, counted in the depth.
        exit: those of a last block that makes fewer streams than the others, or of the layers that begin a next unit:
            counted as well.
        layers: how many layers a unit holds.
        places: for each reading of a constant in the first unit, that in the same place of every unit.
        nodes: for each node of the first unit, the node in the same place of every unit.
        ending: how many layers the exit holds, if there is one.
        main: which of the tensors that units hand on is the residual stream, where they are several.
        loop: where one body is run once for each layer, whose weights lie stacked along an axis; its units are one.
    """

    name: str
    units: tuple[tuple[Segment, ...], ...]
    entry: tuple[Segment, ...]
    layers: int
    places: dict[Edge, tuple[Edge, ...]] = field(repr=False)
    nodes: dict[int, tuple[int, ...]] = field(repr=False)
    exit: tuple[Segment, ...] = ()
    ending: int = 1
    main: int = 0
    loop: Loop | None = None

    @property
    def depth(self) -> int:
        """Number of layers, as the architecture counts them."""
        return len(self.units) * self.layers + self.beside

    @property
    def beside(self) -> int:
        """Number of layers that are counted and never repeated."""
        return bool(self.entry) + self.ending * bool(self.exit)

    @property
    def start(self) -> str:
        """The tensor the first unit reads: the residual stream, where there are several."""
        return self.start_of(0)

    def start_of(self, unit: int) -> str:
        """The tensor a unit reads."""
        return self.units[unit][0].starts[self.main]

    def end_of(self, unit: int) -> str:
        """The tensor a unit makes."""
        return self.units[unit][-1].ends[self.main]

    @property
    def end(self) -> str:
        """The tensor the last unit makes."""
        return self.end_of(-1)

    @property
    def starts(self) -> tuple[str, ...]:
        """All tensors that the first unit is handed."""
        return self.units[0][0].starts

    @property
    def ends(self) -> tuple[str, ...]:
        """All tensors that the last unit hands on."""
        return self.units[-1][-1].ends
