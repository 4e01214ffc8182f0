"""Zero: new blocks that add nothing yet; norms on the way through are copied, which is exact for pre-norm models alone.

For more layers, to compare with (as in LEMON, Llama Pro and others): `lossless` says what post-norm models need.
"""

from __future__ import annotations

import numpy as np

from front_onnx.errors import RequestError
from front_onnx.methods.growing import Growing, sources
from front_onnx.methods.method import Draft, Method, Setting
from front_onnx.read.graph import Edge
from front_onnx.transform.maps import AxisMap, Select

__all__ = ["ONE_BODY", "Zero", "added_blocks", "refuse_fewer", "run_by_one_body"]

ONE_BODY = "one body is run for all blocks, and nothing in it makes a new one empty"


class Zero(Method):
    """Copies of blocks whose last weights are zero."""

    name = "zero"
    directions = ("depth",)

    def depth(self, edges: tuple[Edge, ...], names: tuple[str, ...], target: int, *, matrix: bool) -> AxisMap:
        """Each block, and copies behind it."""
        return added_blocks(self, edges, len(names), target)

    def settle(self, plan: Draft) -> None:
        """Let the new blocks add nothing.

        Raises:
            RequestError: there are to be fewer.
        """
        refuse_fewer(self)
        for name in run_by_one_body(self.setting):
            plan.warnings.append(f"{name}: new blocks cannot be empty, as {ONE_BODY}")
        for growing in Growing.all(plan):
            for unit in growing.new:
                growing.empty(unit)
            if growing.writers is None:
                plan.warnings.append(
                    f"{growing.chain.name}: new blocks cannot be empty, as nothing learned alone decides what they add"
                )


def added_blocks(method: Method, edges: tuple[Edge, ...], source: int, target: int) -> AxisMap:
    """The choice of blocks of the chain that some edges belong to.

    Raises:
        RequestError: there are to be fewer.
    """
    refuse_fewer(method)
    structure = method.setting.structure
    number = next(n for n, chain in enumerate(structure.chains) if edges[0] in chain.places)
    return Select(source, np.array(sources(structure, number, target)), np.ones(target))


def refuse_fewer(method: Method) -> None:
    """A method that only adds blocks says so, also of blocks that have no weights of their own.

    Raises:
        RequestError: a chain is to have fewer.
    """
    for chain, units in zip(method.setting.structure.chains, method.setting.units, strict=True):
        if units < len(chain.units):
            raise RequestError(
                f"method {method.name} only adds blocks",
                dim=chain.name,
                got=units * chain.layers + chain.beside,
                wanted=f"{chain.depth} or more",
                hint="depth=copy chooses blocks",
            )


def run_by_one_body(setting: Setting) -> list[str]:
    """The chains that grow and whose blocks are one body, run again."""
    chains = zip(setting.structure.chains, setting.units, strict=True)
    return [chain.name for chain, units in chains if chain.loop is not None and units > len(chain.units)]
