"""Diagnostics: what the plan leaves as it is, or resamples, and the user should look at."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np

from front_onnx.axes.holds import Why
from front_onnx.axes.size import Axis, AxisRole, SizeVar, size_of
from front_onnx.constants.kinds import Kind
from front_onnx.constants.scalars import Guess
from front_onnx.constants.sequences import continued
from front_onnx.constants.suspects import Suspect, suspects
from front_onnx.dims.structure import Structure
from front_onnx.operators.record import Trait, record_of
from front_onnx.plan.places import best_entries, cut_places, kept_widths
from front_onnx.plan.plan import Plan
from front_onnx.plan.siblings import siblings, within_one
from front_onnx.plan.sizing import followed_twice, is_left_behind
from front_onnx.read.graph import Edge, Graph, label
from front_onnx.read.node import Node
from front_onnx.transform.contents import Resampled
from front_onnx.transform.maps import Identity

__all__ = ["diagnose"]

_FAR = 12  # nodes between a bound and the table
_CORNER = 16  # entries of an axis that are looked at first
_SPARSE = 0.25  # of all places: so many zeros are no accident
_SOON = 3  # nodes behind a chain


def diagnose(plan: Plan) -> Iterator[str]:
    """One line for each doubt about a plan."""
    changed = {dim.var for dim in plan.structure.dims if plan.sizes[dim.var] != dim.var.size}
    yield from _kept(plan)
    yield from _twice(plan)
    yield from _states(plan, changed)
    yield from siblings(plan)
    yield from within_one(plan)
    yield from _means(plan)
    yield from _sequels(plan)
    yield from _roots(plan, changed)
    yield from _guesses(plan)
    yield from _outputs(plan, changed)
    yield from _outputs_apart(plan, changed)
    yield from _tables(plan)
    yield from _per_head(plan, changed)
    yield from _unknown(plan)
    yield from _clipped(plan)
    yield from _in_turn(plan)
    yield from _zeros(plan)
    yield from best_entries(plan)
    yield from cut_places(plan)
    yield from kept_widths(plan)


def _kept(plan: Plan) -> Iterator[str]:
    """Sizes that would follow a factor and cannot, by the reason."""
    if not plan.request.keeps_held or plan.request.factor == 1:
        return
    reasons: dict[str, list[str]] = {}
    for dim in plan.structure.dims:
        hold = dim.frozen or (dim.hold if is_left_behind(plan.structure, dim) else None)
        if hold is not None and plan.sizes[dim.var] == dim.var.size and dim.name not in plan.request.dims:
            reasons.setdefault(plan.structure.reason(hold) or "", []).append(dim.name)
    for reason, names in reasons.items():
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        yield f"{shown} would follow the width, and {'stays' if len(names) == 1 else 'stay'}: {reason}"


def _twice(plan: Plan) -> Iterator[str]:
    """Both sides of a matrix that weights make, or sum over, under a factor that is for all inner sizes."""
    if not plan.request.keeps_held:
        return
    for axis, one, other in followed_twice(plan.structure, plan.sizes, plan.request.dims):
        yield (
            f"{plan.structure.describe(axis)} follows the width twice, {size_of(axis)} to {plan.size(axis)}: "
            f"--set {one.name}={one.size} or --set {other.name}={other.size} keeps a side"
        )


def _states(plan: Plan, changed: set[SizeVar]) -> Iterator[str]:
    """Sizes of states: a weight takes them onto themselves, and only that they are an input's keeps them."""
    analysis = plan.structure.analysis
    within: set[SizeVar] = set()
    for edge, at in analysis.contractions.items() if changed else ():
        axes = [set(analysis.algebra.free_variables(axis)) for axis in analysis.uses[edge].axes or ()]
        within |= axes[at] & set().union(*axes[:at], *axes[at + 1 :])
    for dim in plan.structure.dims:
        hold = dim.hold
        if hold is not None and hold.why is Why.INPUT_AXIS and dim.var in within and plan.sizes[dim.var] == dim.size:
            yield (
                f"{dim.name} {dim.size} is the size of a state and stays, as it is {plan.structure.reason(hold)}: "
                f"--set {dim.name}=SIZE makes it follow"
            )


