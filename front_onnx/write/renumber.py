"""Weights behind a chain in one sequence: `5.weight` becomes `7.weight` where two blocks came before it.

Frameworks number the members of a sequence, blocks and what follows them alike; a resized model's weights find their
way back by name only if those numbers move with the depth.
"""

from __future__ import annotations

import re

from front_onnx.plan.plan import Plan
from front_onnx.read.names import prefix, sequence, texts

__all__ = ["moved_names"]


_MEMBER = re.compile(r"\d+[./]")


def moved_names(plan: Plan) -> dict[str, str]:
    """New names of the source's initializers that stand behind a chain in its own sequence."""
    graph = plan.structure.graph
    moved: dict[str, str] = {}
    captured = set(graph.alias.values()).union(*graph.outer_scope.values())
    for chain, target in zip(plan.structure.chains, plan.units, strict=True):
        held = captured | {graph.read_by(edge) for there in chain.places.values() for edge in there}
        stacks = [[graph.read_by(edge) for edge in there] for there in chain.places.values()]
        stacks = [names for names in stacks if names[0] in graph.initializers]
        layers = 1
        if len(chain.units) == 1 and chain.layers > 1:  # its layers count as units would
            stacks, layers = _by_layer([name for (name,) in stacks], chain.layers), chain.layers
        start = sequence(names for names in stacks if _MEMBER.match(names[0].removeprefix(prefix(names) or "")))
        if target == len(chain.units) or start is None:
            continue
        pattern = re.compile(re.escape(start) + r"(\d+)(?=[./])")
        places = [[int(m[1]) for name in names if (m := pattern.match(name))] for names in stacks]
        counted = next((place for place in places if len(place) > 1), None)
        if counted is None:
            continue
        shift = (target - len(chain.units)) * (counted[1] - counted[0]) * layers
        last = max(max(place) for place in places if place)
        for name in graph.initializers:
            match = pattern.match(name)
            if match and name not in held and int(match[1]) > last:
                moved[name] = name[: match.start(1)] + str(int(match[1]) + shift) + name[match.end(1) :]
    return moved


def _by_layer(names: list[str], layers: int) -> list[list[str]]:
    """The names of the weights of one unit, those together that stand in one place of all its layers."""
    found: dict[tuple[str, ...], list[str]] = {}
    for name in dict.fromkeys(names):
        found.setdefault(texts(name), []).append(name)
    return [sorted(each, key=len) for each in map(sorted, found.values()) if len(each) == layers]
