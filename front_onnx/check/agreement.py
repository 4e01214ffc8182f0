"""Does a result compute what its source computes? Both are run on made-up inputs and their outputs compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from front_onnx.check.synthetic import synthetic_inputs
from front_onnx.check.validate import open_session
from front_onnx.plan.plan import Plan
from front_onnx.plan.ports import decoders, encoders
from front_onnx.read.graph import Graph
from front_onnx.read.model_file import ModelFile

__all__ = ["EXACT", "Agreement", "agreement"]

EXACT = 1e-4  # relative differences up to this are rounding, in float32
_HALF = 1e-2  # and in types of 16 bits


@dataclass(frozen=True)
class Agreement:
    """How far the outputs of two models are apart on the same inputs.

    Attributes:
        differences: by output, the largest difference over the largest value of the source's output.
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
    source: ModelFile, result: Path | onnx.ModelProto, plan: Plan, seed: int = 0, inputs: Mapping[str, np.ndarray] = {}
) -> Agreement:
    """Run a source and what was made of it on the same inputs, encoded where inputs have other sizes.

    Args:
        source: the model that was resized.
        result: what it became.
        plan: how.
        seed: for the inputs that are made up.
        inputs: arrays for the source's inputs; made up where missing.
    """
    feed = synthetic_inputs(Graph(source), inputs, seed)
    mine = {name: _mapped(array, encoders(plan).get(name, {})) for name, array in feed.items()}
    before, after = open_session(source.path or source.proto), open_session(result)
    names = [output.name for output in before.get_outputs()]
    wanted, got = before.run(None, feed), after.run(None, mine)
    back = decoders(plan)
    differences: dict[str, float] = {}
    left_out = []
    for name, first, second in zip(names, wanted, got, strict=False):
        if not isinstance(first, np.ndarray) or first.dtype.kind != "f":
            continue
        mapped = _mapped(second, back.get(name, {}))
        if mapped.shape != first.shape:
            left_out.append(name)
        elif first.size:
            differences[name] = float(np.abs(mapped - first).max() / max(float(np.abs(first).max()), 1e-30))
    short = {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
    halves = any(tensor.data_type in short for tensor in plan.structure.graph.constants.values())
    return Agreement(differences, tuple(left_out), _HALF if halves else EXACT)


def _mapped(array: np.ndarray, maps: Mapping[int, np.ndarray]) -> np.ndarray:
    for axis, matrix in maps.items():
        if array.ndim <= axis or array.shape[axis] != matrix.shape[1]:
            return array
        array = np.moveaxis(np.tensordot(matrix.astype(array.dtype), array, (1, axis)), 0, axis)
    return array