def _means(plan: Plan) -> Iterator[str]:
    """Scalars behind a chain that are its depth, or one more: what all blocks made may be a mean over them."""
    graph = plan.structure.graph
    for chain, (before, after) in zip(plan.structure.chains, plan.depths, strict=True):
        for node in _soon_behind(plan.structure, chain.ends) if before != after else ():
            held = [name for name in node.input if name in graph.constants and graph.array(name).size == 1]
            if not record_of(node).has(Trait.SCALES) or not held:
                continue
            value = float(graph.array(held[0]).reshape(-1)[0])
            if value <= 0:
                continue
            inverse = value < 1
            more = round(1 / value if inverse else value, 6) - before
            if more in (0, 1) and before + more > 1:
                new = 1 / (after + more) if inverse else after + more
                yield (
                    f"{label(node)} scales by {value:.6g} what {chain.name} makes: left as it is, and {new:.6g} would "
                    "be right if it is a mean over the blocks"
                )


def _sequels(plan: Plan) -> Iterator[str]:
    """Scalars behind a chain with which the scalars of its blocks go on: they may count blocks as well."""
    graph = plan.structure.graph

    def scalars(names: Iterable[str]) -> list[float]:
        arrays = [graph.array(name) for name in names if name in graph.constants]
        return [float(array.reshape(-1)[0]) for array in arrays if array.size == 1]

    for chain, target in zip(plan.structure.chains, plan.units, strict=True):
        places = chain.places.values() if target != len(chain.units) else ()
        rows = [scalars(map(graph.read_by, edges)) for edges in places]
        found = (continued(row, chain.layers) for row in rows if len(row) == len(chain.units))
        for going in filter(None, found):
            for node in _soon_behind(plan.structure, chain.ends):
                scale = next(iter(scalars(node.input)), 0.0) if record_of(node).has(Trait.SCALES) else 0.0
                if math.isclose(scale, going(len(chain.units)), rel_tol=1e-5):
                    yield (
                        f"{label(node)} scales by {scale:.6g}, with which the scalars of {chain.name} go on: left as "
                        f"it is, and {going(target):.6g} would be right if it counts their blocks"
                    )


def _soon_behind(structure: Structure, names: Iterable[str]) -> list[Node]:
    """The nodes behind some tensors that are reached without a weight on the way."""
    graph, flow = structure.graph, structure.flow
    found: dict[int, None] = {}
    waiting = [(name, _SOON) for name in names]
    while waiting:
        name, left = waiting.pop()
        for reader in sorted({edge.node for edge in graph.consumers.get(name, ())} - found.keys() if left else ()):
            if not flow.weighted[graph.order.home(reader)]:
                found[reader] = None
                waiting += [(made, left - 1) for made in graph.nodes[reader].output]
    return [graph.nodes[index] for index in sorted(found)]


def _roots(plan: Plan, changed: set[SizeVar]) -> Iterator[str]:
    """Scalars that look as if they depended on a size that changes."""
    structure = plan.structure
    found: dict[tuple[float, Axis], list[Suspect]] = {}
    for suspect in suspects(structure.analysis, changed):
        found.setdefault((suspect.value, structure.analysis.algebra.expand(suspect.axis)), []).append(suspect)
    for (value, axis), (first, *others) in found.items():
        also = f" (and {len(others)} more)" if others else ""
        formula, now = first.formula, plan.size(axis)
        yield (
            f"{label(structure.graph.nodes[first.node])}{also} scales by {value:.6g}, which is {formula.words} for n = "
            f"{structure.describe(axis)} and would be {formula.at(now):.6g} for {now}: left as it is, wrong if "
            "it is computed from that size"
        )


def _guesses(plan: Plan) -> Iterator[str]:
    """Scalars that follow a size, and may be numbers of their own."""
    structure = plan.structure
    found: dict[tuple[float, float, Axis], list[Guess]] = {}
    for guess in structure.guesses:
        new = guess.binding.at(plan.size)
        if new != guess.binding.at(size_of):
            axis = structure.analysis.algebra.expand(guess.binding.axis)
            found.setdefault((guess.value, new, axis), []).append(guess)
    for (value, new, axis), (first, *others) in found.items():
        also = f" (and {len(others)} more)" if others else ""
        how = "one less than " if first.binding.plus else "a root of " if abs(first.binding.power) != 1 else ""
        told = how + structure.describe(axis)
        yield (
            f"{label(structure.graph.nodes[first.node])}{also} scales by {value:.6g}, taken for {told}: "
            f"it becomes {new:.6g}, which is wrong if it is a number of its own ({value:.6g})"
        )


