"""Shapes that are compared before they are used: exporters keep where a written shape says -1, and write it twice.

`expand(-1, heads, -1)` is Where(Equal(shape, -1), ones, shape): what the second reading stands for, the first does.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from front_onnx.read.graph import Edge

if TYPE_CHECKING:
    from front_onnx.axes.numbers import Site
    from front_onnx.operators.analysis import Analysis

__all__ = ["tie_compared"]


def tie_compared(analysis: Analysis) -> None:
    """Give the numbers of a shape that is compared the meaning of the same shape where it is chosen from."""
    graph = analysis.graph
    pairs = []
    for index, node in enumerate(graph.nodes):
        maker = graph.producer.get(node.input[0]) if node.op_type == "Where" else None
        if maker is not None and graph.nodes[maker].op_type == "Equal":
            pairs += [(Edge(maker, slot), Edge(index, other)) for slot in (0, 1) for other in (1, 2)]
    sites: dict[Edge, list[Site]] = {}
    for site in analysis.sites if pairs else ():
        sites.setdefault(Edge(site.node, site.slot), []).append(site)
    for compared, chosen in pairs:
        ours, theirs = sites.get(compared, []), sites.get(chosen, [])
        if not ours or [site.value for site in ours] != [site.value for site in theirs]:
            continue
        for mine, other in zip(ours, theirs, strict=True):
            if not mine.bindings:
                mine.bindings.extend(replace(binding, reader=None) for binding in other.bindings)
