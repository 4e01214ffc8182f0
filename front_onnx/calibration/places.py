"""Which place of the source a place of the target stands for: its block's span of blocks, and its maps.

A target has the nodes and tensors of the source's first blocks, by name. What stands in block u of it computes what
stands in block `kept[u]` of the source; what ends the block, and what it ends with, stands for the end of the span, the
block before `kept[u + 1]`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np

from front_onnx.axes.size import SizeVar
from front_onnx.blocks.ports import Port, find_ports
from front_onnx.methods.private import Private
from front_onnx.plan.plan import Plan
from front_onnx.plan.ports import maps
from front_onnx.read.graph import Edge
from front_onnx.transform.maps import Identity
from front_onnx.transform.spectral import selection

__all__ = ["Encoder", "Places", "kept_blocks", "ports"]


def kept_blocks(plan: Plan) -> list[np.ndarray]:
    """By chain, the block of the source that each block of the target is taken from.

    Where blocks are mixed, evenly spaced ones.
    """
    found = []
    for chain, count in zip(plan.structure.chains, plan.units, strict=True):
        total = len(chain.units)
        chosen = None
        contracted = plan.structure.analysis.contractions
        edges = next((e for e in chain.places.values() if e[0] in contracted), ())
        if chain.loop is None and count < total and edges:
            names = tuple(plan.structure.graph.read_by(edge) for edge in edges)
            chosen = selection(plan.methods.depth.depth(edges, names, count, matrix=True))
        elif chain.loop is not None or count >= total:
            chosen = selection(Identity(count))
        even = np.rint(np.linspace(0, total - 1, count)).astype(np.int64)
        found.append(even if chosen is None else np.asarray(chosen.indices, np.int64))
    return found


def ports(plan: Plan, kept: Sequence[np.ndarray], last: frozenset[int]) -> tuple[dict[str, str], dict[str, str]]:
    """By input and by output of the target that blocks have for themselves, the source's that it stands for.

    Args:
        plan: how the target was made.
        kept: by chain, the source's block for each of the target's.
        last: nodes of the source that end their block, see `Targets`.
    """
    inputs: dict[str, str] = {}
    outputs: dict[str, str] = {}
    for chain, blocks in zip(plan.structure.chains, kept, strict=True):
        total = len(chain.units)
        if len(blocks) >= total:
            continue
        found = find_ports(plan.structure.flow, chain)
        for port in found.inputs:
            inputs.update((port.names[unit], port.names[int(block)]) for unit, block in enumerate(blocks))
        for port in found.outputs:
            ends = plan.structure.graph.producer.get(port.tensors[0]) in last
            spans = [*(blocks[1:] - 1), total - 1] if ends else blocks
            names = [_name(port, unit) for unit in range(total)]
            outputs.update((names[unit], names[int(block)]) for unit, block in enumerate(spans))
    return inputs, outputs


def _name(port: Port, unit: int) -> str:
    """The name of one unit's output; behind the chain it counts on."""
    return port.names[unit] if unit < len(port.names) else port.count.beginning(port.names[0]).at(unit)


class Encoder:
    """P along every axis that changes: entries are picked where it only picks."""

    def __init__(self, axes: Mapping[int, np.ndarray]) -> None:
        self._axes = {axis: (_picks(matrix), matrix) for axis, matrix in axes.items()}

    def __call__(self, array: np.ndarray) -> np.ndarray:
        """The array at the target's sizes; short floats become float32 where they are mixed."""
        for axis, (picks, matrix) in self._axes.items():
            if picks is not None:
                array = np.take(array, picks, axis)
            else:
                moved = np.moveaxis(array, axis, -1)
                kind = array.dtype if array.dtype.itemsize > 2 else np.dtype(np.float32)
                rows = moved.reshape(-1, moved.shape[-1]).astype(kind) @ matrix.T.astype(kind)
                array = np.moveaxis(rows.reshape(*moved.shape[:-1], len(matrix)), -1, axis)
        return array


def _picks(matrix: np.ndarray) -> np.ndarray | None:
    """[M], which entry each row takes as it is; None if a row does more."""
    chosen = matrix.argmax(1)
    single = np.count_nonzero(matrix, axis=1) == 1
    return chosen if single.all() and (matrix[np.arange(len(matrix)), chosen] == 1).all() else None


class Places:
    """Places of a target in its source.

    Args:
        plan: how the target was made.
        kept: by chain, the source's block for each of the target's.
        last: nodes of the source that end their block, and what stands behind them in it.
    """

    def __init__(self, plan: Plan, kept: Sequence[np.ndarray], last: frozenset[int] = frozenset()) -> None:
        self.plan, self.kept, self.last = plan, kept, last
        self.graph = plan.structure.graph
        self._private = Private(plan.structure)

    @cached_property
    def _rows(self) -> dict[int, tuple[int, int, tuple[int, ...]]]:
        """By node: its chain, its unit, and the nodes in the same place of every unit."""
        chains = enumerate(self.plan.structure.chains)
        return {
            node: (number, unit, row)
            for number, c in chains
            for row in c.nodes.values()
            for unit, node in enumerate(row)
        }

    def node(self, index: int) -> int:
        """The source's node that one of the target, by its name there, stands for."""
        found = self._rows.get(index)
        if found is None:
            return index
        number, unit, row = found
        blocks = self.kept[number]
        if unit >= len(blocks):
            return index
        if index in self.last:
            after = blocks[unit + 1] if unit + 1 < len(blocks) else len(row)
            return row[int(after) - 1]
        return row[int(blocks[unit])]

    def tensor(self, name: str) -> str:
        """The source's tensor that one of the target stands for."""
        maker = self.graph.producer.get(name)
        if maker is None:
            return name
        there = self.node(maker)
        slot = list(self.graph.nodes[maker].output).index(name)
        return str(self.graph.nodes[there].output[slot])

    def encoder(self, name: str) -> Encoder:
        """What takes a tensor of the source to the target's sizes; the tensor by its name in the target."""
        maker = self.graph.producer.get(name)
        there = None if maker is None else self._rows.get(maker)
        unit = None if maker is None else self._private.unit(Edge(maker, 0))  # an entry block has maps of its own too
        if there is not None:
            number, block, _ = there
            blocks = self.kept[number]
            unit = (number, int(blocks[block]) if block < len(blocks) else block)

        def near(var: SizeVar) -> tuple[Edge, ...]:
            dim = self.plan.structure.by_variable.get(var)
            if dim is None or unit is None or self._private.chain(var) is None:
                return ()
            return tuple(edge for edge in dim.edges if self._private.unit(edge) == unit)[:1]

        return Encoder(maps(self.plan, name, summed=False, near=near))