def _outputs(plan: Plan, changed: set[SizeVar]) -> Iterator[str]:
    """Output sizes that follow the width: features, unless they are classes behind a nonlinearity."""
    analysis = plan.structure.analysis
    axes = [a for name in analysis.graph.outputs if name in analysis.facts for a in analysis.facts[name].axes or ()]
    ends = {var for axis in axes for var in analysis.algebra.free_variables(axis)}
    for dim in plan.structure.dims:
        if dim.kind == "inner" and dim.var in ends & changed and AxisRole.CONTRACTED not in dim.var.roles:
            now = plan.sizes[dim.var] * dim.times
            yield f"output dim {dim.name} follows the width, {dim.size} to {now}: --set {dim.name}={dim.size} keeps it"


def _outputs_apart(plan: Plan, changed: set[SizeVar]) -> Iterator[str]:
    """Outputs that keep a size where others of that size and rank follow the width: maps of several levels."""
    analysis = plan.structure.analysis
    names = [name for name in analysis.graph.outputs if name in analysis.facts]
    axes = {name: list(analysis.facts[name].axes or ()) for name in names}
    for dim in plan.structure.dims:
        hold = dim.hold
        if dim.kind != "fixed" or hold is None or hold.why is not Why.OUTPUT or plan.sizes[dim.var] != dim.size:
            continue
        for name in names:
            place = next(
                (at for at, axis in enumerate(axes[name]) if analysis.algebra.expand(axis) == (dim.var,)), None
            )
            follows = [
                other
                for other in names
                if place is not None
                and len(axes[other]) == len(axes[name])
                and size_of(axes[other][place]) == dim.size
                and not changed.isdisjoint(analysis.algebra.free_variables(axes[other][place]))
            ]
            if place is not None and follows:
                now = plan.size(axes[follows[0]][place])
                yield (
                    f"output {name} keeps {dim.name} {dim.size}, and {follows[0]}, which is as wide, becomes {now}: "
                    f"--set {dim.name}={now} if they belong together"
                )
                break


def _tables(plan: Plan) -> Iterator[str]:
    """Tables of one length, of which only some are set."""
    dims, asked = plan.structure.dims, plan.request.dims
    for name in asked:
        dim = next(d for d in dims if d.name == name)
        alike = [d.name for d in dims if d.kind == dim.kind == "fixed" and d.named and d.size == dim.size]
        left = [other for other in alike if other not in asked]
        if left and AxisRole.VOCABULARY in dim.var.roles:
            yield f"{', '.join(left)} of the same size {dim.size} stays: set it too if it belongs to {name}"


def _per_head(plan: Plan, changed: set[SizeVar]) -> Iterator[str]:
    """Constants with one value per head that nothing shows to be learned."""
    analysis, graph = plan.structure.analysis, plan.structure.graph
    learned = {graph.read_by(edge) for edge in (*analysis.contractions, *analysis.tables)}
    found = {
        content.names[0]: None
        for edge, content in plan.contents.items()
        if isinstance(content, Resampled)
        and content.names[0] not in learned
        and _only_heads(plan, edge, changed)
        and plan.structure.constants[edge].kind is not Kind.UNKNOWN
    }
    if found:
        first, *others = found
        also = f" and {len(others)} more have" if others else " has"
        yield (
            f"{first}{also} one value per head and no weight sums over them: resampled as if learned, "
            "which is wrong if they are computed (slopes, frequencies)"
        )


def _unknown(plan: Plan) -> Iterator[str]:
    """Constants that are resampled although something speaks against their being learned."""
    constants, graph = plan.structure.constants, plan.structure.graph
    found: dict[tuple[str, bool], list[str]] = {}
    for edge, content in plan.contents.items():
        if isinstance(content, Resampled) and constants[edge].kind is Kind.UNKNOWN:
            grows = any(not isinstance(axis, Identity) for axis in content.axes)
            names = found.setdefault((constants[edge].evidence, grows), [])
            if graph.read_by(edge) not in names:
                names.append(graph.read_by(edge))
    for (evidence, grows), (first, *others) in found.items():
        also = f" and {len(others)} more" if others else ""
        does = "refuses another size for" if grows else "keeps"
        yield (
            f"{first}{also}: {evidence}; resampled as if learned, which is wrong if it is computed: "
            f"--treat {first}=fixed {does} it, --treat {first}=weight says that it is learned"
        )


