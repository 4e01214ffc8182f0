"""How heads and the size of a head follow what is asked."""

from __future__ import annotations

import math
from fractions import Fraction

from front_onnx.dims.structure import Structure
from front_onnx.errors import RequestError
from front_onnx.plan.request import Request, per_chain, per_list
from front_onnx.types import Sizes

__all__ = ["head_factors"]


def head_factors(structure: Structure, request: Request, ratios: list[Fraction]) -> list[tuple[Fraction, Fraction]]:
    """(heads, head_dim) factors of each chain: the inner width follows the residual width unless both are given."""
    for option, given in (("--heads", request.heads), ("--head-dim", request.head_dim)):
        if given is not None and not any(d.kind == "head_dim" and d.chain is not None for d in structure.dims):
            raise RequestError(f"{option} has nothing to set: no attention heads in repeated blocks")
    out = []
    for number, ratio in enumerate(ratios):
        heads = _asked(structure, "--heads", request.heads, number, ("heads", "kv_heads", "repeat"))
        head_dim = _asked(structure, "--head-dim", request.head_dim, number, ("head_dim",))
        if heads is None and head_dim is None:
            out.append((ratio, Fraction(1)))
        elif heads is None:
            assert head_dim is not None
            out.append((ratio / head_dim, head_dim))
        else:
            out.append((heads, ratio / heads if head_dim is None else head_dim))
    return out


def _asked(
    structure: Structure, option: str, given: Sizes | None, number: int, kinds: tuple[str, ...]
) -> Fraction | None:
    """The factor that an option asks for in one chain, or None."""
    if given is None:
        return None
    by_chain: dict[int, int] = {}
    for chain in range(len(structure.chains)):
        found = {d.kind: d.size for d in reversed(structure.dims) if d.kind in kinds and d.chain == chain}
        if found:
            by_chain[chain] = found.get("heads") or math.prod(found.values())
    if not by_chain:
        raise RequestError(f"{option} has nothing to set: no attention heads in repeated blocks", got=given)
    chains = sorted(by_chain)
    names = [structure.chains[i].name for i in chains]
    pieces = per_list(given)
    if len(pieces) == 1 and "=" not in pieces[0]:  # one number is for all chains
        given = ",".join(pieces * len(chains))
    sizes = per_chain(option, given, names)
    if number not in by_chain or sizes[chains.index(number)] is None:
        return None
    wanted = sizes[chains.index(number)]
    if not wanted:
        raise RequestError(f"{option} has to be positive", got=wanted)
    return Fraction(wanted, by_chain[number])
