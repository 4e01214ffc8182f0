"""What is said about a hold or an unfollowed node: the one place where reasons become sentences.

Nothing reads these sentences but people.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from front_onnx.axes.holds import Hold, Why
from front_onnx.read.graph import label

if TYPE_CHECKING:
    from front_onnx.read.graph import Graph

__all__ = ["named_node", "reason", "unfollowed"]

_WORDS = {
    Why.GIVEN_BACK: "given back by a body",
    Why.CARRIED: "a whole number is carried from iteration to iteration",
    Why.ITERATION_INDEX: "the number of an iteration is an index",
    Why.ITERATION_NUMBER: "something depends on the number of the iteration",
    Why.PICKED_LAYER: "its body picks one of as many entries by what it computes",
    Why.MISALIGNED: "{detail} mixes the places of its factors",
    Why.INPUT_AXIS: "axis {axis} of input {tensor}",
    Why.KERNEL: "a kernel side",
    Why.OUTPUT: "an output of the model",
    Why.INDEXED: "indexed by the input",
    Why.INDEXED_BY_CONSTANT: "indexed by a constant",
    Why.INDEXED_BY_ITERATION: "indexed by an iteration",
    Why.INDICES_LEAVE: "its indices leave the graph",
    Why.BEST: "the best of its entries are taken",
    Why.CUT_AT_RUN_TIME: "cut at run time",
    Why.MIXED: "mixed with another axis",
    Why.ENTRIES: "{detail} has an entry for each",
    Why.UNKNOWN: "known at run time only",
    Why.RANK: "a rank",
    Why.NUMBERS: "a list of numbers",
    Why.COSINES: "the size of a computed table of cosines",
    Why.COUNTED: "counted at run time",
    Why.EMPTY: "an empty slice",
    Why.NO_FLOW: "no data flows through it",
    Why.NO_CONTRACTION: "no weight contracts it",
    Why.DEPTH: "the number of layers: use --depth",
    Why.SLOTS: "the number of entries that data attend over",
    Why.QUERY_GROUP: "the number of query heads per key and value head is kept",
    Why.HEAD_SIZE: "head_dim is kept, heads scale",
    Why.CONV_GROUPS: "the number of groups is kept, channels per group scale",
    Why.NORM_GROUPS: "the number of groups",
    Why.SEGMENTS: "the number of segments",
    Why.FILTERS: "the number of filters of each channel",
    Why.COUNT: "the number of {detail}",
    Why.STEP: "the step of a slice",
    Why.INTEGER_TABLE: "an integer table",
    Why.SPATIAL: "a spatial size",
    Why.PADDED: "padded",
    Why.PART: "a part of a fixed axis",
    Why.FIXED_PARTS: "made of fixed parts",
    Why.COMPUTED: "computed at run time",
}


def reason(graph: Graph, hold: Hold) -> str:
    """Why a size stays, in words, with the node that holds it."""
    if hold.why in (Why.UNFOLLOWED, Why.BEHIND):
        assert hold.node is not None
        return unfollowed(graph, hold.node, hold.detail)
    words = _WORDS[hold.why].format(axis=hold.axis, tensor=hold.tensor, detail=hold.detail)
    if hold.node is None:
        return words
    where = label(graph.nodes[hold.node], hold.node)
    return f"{words}, at {where}" if hold.why.freezes else f"{words} ({where})"


def unfollowed(graph: Graph, node: int, detail: str) -> str:
    """That a node cannot be followed, and what about it."""
    return f"{named_node(graph, node)} cannot be followed: {detail}"


def named_node(graph: Graph, node: int) -> str:
    """A node by its operator and its name."""
    name = label(graph.nodes[node], node)
    return f"{graph.nodes[node].op_type} {name}" if graph.nodes[node].name else name
