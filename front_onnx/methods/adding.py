"""What methods share that add blocks: which block each is a copy of, and what is zero in stacks that a body reads."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from front_onnx.blocks.chain import Chain
from front_onnx.dims.structure import Structure
from front_onnx.methods.growing import sources
from front_onnx.methods.method import Method, Refusal
from front_onnx.read.graph import Edge
from front_onnx.streams.branches import find_way, last_writers
from front_onnx.streams.norms import find_norms
from front_onnx.transform.maps import AxisMap, Select

__all__ = ["Adding"]


class Adding(Method):
    """A method whose new blocks add nothing: each stands behind the block that it is a copy of."""

    def depth(self, edges: tuple[Edge, ...], names: tuple[str, ...], target: int, *, matrix: bool) -> AxisMap:
        """Each block, and copies behind it; in a stack of what a body adds last, zeros in their place.

        Raises:
            Refusal: there are to be fewer.
        """
        self.refuse_fewer()
        structure = self.setting.structure  # layers in groups are a stack of two depths
        asked = len(names), target
        sizes = [(len(chain.units), units) for chain, units in zip(structure.chains, self.setting.units, strict=True)]
        holding = [n for n, chain in enumerate(structure.chains) if edges[0] in chain.places and sizes[n] == asked]
        blocks = np.array(sources(structure, holding[0], target))
        gains = np.ones(target)
        if any(edges[0] in (self._emptied.get(number) or ()) for number in holding):
            gains[1:][blocks[1:] == blocks[:-1]] = 0
        return Select(len(names), blocks, gains)

    def refuse_fewer(self) -> None:
        """Say so where blocks are to be taken away, also blocks that have no weights of their own.

        Raises:
            Refusal: a chain is to have fewer.
        """
        for chain, units in zip(self.setting.structure.chains, self.setting.units, strict=True):
            if units < len(chain.units):
                raise Refusal(
                    f"method {self.name} only adds blocks",
                    dim=chain.name,
                    got=units * chain.layers + chain.beside,
                    wanted=f"{chain.depth} or more",
                    hint="depth=copy chooses blocks",
                )

    @property
    def filled(self) -> list[str]:
        """The chains that grow by running one body more often, and in which nothing makes a new block empty."""
        return [self.setting.structure.chains[number].name for number, found in self._emptied.items() if found is None]

    @cached_property
    def _emptied(self) -> dict[int, frozenset[Edge] | None]:
        """By chain that grows and is one body: the stacks that are zero in new blocks; None if that is not enough."""
        structure = self.setting.structure
        chains = enumerate(zip(structure.chains, self.setting.units, strict=True))
        growing = [(n, chain) for n, (chain, units) in chains if chain.loop is not None and units > len(chain.units)]
        return {number: _last_stacks(structure, chain) for number, chain in growing}


def _last_stacks(structure: Structure, chain: Chain) -> frozenset[Edge] | None:
    """The stacks by which a body adds something to what it is given; None if it does more than add it."""
    analysis = structure.analysis
    norms = {norm.output: norm for norm in find_norms(analysis)}
    inside = set(chain.units[0][0].nodes)
    found: frozenset[Edge] = frozenset()
    for carried in chain.loop.carried if chain.loop is not None else ():
        way = find_way(analysis, norms, carried.read, carried.made)
        if way is None or way.norms or way.scaled:
            return None
        found |= frozenset(way.added)
        for branch in way.branches:
            writers = last_writers(analysis, structure.constants, norms, branch, inside)
            if writers is None:
                return None
            found |= writers
    return found if found and found <= chain.places.keys() else None
