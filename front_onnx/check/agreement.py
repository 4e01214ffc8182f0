"""Does a result compute what its source computes? Both are run on made-up inputs and their outputs compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from front_onnx.check.synthetic import synthetic_inputs
from front_onnx.check.validate import trusted_session
from front_onnx.plan.plan import Plan
from front_onnx.plan.ports import decoders, encoders
from front_onnx.read.merged import joined_name
from front_onnx.read.model_file import ModelFile
from front_onnx.transform.spectral import selection
from front_onnx.write.rewrite import Rewritten

__all__ = ["EXACT", "Agreement", "agreement", "stands_for"]

EXACT = 1e-4  # relative differences up to this are rounding, in float32
_HALF = 1e-2  # and in types of 16 bits


@dataclass(frozen=True)
class Agreement:
    """How far the outputs of two models are apart on the same inputs.

    Attributes:
        differences: by output, the largest difference over the largest value of the source's output; where the source
            has no numbers, the result has to have none.
        left_out: outputs that cannot be compared: their sizes are not the source's and nothing says how they map.
        rounding: differences up to this may be rounding, by the types of the weights.
    """

    differences: Mapping[str, float]
    left_out: tuple[str, ...] = ()
    rounding: float = EXACT

    @property
    def worst(self) -> float:
        """The largest relative difference; nan where nothing could be compared."""
        return max(self.differences.values(), default=float("nan"))


def agreement(
    source: ModelFile,
    result: Path | onnx.ModelProto,
    plan: Plan,
    rewritten: Rewritten,
    seed: int = 0,
    inputs: Mapping[str, np.ndarray] = {},
) -> Agreement:
    """Run a source and what was made of it on the same inputs, encoded where inputs have other sizes.

    Inputs that a new block has for itself (a cache) are those of the block that it is a copy of.

    Args:
        source: the model that was resized.
        result: what it became.
        plan: how.
        rewritten: the graph that it became.
        seed: for the inputs that are made up.
        inputs: arrays for the source's inputs; made up where missing.
    """
    feed = synthetic_inputs(plan.structure.graph, inputs, seed, plan.structure.analysis)
    before, after = trusted_session(source.path or source.proto), trusted_session(result)
    stands = {joined_name(name): (joined_name(old), new) for name, (old, new) in stands_for(plan, rewritten).items()}
    wide, back = encoders(plan), {joined_name(name): maps for name, maps in decoders(plan).items()}
    mine = {}
    for given in after.inputs:
        name = stands.get(given, (given, False))[0]
        if name in feed:
            mine[given] = _mapped(feed[name], wide.get(name, {}))
    try:
        made, wanted = after.run(mine), before.run(feed)
    finally:
        before.close()
        after.close()
    differences: dict[str, float] = {}
    left_out = []
    for own, second in made.items():
        name, is_new = stands.get(own, (own, False))
        first = wanted.get(name)
        if is_new or not isinstance(first, np.ndarray) or first.dtype.kind != "f":
            continue
        mapped = _mapped(second, back.get(name, {}))
        if mapped.shape != first.shape:
            left_out.append(own)
        elif first.size:
            differences[own] = _difference(mapped, first)
    short = {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
    halves = any(tensor.data_type in short for tensor in plan.structure.graph.constants.values())
    return Agreement(differences, tuple(left_out), _HALF if halves else EXACT)


def _difference(made: np.ndarray, wanted: np.ndarray) -> float:
    """The largest difference over the largest value; infinity where one is a number and the other is none."""
    finite = np.isfinite(wanted)
    if not np.array_equal(finite, np.isfinite(made)):
        return float("inf")
    first, second = wanted[finite], made[finite]
    return float(np.abs(second - first).max(initial=0) / max(float(np.abs(first).max(initial=0)), 1e-30))


def stands_for(plan: Plan, rewritten: Rewritten) -> dict[str, tuple[str, bool]]:
    """By input and output of a larger model: the source's that it stands for, and True if a new block has it.

    Those that are called as in the source are left out. A new block is the second of two copies of one block.
    """
    found = {name: (old, False) for name, old in rewritten.moved.items()}
    kept = {port.chain: _copied(plan, port.chain) for port in rewritten.blocks.values()}
    for name, port in rewritten.blocks.items():
        blocks = kept[port.chain]
        if blocks is None or blocks[port.unit] >= len(port.names):
            continue  # blocks are mixed, or the source has no such output
        block = blocks[port.unit]
        found[name] = (port.names[block], port.unit > 0 and block == blocks[port.unit - 1])
    return found


def _copied(plan: Plan, number: int) -> list[int] | None:
    """The block of the source that each block of a chain is a copy of; None if blocks are mixed."""
    chain, graph = plan.structure.chains[number], plan.structure.graph
    for edges in chain.places.values():
        if edges[0] in plan.structure.analysis.contractions:
            names = tuple(map(graph.read_by, edges))
            chosen = selection(plan.methods.depth.depth(edges, names, plan.units[number], matrix=True))
            return None if chosen is None else [int(block) for block in chosen.indices]
    return None


def _mapped(array: np.ndarray, maps: Mapping[int, np.ndarray]) -> np.ndarray:
    for axis, matrix in maps.items():
        if array.ndim <= axis or array.shape[axis] != matrix.shape[1]:
            return array
        finite = np.isfinite(array)
        whole = np.moveaxis(np.tensordot(matrix.astype(array.dtype), np.where(finite, array, 0), (1, axis)), 0, axis)
        none = np.moveaxis(np.tensordot(matrix != 0, ~finite, (1, axis)), 0, axis)
        array = np.where(none, np.nan, whole).astype(array.dtype)
    return array
