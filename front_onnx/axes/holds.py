"""Why a size stays as it is: every reason is a value, a size variable has a set of them, and none hides another.

A hold **fixes** (the size stays unless it is set by name) or **freezes** (it cannot change at all). Code asks for the
kind of a hold; the sentence about it is made in `wording.py` alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from front_onnx.read.graph import Graph

__all__ = ["INDEXING", "Hold", "Telling", "Why"]


class Why(Enum):
    """The kinds of holds, in the order in which they are told: a cause before what follows from it."""

    # What freezes.
    UNFOLLOWED = auto()  # it goes into a node that cannot be followed
    BEHIND = auto()  # it comes out of one, and only its declared size is known
    GIVEN_BACK = auto()  # a body gives back a constant of the file
    CARRIED = auto()  # of a loop: a whole number that is carried may count on, and be an index
    ITERATION_INDEX = auto()  # of a loop: its counter is an index into something that is no stack of layers
    ITERATION_NUMBER = auto()  # of a loop: something is computed from its counter
    PICKED_LAYER = auto()  # of a loop: its body picks one of as many entries by what it computes
    MISALIGNED = auto()  # it is read as factors that begin elsewhere than those that it is made of
    # What fixes: it is decided outside of the graph.
    INPUT_AXIS = auto()
    # An architecture computes it, and nobody chooses it.
    INTEGER_TABLE = auto()
    NORM_GROUPS = auto()
    SEGMENTS = auto()
    FILTERS = auto()  # of each channel that a convolution takes by itself
    COUNT = auto()  # as many as the operator wants
    STEP = auto()
    SPATIAL = auto()
    PADDED = auto()
    PART = auto()
    FIXED_PARTS = auto()
    COMPUTED = auto()
    # Of its own kind, or by what the graph uses it for.
    KERNEL = auto()
    NUMBERS = auto()
    RANK = auto()
    COSINES = auto()
    COUNTED = auto()
    EMPTY = auto()
    UNKNOWN = auto()  # a size that only the run-time shape of a tensor tells
    INDEXED = auto()  # by what is fed or computed
    INDEXED_BY_CONSTANT = auto()
    INDEXED_BY_ITERATION = auto()
    INDICES_LEAVE = auto()
    BEST = auto()
    CUT_AT_RUN_TIME = auto()
    MIXED = auto()
    ENTRIES = auto()  # a table that is no weight has an entry for each
    # Nothing holds it, and yet it does not follow the width.
    DEPTH = auto()
    SLOTS = auto()
    QUERY_GROUP = auto()
    HEAD_SIZE = auto()
    CONV_GROUPS = auto()
    NO_FLOW = auto()
    NO_CONTRACTION = auto()
    OUTPUT = auto()

    @property
    def freezes(self) -> bool:
        """True if a size that is held so cannot change."""
        return self.value <= Why.MISALIGNED.value

    @property
    def fixes(self) -> bool:
        """True if a size that is held so stays unless it is set by name."""
        return not self.freezes or self is Why.GIVEN_BACK

    @property
    def computed(self) -> bool:
        """True if nobody would set such a size by name."""
        return Why.INTEGER_TABLE.value <= self.value <= Why.COMPUTED.value


INDEXING = frozenset(
    (Why.INDEXED, Why.INDEXED_BY_CONSTANT, Why.INDEXED_BY_ITERATION, Why.CUT_AT_RUN_TIME, Why.INTEGER_TABLE)
)


@dataclass(frozen=True)
class Hold:
    """One reason why a size stays.

    Attributes:
        why: the kind.
        node: the number of the node that holds it, if one does.
        tensor: the graph input that it is an axis of.
        axis: which axis of it.
        detail: what the sentence about it says besides: what is counted, what could not be followed.
    """

    why: Why
    node: int | None = None
    tensor: str = ""
    axis: int = 0
    detail: str = ""


class Telling:
    """Which of several holds is told: by kind, then the one nearest to the inputs; the order of nodes has no say."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def first(self, holds: Iterable[Hold]) -> Hold | None:
        """The hold to tell, None if there is none."""
        return min(holds, key=self._key, default=None)

    def first_node(self, nodes: Iterable[int]) -> int:
        """The node nearest to the inputs."""
        return min(nodes, key=self.place)

    def place(self, node: int) -> tuple[int, str]:
        """Where a node stands, whatever its number: how many nodes lie before it, and what it makes."""
        made = self._graph.nodes[node].output
        return self._heights[node], next(iter(made), "")

    def _key(self, hold: Hold) -> tuple[int, tuple[int, str], int, str, int, str]:
        given = self._inputs.get(hold.tensor, -1)
        place = (-1, "") if hold.node is None else self.place(hold.node)
        return hold.why.value, place, given, hold.tensor, hold.axis, hold.detail

    @cached_property
    def _inputs(self) -> dict[str, int]:
        return {info.name: number for number, info in enumerate(self._graph.inputs)}

    @cached_property
    def _heights(self) -> dict[int, int]:
        """How many nodes lie before each, along the longest way; those of a body stand behind what its node reads."""
        graph, heights = self._graph, dict[int, int]()
        starts: dict[int, int] = {}

        def behind(names: Iterable[str]) -> int:
            makers = (graph.producer[name] for name in names if name in graph.producer)
            return max((heights[maker] + 1 for maker in makers if maker in heights), default=0)

        for index, node in enumerate(graph.nodes):
            home = graph.order.home(index)
            if home not in starts:
                starts[home] = behind((*graph.nodes[home].input, *graph.outer_scope.get(home, ())))
            own = behind(node.input) if index != home else 0
            inner = max((heights[within] + 1 for within in graph.order.inside(index)), default=0)
            heights[index] = max(own, starts[home], inner)
        return heights
