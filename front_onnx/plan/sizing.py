"""Target sizes: from what is asked to a size for every dim and a number of units for every chain.

All arithmetic on sizes, and all refusals about them, happen here, before any weight is read. A factor is rounded to
whole sizes and whole heads; of sizes that are named nothing is rounded unless `--round-to` asks for it: an impossible
one is an error that lists the nearest possible ones.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from fractions import Fraction

from front_onnx.axes.holds import INDEXING
from front_onnx.axes.size import Axis, AxisRole, SizeVar, size_of
from front_onnx.axes.wording import named_node, unfollowed
from front_onnx.blocks.chain import Chain
from front_onnx.blocks.sharing import chains_sharing
from front_onnx.blocks.unlike import unlike
from front_onnx.dims.residual import keeping
from front_onnx.dims.structure import Dim, Structure
from front_onnx.errors import FrontError, RequestError, UnsupportedError
from front_onnx.plan.heads import head_factors
from front_onnx.plan.request import Request, per_chain, per_list
from front_onnx.plan.rounding import Rounding
from front_onnx.plan.shared import check_shared
from front_onnx.read.graph import label
from front_onnx.types import Sizes

__all__ = ["followed_twice", "is_left_behind", "target_sizes", "target_units"]

_TRIES = 2048  # how far from an impossible size a possible one is looked for
_SCALING = ("residual", "heads", "kv_heads", "inner")


def target_units(structure: Structure, request: Request) -> list[int]:
    """Units of each chain after resizing.

    Raises:
        RequestError: a depth is impossible.
        UnsupportedError: what is before or in a chain cannot be followed.
    """
    chains = structure.chains
    units = [len(chain.units) for chain in chains]
    if request.depth is None and request.depth_factor in (None, 1):
        return units
    if not chains:
        why = unlike(structure.flow)
        raise RequestError(
            f"this model has no repeated block, so its depth cannot change{f': {why}' if why else ''}",
            hint="--block NODE..NODE names one by hand" if why else None,
        )
    for number, wanted in enumerate(_depths(structure, request)):
        if wanted is None:
            continue
        chain = chains[number]
        _check_followed(structure, chain)
        beside = chain.beside
        layers = wanted - beside
        if layers % chain.layers or layers < (0 if beside else chain.layers):
            low = max(layers // chain.layers, 0 if beside else 1) * chain.layers + beside
            near = sorted({low, low + chain.layers} if layers > 0 else {low})
            raise RequestError(
                f"chain {chain.name} cannot have this depth: its unit holds {chain.layers} layers"
                if chain.layers > 1
                else f"chain {chain.name} cannot have this depth",
                got=wanted,
                wanted=" or ".join(map(str, near)) if layers > 0 else f"at least {near[0]}",
            )
        units[number] = layers // chain.layers
        if chain.loop is not None and layers != chain.depth:
            _check_loop(structure, chain, layers)
    check_shared(structure, units)
    return units


def _depths(structure: Structure, request: Request) -> list[int | None]:
    """The depth that is asked of each chain; one number is for all chains that have one depth, or share weights."""
    chains = structure.chains
    if request.depth_factor is not None:
        return [_nearest_depth(chain, chain.depth * request.depth_factor, request.exact) for chain in chains]
    asked = request.depth
    assert asked is not None
    if isinstance(asked, str | int) and str(asked).strip().isdigit() and len({chain.depth for chain in chains}) == 1:
        asked = [int(asked)] * len(chains)
    together = chains_sharing(structure.graph, chains)
    depths = per_chain("--depth", asked, [chain.name for chain in chains], together=together)
    for group in together:
        found = {depth for number in group if (depth := depths[number]) is not None}
        if len(found) > 1:
            names = " and ".join(chains[number].name for number in group)
            raise RequestError(f"{names} share their weights, so they have one depth", got=sorted(found))
        for number in group if found else ():
            depths[number] = next(iter(found))
    return depths


def _nearest_depth(chain: Chain, wanted: Fraction, exact: bool) -> int:
    """The possible depth of a chain that is nearest; halves go up."""
    beside = chain.beside
    units = max(math.floor((wanted - beside) / chain.layers + Fraction(1, 2)), 0 if beside else 1)
    found = units * chain.layers + beside
    if exact and found != wanted:
        raise RequestError(
            f"chain {chain.name} cannot have this depth",
            got=f"{float(wanted):.4g}",
            wanted=found,
            hint="leave --exact out",
        )
    return found


def _check_loop(structure: Structure, chain: Chain, wanted: int) -> None:
    (var,) = structure.analysis.algebra.expand(chain.loop.axis if chain.loop is not None else ())
    hold = structure.analysis.telling.first(hold for hold in var.holds if hold.why.freezes)
    if hold is not None:
        raise UnsupportedError(
            f"the depth of {chain.name} cannot change: {structure.reason(hold)}", got=wanted, wanted=chain.depth
        )


def _check_followed(structure: Structure, chain: Chain) -> None:
    """Weights between an unfollowed node and a chain may be one more block of it, which is not counted."""
    flow, analysis = structure.flow, structure.analysis
    troubles = {trouble.node: trouble for trouble in analysis.troubles}
    behind: dict[str, frozenset[int]] = {}  # tensors, and the unfollowed nodes that they depend on
    for index in sorted(flow.behind(chain.start)):
        nodes = frozenset(node for name in flow.inputs[index] for node in behind.get(name, ()))
        if nodes and flow.weighted[index]:
            cause = troubles[analysis.telling.first_node(nodes)]
            raise UnsupportedError(
                f"the depth of {chain.name} cannot change: what comes before its blocks cannot be followed: "
                f"{unfollowed(structure.graph, cause.node, cause.reason)}",
                node=label(structure.graph.nodes[cause.node]),
                wanted=chain.depth,
            )
        if index in troubles and not nodes:
            nodes = troubles[index].causes
        if nodes:
            behind.update(dict.fromkeys(flow.outputs[index], nodes))


class _Impossible(RequestError):
    """A size that is no whole number, before the nearest possible ones are looked for."""


def target_sizes(
    structure: Structure, request: Request, whole_heads: bool = False
) -> tuple[dict[SizeVar, int], dict[SizeVar, Fraction]]:
    """Size of every dim after resizing, by its size variable; and what those were that had to be rounded.

    With `whole_heads`, what is rounded is rounded to whole heads (see `rounding.py`).

    Raises:
        RequestError: a size is impossible.
        UnsupportedError: a dim cannot change, as what touches it cannot be followed.
    """
    try:
        return _target_sizes(structure, request, whole_heads)
    except _Impossible as problem:
        raise problem.with_hint(_nearest(structure, request)) from None


def _target_sizes(
    structure: Structure, request: Request, whole_heads: bool = False
) -> tuple[dict[SizeVar, int], dict[SizeVar, Fraction]]:
    rounding = Rounding(structure, request.step, whole_heads)
    ratios = rounding.ratios(_ratios(structure, request))
    named = _named(structure, request)
    sizes: dict[SizeVar, int] = {}
    heads = head_factors(structure, request, ratios)
    for dim in structure.in_order:
        chain = dim.chain if dim.chain is not None else -1
        ratio = ratios[chain]
        if dim.kind in ("heads", "kv_heads", "head_dim"):
            ratio = heads[chain][dim.kind == "head_dim"]
        elif dim.kind not in _SCALING:
            ratio = Fraction(1)
        if request.keeps_held and dim.frozen is not None:
            ratio = Fraction(1)
        size = named[dim.name] if dim.name in named else rounding.size(dim, dim.size * ratio)
        wanted = Fraction(size) / dim.times
        whole = wanted.denominator == 1 and wanted >= min(dim.size, 1)
        if not whole and dim.frozen is None:
            raise _impossible(structure, dim, wanted * dim.times)
        sizes[dim.var] = int(wanted)
        ratio = ratios[chain]
        behind = dim.kind == "fixed" and ratio != 1 and dim.name not in named and is_left_behind(structure, dim)
        if behind and not request.keeps_held:
            raise RequestError(
                f"dim {dim.name} would have to follow the width and cannot: {structure.reason(dim.hold)}",
                dim=dim.name,
                got=dim.size * ratio,
                wanted=dim.size,
                hint=f"--set {dim.name}={dim.size} keeps it on purpose",
            )
    _check_frozen(structure, sizes)
    if request.heads is None and request.head_dim is None and not request.keeps_held:
        _check_products(structure, sizes, set(named))  # under a factor, which is for all inner sizes, it is told
    _check_residuals(structure, request, sizes, ratios, rounding)
    if request.factor not in (None, 1) and not rounding.rounded and all(s == a.size for a, s in sizes.items()):
        _refuse_held(structure, "--width-mult has nothing to scale")
        raise RequestError("--width-mult has nothing to scale: no inner dim can change its size")
    return sizes, rounding.rounded


def is_left_behind(structure: Structure, dim: Dim) -> bool:
    """True if a dim is heads by its use, in weights that are summed over, and only an index into it keeps it."""
    heads = dim.var.is_held(*INDEXING) and AxisRole.BATCH in dim.var.roles
    return heads and any(e in structure.analysis.contractions for e in dim.edges)


def _ratios(structure: Structure, request: Request) -> list[Fraction]:
    """By what the width of each chain is multiplied; last, that of dims which belong to no chain."""
    chains = structure.chains
    if request.factor is not None:
        return [request.factor] * (len(chains) + 1)
    ratios = [Fraction(1)] * (len(chains) + 1)
    if request.width is None:
        return ratios
    groups = _width_groups(structure)
    if not groups:
        _refuse_held(structure, "the width cannot change")
        reason = "no repeated block" if not chains else "no single residual width"
        hint = "name one with --residual TENSOR, use --width-mult to scale all inner dims, or --set DIM=SIZE"
        raise RequestError(f"--width has nothing to set: this model has {reason}", hint=hint)
    stages = [*(chain.name for chain in chains), "the model"]
    names = [f"{stages[members[0]]} {size}" for size, members in groups]
    typed: Sizes = request.width
    if (
        isinstance(typed, str | int)
        and str(typed).strip().removeprefix("-").isdigit()
        and len({size for size, _ in groups}) == 1
    ):
        typed = [int(typed)] * len(groups)  # an encoder and a decoder of one width
    if len(groups) > 1 and len(per_list(typed)) == 1:
        raise RequestError(
            "this model has several residual widths",
            got=request.width,
            wanted=f"one per stage ({', '.join(names)})",
            hint="or scale all of them with --width-mult",
        )
    for (size, members), wanted in zip(groups, per_chain("--width", typed, names, "stage"), strict=True):
        if wanted == 0:
            raise RequestError("a width has to be positive", got=0)
        for number in members if wanted is not None else ():
            ratios[number] = Fraction(wanted or size, size)
    return ratios


def _refuse_held(structure: Structure, message: str) -> None:
    """Tell what stands in the way of a width that was not found, if something does.

    Raises:
        UnsupportedError: it is frozen.
        RequestError: something keeps it.
    """
    telling = structure.analysis.telling
    frozen = telling.first(dim.frozen for dim in structure.dims if dim.frozen is not None)
    if frozen is not None:
        dim = next(dim for dim in structure.in_order if dim.frozen == frozen)
        raise UnsupportedError(f"{message}: {structure.reason(frozen)}", dim=dim.name)
    for chain in structure.chains:
        for at, axis in enumerate(structure.analysis.facts[chain.end].axes or ()):
            hold = telling.first(keeping(structure.analysis, axis))
            if hold is not None:
                raise RequestError(
                    f"{message}: axis {at} of {chain.end} is kept: {structure.reason(hold)}",
                    node=named_node(structure.graph, hold.node) if hold.node is not None else None,
                    hint=f"--residual {chain.end}:{at} takes it as the width all the same",
                )


def _width_groups(structure: Structure) -> list[tuple[int, list[int]]]:
    """Distinct residual widths: (size, chains that share it), in graph order; the loose one counts as a last chain."""
    groups: list[tuple[int, list[int]]] = []
    axes: list[Axis] = []
    for number, axis in enumerate([*structure.residuals, structure.loose]):
        if axis is None:
            continue
        for known, group in zip(axes, groups, strict=True):
            if structure.analysis.algebra.same(known, axis):
                group[1].append(number)
                break
        else:
            axes.append(axis)
            groups.append((size_of(axis), [number]))
    return groups


def _named(structure: Structure, request: Request) -> dict[str, int]:
    names = {dim.name: dim for dim in structure.dims}
    for name, size in request.dims.items():
        dim = names.get(name)
        if dim is None:
            known = ", ".join(n for n, d in names.items() if d.named)
            raise RequestError(f"no dim is called {name!r}", wanted=known)
        if not dim.named:
            raise RequestError(
                f"dim {name} cannot be set",
                dim=name,
                got=size,
                wanted=dim.size,
                hint=structure.reason(dim.hold),
            )
        if size < 1:
            raise RequestError("a size has to be positive", dim=name, got=size)
    kept = {name: names[name].size for name in request.freeze if name in names}
    for name in request.freeze:
        if name not in names:
            known = ", ".join(n for n, d in names.items() if d.named)
            raise RequestError(f"--freeze: no dim is called {name!r}", wanted=known)
        if request.dims.get(name, kept[name]) != kept[name]:
            raise RequestError("--freeze and --set disagree", dim=name, got=request.dims[name], wanted=kept[name])
    return {**request.dims, **kept}


def _impossible(structure: Structure, dim: Dim, wanted: Fraction) -> _Impossible:
    shown = str(wanted) if wanted.denominator == 1 else f"{float(wanted):.4g}"
    return _Impossible(
        f"{dim.name} {dim.size} would become {shown}, which is no size",
        dim=dim.name,
        node=label(structure.graph.nodes[structure.first_node(dim)]) if dim.edges else None,
        got=shown,
        wanted="a whole number of at least 1" if dim.times == 1 else f"a multiple of {dim.times}",
    )


def _nearest(structure: Structure, request: Request) -> str | None:
    """The possible sizes on both sides of the one asked for, found by trying."""
    if request.factor is not None:
        step = math.gcd(*(d.size for d in structure.dims if d.kind in _SCALING))
        return f"--width-mult has to be a multiple of 1/{step}"
    for option in ("heads", "head_dim", "width"):
        given = getattr(request, option)
        pieces = per_list(given) if given is not None else []
        if not pieces or not all(piece.strip().isdigit() for piece in pieces):
            continue
        found = [near for place in range(len(pieces)) if (near := _near(structure, request, option, pieces, place))]
        if found:
            return f"possible nearby: --{option.replace('_', '-')} {' or '.join(found[0])}"
    return None


def _near(structure: Structure, request: Request, option: str, pieces: list[str], place: int) -> list[str]:
    """Possible values of an option, below and above the given one, when one of its numbers varies."""
    found = []
    for step in (-1, 1):
        value = int(pieces[place])
        for _ in range(_TRIES):
            value += step
            if value < 1:
                break
            typed = ",".join([*pieces[:place], str(value), *pieces[place + 1 :]])
            try:
                _target_sizes(structure, request.with_size(option, typed))
            except FrontError:
                continue
            found.append(typed)
            break
    return found


def _check_frozen(structure: Structure, sizes: dict[SizeVar, int]) -> None:
    changed = [dim for dim in structure.in_order if dim.frozen is not None and sizes[dim.var] != dim.var.size]
    hold = structure.analysis.telling.first(dim.frozen for dim in changed if dim.frozen is not None)
    if hold is not None:
        dim = next(dim for dim in changed if dim.frozen == hold)
        raise UnsupportedError(
            f"dim {dim.name} cannot change: {structure.reason(hold)}",
            dim=dim.name,
            got=sizes[dim.var],
            wanted=dim.size,
        )


def followed_twice(
    structure: Structure, sizes: Mapping[SizeVar, int], named: Container[str]
) -> list[tuple[Axis, Dim, Dim]]:
    """(axis, dim, another dim) for each product of two sizes that both follow the width; one beside itself is no two.

    Args:
        structure: the source.
        sizes: what is planned.
        named: the dims that were set by name.
    """
    by_variable = structure.by_variable
    seen: set[tuple[SizeVar, ...]] = set()
    twice: list[tuple[Axis, Dim, Dim]] = []
    waiting = [a for fact in structure.analysis.uses.values() if fact.value is None for a in fact.axes or ()]
    while waiting:
        axis = structure.analysis.algebra.expand(waiting.pop())
        if axis in seen:
            continue
        seen.add(axis)
        moving: dict[str, Dim] = {}
        for var in axis:
            waiting += var.parts or ()
            free = [by_variable[a] for a in structure.analysis.algebra.free_variables((var,)) if a in by_variable]
            moving |= {d.name: d for d in [d for d in free if sizes[d.var] != d.var.size and d.name not in named][:1]}
        if len(moving) > 1:
            one, other, *_ = moving.values()
            twice.append((axis, one, other))
    return sorted(twice, key=lambda found: (structure.place(found[1]), structure.place(found[2])))


def _check_products(structure: Structure, sizes: dict[SizeVar, int], named: set[str]) -> None:
    """No axis follows the width twice: of the factors of a product, one grows with it and the others are kept."""
    for axis, one, other in followed_twice(structure, sizes, named):
        raise RequestError(
            f"{structure.describe(axis)} would follow the width twice, by {one.name} and by {other.name}",
            node=label(structure.graph.nodes[structure.first_node(one)]),
            dim=one.name,
            got=f"{sizes[one.var]} x {sizes[other.var]}",
            wanted=f"one of {one.var.size} and {other.var.size} kept",
            hint=f"--set {one.name}={one.var.size} or --set {other.name}={other.var.size}",
        )


def _check_residuals(
    structure: Structure, request: Request, sizes: dict[SizeVar, int], ratios: list[Fraction], rounding: Rounding
) -> None:
    """The width has to come out as asked, whatever else is set and whatever it is made of."""
    if request.width is None:
        return
    algebra = structure.analysis.algebra
    names = [*(chain.name for chain in structure.chains), "the model"]
    for name, axis, ratio in zip(names, [*structure.residuals, structure.loose], ratios, strict=True):
        if axis is None or ratio == 1:
            continue
        if any(var in rounding.rounded and len(algebra.expand(axis)) > 1 for var in algebra.free_variables(axis)):
            continue  # as near to what was asked as whole heads allow
        got = algebra.evaluate(axis, lambda var: sizes.get(var, var.size))
        if got != size_of(axis) * ratio:
            raise RequestError(
                f"the width of {name} is {structure.describe(axis)} and would not become what --width asks",
                got=got,
                wanted=int(size_of(axis) * ratio),
            )
