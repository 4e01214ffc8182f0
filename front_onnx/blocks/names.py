"""What names say of units: the modules that nodes stand in, and what weights and nodes of one place are called."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from posixpath import commonpath

from front_onnx.blocks.segments import Flow, Segment
from front_onnx.read.graph import Edge
from front_onnx.read.names import counts

__all__ = ["common_path", "counted_names", "dotted", "module_path", "node_names", "scope_names", "weight_names"]


def node_names(flow: Flow, units: Sequence[Sequence[Segment]]) -> Iterator[list[str]]:
    """For each node of the first unit, the names of those in its place."""
    for place in zip(*units, strict=True):
        for nodes in zip(*(segment.nodes for segment in place), strict=False):
            yield [flow.graph.nodes[node].name.strip("/") for node in nodes]


def scope_names(flow: Flow, units: Sequence[Sequence[Segment]]) -> Iterator[list[str]]:
    """For each node of the first unit, the innermost module scopes that torch's exporter notes."""
    for place in zip(*units, strict=True):
        for nodes in zip(*(segment.nodes for segment in place), strict=False):
            scopes = [flow.graph.scope(node) for node in nodes]
            if all(scopes):
                yield scopes


def module_path(flow: Flow, stretch: Sequence[Segment]) -> str:
    """The module path that the nodes of a stretch share, those that have one; empty if they are of several."""
    nodes = [node for segment in stretch for node in segment.nodes]
    paths = [flow.graph.scope(n) or flow.graph.nodes[n].name.rpartition("/")[0] for n in nodes]
    return commonpath([p if p.startswith("/") else "/" + p.replace(".", "/") for p in paths if p] or [""])


def common_path(flow: Flow, units: Sequence[Sequence[Segment]]) -> str | None:
    """The module path that all nodes of some units share; of an only unit without the number, which is the block's."""
    nodes = [node for unit in units for segment in unit for node in segment.nodes]
    paths = [flow.graph.scope(n) or flow.graph.nodes[n].name.rpartition("/")[0] for n in nodes]
    paths = [path for path in paths if path]
    parts = re.split(r"[./]", commonpath([re.sub(r"[./]", "/", p).strip("/") for p in paths]) if paths else "")
    while len(units) == 1 and parts and parts[-1].isdigit():
        parts.pop()
    return dotted([part for part in parts if part]) or None


def dotted(parts: Sequence[str]) -> str:
    """A module path with dots, without what exporters say twice: /blocks/blocks.0 is blocks.0."""
    modules: list[str] = []
    for part in parts:
        if part.isdigit() and modules:
            modules[-1] += f".{part}"
        else:
            modules.append(part)
    told = [m for i, m in enumerate(modules) if not any(f"{o}.".startswith(f"{m}.") for o in modules[i + 1 :])]
    return ".".join(m for before, m in zip(["", *told], told, strict=False) if not before.startswith(f"{m}."))


def weight_names(flow: Flow, units: Sequence[Sequence[Segment]]) -> Iterator[list[str]]:
    """For each weight that a node of the first unit reads, its names over the units."""
    for place in zip(*units, strict=True):
        for nodes in zip(*(segment.nodes for segment in place), strict=False):
            for edges in zip(*(flow.graph.reads[node] for node in nodes), strict=False):
                if all(_reads_weight(flow, edge) for edge in edges):
                    yield [*map(flow.graph.read_by, edges)]


def _reads_weight(flow: Flow, edge: Edge) -> bool:
    fact = flow.analysis.uses.get(edge)
    return fact is not None and fact.value is None


def counted_names(flow: Flow, units: Sequence[Sequence[Segment]]) -> int:
    """How many weights of a unit have names that count over the units."""
    key = (*(name for unit in units for segment in unit for name in segment.starts), *units[-1][-1].ends)
    if key not in flow.counted:
        flow.counted[key] = sum(counts(names) for names in weight_names(flow, units))
    return flow.counted[key]