def _clipped(plan: Plan) -> Iterator[str]:
    """Tables whose size is set and whose index is held between bounds that stay."""
    analysis, graph = plan.structure.analysis, plan.structure.graph
    by_name = {dim.name: dim for dim in plan.structure.dims}
    told: set[str] = set()
    for name in plan.request.dims:
        var = by_name[name].var
        for edge in analysis.tables & set(by_name[name].edges):
            axis = (analysis.uses[edge].axes or ((),))[0]
            bound = _bound_of(graph, graph.nodes[edge.node].input[1]) if len(graph.nodes[edge.node].input) > 1 else None
            if plan.sizes[var] == var.size or var not in analysis.algebra.free_variables(axis) or bound is None:
                continue
            if name not in told:
                told.add(name)
                yield (
                    f"{label(graph.nodes[bound])} holds the index of {graph.read_by(edge)} between bounds that stay: "
                    f"at {name} {plan.sizes[var]}, entries beyond them are never read, or what is read moves"
                )


def _bound_of(graph: Graph, index: str) -> int | None:
    """The node that holds an index between bounds, if one does."""
    for _ in range(_FAR):
        maker = graph.producer.get(index)
        if maker is None:
            return None
        node = graph.nodes[maker]
        bounds = [name for name in node.input[1:] if name in graph.constants]
        record = record_of(node)
        if record.has(Trait.BOUNDS) and (bounds or record.settings):
            return maker
        if not record.has(Trait.VIEW | Trait.ARITHMETIC):
            return None
        index = next((name for name in node.input if name not in graph.constants), "")
    return None


def _in_turn(plan: Plan) -> Iterator[str]:
    """Numbers that layers of one unit are set to in turn, where the depth changes: the order goes on."""
    analysis, graph, uses = plan.structure.analysis, plan.structure.graph, plan.structure.constants.uses
    for chain, target in zip(plan.structure.chains, plan.units, strict=True):
        if target == len(chain.units) or chain.layers < 2:
            continue
        found: dict[tuple[str, int], list[float]] = {}
        for edge in sorted(chain.places):
            number = analysis.scalar_at(edge.node, edge.slot) if uses.is_setting(edge) else None
            if number is not None and isinstance(number.value, float):
                found.setdefault((graph.nodes[edge.node].op_type, edge.slot), []).append(number.value)
        for (kind, _), values in found.items():
            if len(values) % chain.layers == 0 and len(set(values)) > 1:
                shown = ", ".join(f"{value:.6g}" for value in values)
                yield f"{kind} in {chain.name} is set to {shown} in turn: the order goes on with the depth"


def _zeros(plan: Plan) -> Iterator[str]:
    """Weights with many exact zeros whose axes change: a mask that was folded into them, or what was pruned."""
    graph = plan.structure.graph
    resampled = (content for _, content in sorted(plan.contents.items()) if isinstance(content, Resampled))
    names = dict.fromkeys(c.names[0] for c in resampled if not all(isinstance(axis, Identity) for axis in c.axes))
    found = {name: share for name in names if (share := _share_of_zeros(graph.array(name))) > _SPARSE}
    if found:
        first, share = next(iter(found.items()))
        also = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        yield (
            f"{first}{also} is zero in {share:.0%} of its places, by a mask that was folded into it or by pruning: "
            f"resampled like any other weight, so they are zeros no more"
        )


def _share_of_zeros(array: np.ndarray) -> float:
    """How much of a matrix is exactly zero; 0 for one with neither corner beside its diagonal mostly zero."""
    if array.ndim < 2 or array.size < _CORNER:
        return 0.0
    corners = array[:_CORNER, -_CORNER:], array[-_CORNER:, :_CORNER]
    if not any(2 * np.count_nonzero(corner) <= corner.size for corner in corners):
        return 0.0
    return 1 - np.count_nonzero(array) / array.size


def _only_heads(plan: Plan, edge: Edge, changed: set[SizeVar]) -> bool:
    """True if a constant changes along axes that are heads or a head's size alone, and along no other."""
    analysis, by_variable = plan.structure.analysis, plan.structure.by_variable
    moving = []
    for axis in analysis.uses[edge].axes or ():
        variables = set(analysis.algebra.free_variables(axis))
        if variables & changed:
            kinds = {by_variable[var].kind for var in variables if var in by_variable}
            moving.append(kinds <= {"heads", "kv_heads", "repeat"} or kinds == {"head_dim"})
    return bool(moving) and all(moving)
