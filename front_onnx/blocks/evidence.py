"""How a chain was found, for those who ask: by structure always, and by what the names of its units say."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from front_onnx.blocks.chain import Chain
from front_onnx.read.graph import Graph
from front_onnx.read.names import Count

__all__ = ["found_by"]

_WITHIN = (".", "/", "_")  # what stands between the number of a module and what is in it


def found_by(graph: Graph, chain: Chain) -> dict[str, Any]:
    """What says that the units of a chain are blocks.

    Returns:
        "by": "a loop", "structure" or "structure and names"; "first" and "last": the modules of the first and the last
        layer of all units, or None; "beside": the layers at either end that are counted and look otherwise.
    """
    module = None if chain.loop is not None else _modules(graph, chain)
    structure = "structure" if module is None else "structure and names"
    return {
        "by": structure if chain.loop is None else "a loop",
        "first": module[0] if module is not None else None,
        "last": module[1] if module is not None else None,
        "beside": {"first": int(bool(chain.entry)), "last": chain.ending * bool(chain.exit)},
    }


def _modules(graph: Graph, chain: Chain) -> tuple[str, str] | None:
    """The modules of the first and the last layer, by the numbers in the names of most weights, else of most nodes."""
    weights = ([graph.read_by(edge) for edge in row] for row in chain.places.values())
    nodes = ([graph.nodes[node].name for node in row] for row in chain.nodes.values())
    for rows in (weights, nodes):
        found = defaultdict[str, list[int]](list)
        for names in rows:
            count = Count.of(names) if len(names) > 1 and all(names) else None
            if count is not None and count.tail.startswith(_WITHIN):
                found[count.head] += [number for name in names if (number := count.number(name)) is not None]
        if found:
            head, numbers = max(found.items(), key=lambda item: len(item[1]))
            return f"{head}{min(numbers)}".strip("/"), f"{head}{max(numbers)}".strip("/")
    return None
